"""Storing the bytes of one body: inline shards when they are small, shard files on all drives of the set otherwise.

Nothing names the bytes yet when they are stored; the commit that follows does.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

import msgspec

from liteio_base.ids import DataId
from liteio_base.limits import BLOCK_BYTES, INLINE_SHARD_BYTES_MAX
from liteio_contracts.object_layer import Body
from liteio_contracts.storage_errors import StorageError
from liteio_erasure.code import CodeParams
from liteio_erasure.framing import BlockSplitter
from liteio_formats.record import PartEntry
from liteio_objects.drive_set import DriveSet
from liteio_objects.shard_coding import PartAddress, PayloadShard, ShardRun, code_blocks, code_payloads
from liteio_objects.shard_io import ShardIO
from liteio_objects.shard_spread import ShardSpread, SpreadPlan


class StoredBody(msgspec.Struct, frozen=True):
    """What became of one body's bytes.

    inline: per shard index, for the drives' rows; None when the bytes are in shard files, or there are none.
    part: None for an empty body; its ETag and checksum are for the caller to fill in from the body's facts.
    failed_slots: the drives that have no shard file of it; at least W others have.
    """

    size_bytes: int
    inline: tuple[PayloadShard, ...] | None = None
    part: PartEntry | None = None
    failed_slots: frozenset[int] = frozenset()
    causes: tuple[StorageError, ...] = ()


def fits_inline(code: CodeParams, size_bytes: int) -> bool:
    """Whether the shards of a body of this size live in the drives' indexes."""
    return size_bytes <= BLOCK_BYTES and code.shard_bytes(size_bytes) <= INLINE_SHARD_BYTES_MAX


async def store_body(
    drive_set: DriveSet,
    order: Sequence[int],
    body: Body,
    *,
    data_id: DataId,
    part_number: int,
    may_be_inline: bool,
    io: ShardIO,
) -> StoredBody:
    """Read `body` to its end and store it; shard i goes to slot order[i]. Durable on return (inline: nothing written).

    Raises what `body` raises, WriteQuorumLost or StoreFull when fewer than W drives take their shards; all files are
    aborted then, and when the caller is cancelled. Drives are waited for, the client never counts against them.
    """
    address = PartAddress(data_id, part_number)
    with io.crowd:
        if may_be_inline and body.size_bytes is not None and fits_inline(drive_set.code, body.size_bytes):
            chunks = [chunk async for chunk in body]
            return _stored_inline(drive_set.code, address, b"".join(chunks))
        storing = _Storing(drive_set, order, address, may_be_inline, io)
        try:
            return await storing.store(body)
        except BaseException:
            await storing.give_up()
            raise


class _Storing:
    """One body on its way."""

    def __init__(
        self, drive_set: DriveSet, order: Sequence[int], address: PartAddress, may_be_inline: bool, io: ShardIO
    ) -> None:
        self._drive_set, self._order, self._address = drive_set, order, address
        self._may_be_inline, self._io = may_be_inline, io
        self._spread: ShardSpread | None = None
        self._coding: asyncio.Task[None] | None = None  # the last batch: at most one is being coded and queued
        self._blocks: list[bytes] = []  # the batch being gathered
        self._blocks_sent = self._size_bytes = 0

    async def store(self, body: Body) -> StoredBody:
        if body.size_bytes is not None and not self._fits(body.size_bytes):
            self._open(body.size_bytes)
        splitter = BlockSplitter()
        async for chunk in body:
            for block in splitter.receive(chunk):
                await self._take(block)
        if (last := splitter.finish()) is not None:
            await self._take(last)
        if self._size_bytes == 0:
            await self.give_up()
            return StoredBody(0)
        if self._spread is None and self._fits(self._size_bytes):
            return _stored_inline(self._drive_set.code, self._address, b"".join(self._blocks))
        return await self._finish()

    async def give_up(self) -> None:
        if self._coding is not None:
            self._coding.cancel()
            await asyncio.wait({self._coding})
        if self._spread is not None:
            await self._spread.give_up()

    async def _take(self, block: bytes) -> None:
        self._size_bytes += len(block)
        self._blocks.append(block)
        if len(self._blocks) >= self._io.crowd.batch_blocks:
            await self._send()

    def _fits(self, size_bytes: int) -> bool:
        return size_bytes == 0 or (self._may_be_inline and fits_inline(self._drive_set.code, size_bytes))

    def _open(self, size_hint: int) -> ShardSpread:
        code = self._drive_set.code
        slots = dict(enumerate(self._order))
        plan = SpreadPlan(self._drive_set, self._address, slots, code.write_quorum, code.shard_file_bytes(size_hint))
        self._spread = ShardSpread(plan, self._io)
        return self._spread

    async def _send(self) -> None:
        """Code and queue a batch in the background, once the one before it is queued: the client is read meanwhile."""
        if self._coding is not None:
            await self._coding
        spread = self._spread or self._open(0)
        blocks, self._blocks = self._blocks, []
        self._coding = asyncio.ensure_future(self._code_and_send(spread, self._blocks_sent, blocks))
        self._blocks_sent += len(blocks)
        del blocks
        if self._io.crowd.is_dense:
            await self._coding

    async def _code_and_send(self, spread: ShardSpread, first_block: int, blocks: list[bytes]) -> None:
        work = partial(code_blocks, self._drive_set.code, self._address, first_block, blocks)
        runs: list[ShardRun] = await self._io.compute(sum(map(len, blocks)), work)
        del work
        blocks.clear()  # They are no longer needed, and room for the shards may be long in coming.
        await spread.send(runs)

    async def _finish(self) -> StoredBody:
        if self._blocks:
            await self._send()
        if self._coding is not None:
            await self._coding
        spread = self._spread or self._open(0)
        await spread.finish(self._size_bytes)
        failed = frozenset(self._order[index] for index in spread.failed)
        return StoredBody(self._size_bytes, None, self._part(), failed, spread.troubles)

    def _part(self) -> PartEntry:
        return _part_entry(self._address, self._size_bytes)


def _stored_inline(code: CodeParams, address: PartAddress, content: bytes) -> StoredBody:
    if not content:
        return StoredBody(0)
    return StoredBody(len(content), code_payloads(code, address, content), _part_entry(address, len(content)))


def _part_entry(address: PartAddress, size_bytes: int) -> PartEntry:
    return PartEntry(address.part_number, size_bytes, address.data_id, etag="")
