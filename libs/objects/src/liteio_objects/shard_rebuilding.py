"""Making lost shards again from K good ones: for drives that missed a write, were replaced, or let shards rot."""

from collections.abc import Collection, Mapping
from functools import partial

from liteio_base.byte_span import ByteSpan
from liteio_base.deadline import Deadline
from liteio_contracts.object_errors import ObjectError
from liteio_erasure.code import CodeParams
from liteio_erasure.codec import codec_for
from liteio_erasure.framing import ShardLayout
from liteio_formats.record import PartEntry, Record
from liteio_objects.drive_set import DriveSet
from liteio_objects.part_reading import PartShards, ShardAlarm, ShardSources, no_alarm
from liteio_objects.shard_coding import PartAddress, PayloadShard, ShardRun, hashed_payloads, hashed_runs, sift_payloads
from liteio_objects.shard_io import BATCH_BLOCKS, ShardIO
from liteio_objects.shard_spread import ShardSpread, SpreadPlan


def rebuild_inline(
    code: CodeParams, record: Record, shards: Mapping[int, PayloadShard], wanted: Collection[int]
) -> dict[int, PayloadShard]:
    """The inline shards `wanted`, made from K good ones of `shards`; nothing when fewer are good."""
    [part] = record.parts
    good, _ = sift_payloads(code, part, {index: shard for index, shard in shards.items() if index not in wanted})
    if len(good) < code.k:
        good, _ = sift_payloads(code, part, shards)
    if len(good) < code.k:
        return {}
    address = PartAddress(part.data_id, part.number)
    return hashed_payloads(address, codec_for(code).rebuild(good, wanted, part.size_bytes))


async def rebuild_part(
    drive_set: DriveSet,
    record: Record,
    part: PartEntry,
    wanted: Collection[int],
    *,
    deadline: Deadline,
    holders: Collection[int] | None = None,
    alarm: ShardAlarm = no_alarm,
) -> frozenset[int]:
    """Write the shard files of the indexes `wanted` again, each to its own drive, from K good other shards.

    Returns the indexes that are durable there now: none when fewer than K others are good. `deadline` bounds each wait
    for drives, not the whole. `holders`: the slots seen holding the record.
    """
    if not wanted or part.size_bytes == 0:
        return frozenset(wanted)
    io = ShardIO(deadline.clock)
    io = ShardIO(deadline.clock, call_seconds=min(io.call_seconds, deadline.seconds_left()))
    try:
        return await _Rebuilding(drive_set, record, part, frozenset(wanted), io).run(holders, alarm)
    except ObjectError:
        return frozenset()
    finally:
        await io.tasks.drain(io.slow_grace_seconds)


class _Rebuilding:
    """One part on its way from good shards to new ones."""

    def __init__(
        self, drive_set: DriveSet, record: Record, part: PartEntry, wanted: frozenset[int], io: ShardIO
    ) -> None:
        self._drive_set, self._record, self._part, self._wanted, self._io = drive_set, record, part, wanted, io
        self._code = CodeParams.of(record.k, record.m)
        self._address = PartAddress(part.data_id, part.number)

    async def run(self, holders: Collection[int] | None, alarm: ShardAlarm) -> frozenset[int]:
        layout = ShardLayout(self._code, self._part.size_bytes)
        whole = layout.blocks_of(ByteSpan(0, self._part.size_bytes))
        sources = ShardSources(self._drive_set, self._record, holders, self._wanted)
        shards = PartShards(sources, self._part, whole, self._io, alarm)
        spread: ShardSpread | None = None
        try:
            await shards.open()
            spread = ShardSpread(self._plan(), self._io)
            await self._copy(shards, spread)
            await spread.finish(self._part.size_bytes)
            return self._wanted - spread.failed
        except BaseException:
            if spread is not None:
                await spread.give_up()
            raise
        finally:
            await shards.close()

    def _plan(self) -> SpreadPlan:
        slots = {index: self._record.order[index] for index in self._wanted}
        size_hint = self._code.shard_file_bytes(self._part.size_bytes)
        return SpreadPlan(self._drive_set, self._address, slots, 1, size_hint)

    async def _copy(self, shards: PartShards, spread: ShardSpread) -> None:
        codec = codec_for(self._code)
        first_block = 0
        while shards.blocks_left:
            blocks = await shards.read(BATCH_BLOCKS, lambda length, found: codec.rebuild(found, self._wanted, length))
            work = partial(self._runs, first_block, blocks)
            runs = await self._io.compute(sum(len(shard) for block in blocks for shard in block.values()), work)
            await spread.send(runs)
            first_block += len(blocks)

    def _runs(self, first_block: int, blocks: list[dict[int, bytes]]) -> dict[int, ShardRun]:
        shards = {index: [block[index] for block in blocks] for index in self._wanted}
        return hashed_runs(self._address, first_block, shards)
