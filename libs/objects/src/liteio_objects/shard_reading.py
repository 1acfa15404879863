"""Reading an object's bytes from its shards, and making shards again that were lost.

An object is a run of parts, each coded on its own. `open_object` opens what it needs before anything is sent, so that
an object that is replaced meanwhile is still read to its end; `rebuild_part` and `rebuild_inline` serve healing.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

from liteio_base.byte_span import ByteSpan
from liteio_base.check import check
from liteio_contracts.object_errors import ReadQuorumLost
from liteio_contracts.storage_errors import ShardCorrupt
from liteio_erasure.code import CodeParams
from liteio_erasure.codec import codec_for
from liteio_erasure.framing import BlockRun, ShardLayout
from liteio_formats.record import PartEntry, Record
from liteio_objects.part_reading import BadShard, PartShards, ShardAlarm, ShardsGone, ShardSources, no_alarm
from liteio_objects.shard_coding import PayloadShard, sift_payloads
from liteio_objects.shard_io import BATCH_BLOCKS, ShardIO
from liteio_objects.shard_rebuilding import rebuild_inline, rebuild_part

__all__ = [
    "BadShard",
    "ObjectShards",
    "PayloadShard",
    "ShardAlarm",
    "ShardSources",
    "ShardsGone",
    "open_inline",
    "open_object",
    "rebuild_inline",
    "rebuild_part",
]

MorePayloads = Callable[[], Awaitable[Mapping[int, PayloadShard]]]


# --- objects in shard files -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _PartSpan:
    part: PartEntry
    span: ByteSpan  # of the part


def _part_spans(record: Record, span: ByteSpan) -> list[_PartSpan]:
    """The parts that hold `span` of the object, each with its bytes of it."""
    found: list[_PartSpan] = []
    start = 0
    for part in record.parts:
        met = ByteSpan(start, part.size_bytes).meet(span)
        if met.length:
            found.append(_PartSpan(part, ByteSpan(met.start - start, met.length)))
        start += part.size_bytes
    return found


async def open_object(
    sources: ShardSources, span: ByteSpan, *, io: ShardIO, alarm: ShardAlarm = no_alarm
) -> "ObjectShards":
    """Open `span` of an object in shard files: the shards of the first part that it touches are open on return.

    Raises ShardsGone (read the record again), ReadQuorumLost. `alarm` hears of each shard that is missing or wrong.
    """
    record = sources.record
    check(not record.is_inline, "an inline object has no shard files")
    check(span.end <= record.size_bytes, "the span lies in the object")
    shards = ObjectShards(sources, _part_spans(record, span), io, alarm)
    await shards.open()
    return shards


class _Block(NamedTuple):
    """A block that was read."""

    length: int
    shards: Mapping[int, bytes]  # K good ones
    wanted: ByteSpan  # of the block


class ObjectShards:
    """An open object. Nothing is read further ahead than one range behind the one being sent."""

    def __init__(self, sources: ShardSources, spans: list[_PartSpan], io: ShardIO, alarm: ShardAlarm) -> None:
        self._sources, self._spans, self._io, self._alarm = sources, spans, io, alarm
        self._code = CodeParams.of(sources.record.k, sources.record.m)
        self._open_parts: dict[int, asyncio.Task[PartShards]] = {}  # by place in `spans`: the present and the next
        self._ahead: asyncio.Task[deque[_Block]] | None = None
        self._is_closed = False
        self._crowd = ExitStack()
        self._crowd.enter_context(io.crowd)

    async def open(self) -> None:
        """Open the first part. Raises ShardsGone, ReadQuorumLost."""
        if self._spans:
            try:
                await self._opened(0)
            except BaseException:
                await self.close()
                raise

    async def read(self) -> AsyncGenerator[bytes, None]:
        """Exactly the bytes of the span, in chunks of at most one block, each verified. Once.

        Raises ReadQuorumLost midway when too few good shards are left.
        """
        ranges = self._ranges()
        self._read_on(ranges)
        while self._ahead is not None:
            blocks = await self._ahead
            self._ahead = None
            while blocks:
                # In a crowd, the next range waits until the last block of this one is being sent.
                if self._ahead is None and (len(blocks) == 1 or not self._io.crowd.is_dense):
                    self._read_on(ranges)
                pieces = self._pieces(blocks.popleft())
                while pieces:
                    yield pieces.popleft()

    async def close(self) -> None:
        """Close every shard. Safe to call twice, and while a read is under way."""
        self._is_closed = True
        self._crowd.close()
        if self._ahead is not None:
            self._ahead.cancel()
            await asyncio.wait({self._ahead})
            if not self._ahead.cancelled():
                self._ahead.exception()  # Seen: nobody reads on.
            self._ahead = None
        for place in list(self._open_parts):
            await self._close_part(place)

    def _read_on(self, ranges: Iterator[Callable[[], Awaitable[deque[_Block]]]]) -> None:
        read_range = next(ranges, None)
        self._ahead = asyncio.ensure_future(read_range()) if read_range else None

    def _ranges(self) -> Iterator[Callable[[], Awaitable[deque[_Block]]]]:
        """Reads of one range each, to be called one after the other."""
        count = 1  # The first range is a single block, so that the first byte does not wait for more.
        for place, found in enumerate(self._spans):
            layout = ShardLayout(self._code, found.part.size_bytes)
            run = layout.blocks_of(found.span)
            first = run.first
            while first < run.end:
                taken = BlockRun(first, min(count, run.end - first))
                yield partial(self._read_range, place, layout, taken, taken.end == run.end)
                first, count = taken.end, BATCH_BLOCKS

    async def _read_range(self, place: int, layout: ShardLayout, run: BlockRun, is_last: bool) -> deque[_Block]:
        shards = await self._opened(place)
        if place + 1 < len(self._spans):
            self._start_opening(place + 1)
        found = await shards.read(run.count, lambda length, good: (length, self._best(good)))
        if is_last:
            await self._close_part(place)
        span = self._spans[place].span
        return deque(
            _Block(*block, layout.wanted_in_block(number, span)) for number, block in enumerate(found, run.first)
        )

    def _best(self, good: Mapping[int, bytes]) -> Mapping[int, bytes]:
        """No more than decoding takes: what came besides need not be kept until the block is sent."""
        return {index: good[index] for index in sorted(good)[: self._code.k]}

    def _pieces(self, block: _Block) -> deque[bytes]:
        """What is wanted of a block. It is decoded here, so that of a range no more than one block is held twice."""
        found: deque[bytes] = deque()
        start = 0
        for piece in codec_for(self._code).pieces(block.shards, block.length):
            met = ByteSpan(start, len(piece)).meet(block.wanted)
            if met.length:
                found.append(piece[met.start - start : met.end - start])  # a whole piece is not copied
            start += len(piece)
        return found

    # --- parts --------------------------------------------------------------------------------------------------------

    def _start_opening(self, place: int) -> "asyncio.Task[PartShards]":
        check(not self._is_closed, "a closed object is not read")
        if place not in self._open_parts:
            self._open_parts[place] = asyncio.ensure_future(self._open_part(place))
        return self._open_parts[place]

    async def _opened(self, place: int) -> PartShards:
        return await self._start_opening(place)

    async def _open_part(self, place: int) -> PartShards:
        found = self._spans[place]
        run = ShardLayout(self._code, found.part.size_bytes).blocks_of(found.span)
        shards = PartShards(self._sources, found.part, run, self._io, self._alarm)
        try:
            await shards.open()
        except BaseException:
            await shards.close()
            raise
        return shards

    async def _close_part(self, place: int) -> None:
        opening = self._open_parts.pop(place)
        opening.cancel()
        await asyncio.wait({opening})
        if not opening.cancelled() and opening.exception() is None:
            await opening.result().close()


# --- inline objects ---------------------------------------------------------------------------------------------------


async def open_inline(
    record: Record, payloads: Mapping[int, PayloadShard], more: MorePayloads, *, alarm: ShardAlarm = no_alarm
) -> bytes:
    """The whole bytes of an inline object, from any K good shards of `payloads` (by shard index).

    When too few are good, `more` is awaited once for further ones. Raises ReadQuorumLost.
    """
    if not record.parts:
        return b""
    [part] = record.parts
    code = CodeParams.of(record.k, record.m)
    good, bad = sift_payloads(code, part, payloads)
    if len(good) < code.k:
        good, bad = sift_payloads(code, part, {**payloads, **await more()})
    for index in bad:
        problem = ShardCorrupt("an inline shard does not match its hash", slot=record.order[index], shard_index=index)
        alarm(BadShard(record.order[index], index, part.number, problem))
    if len(good) < code.k:
        raise ReadQuorumLost(needed=code.k, got=len(good))
    return codec_for(code).decode(good, part.size_bytes)
