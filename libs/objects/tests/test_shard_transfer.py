"""Shard bytes there and back over drives that fail, lag, hang and lie: storing, reading and rebuilding."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from liteio_base.byte_span import ByteSpan
from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_base.ids import BucketId, DataId, HybridTime, VersionId
from liteio_base.limits import BLOCK_BYTES, KIB
from liteio_contracts.object_errors import ReadQuorumLost, StoreFull, WriteQuorumLost
from liteio_contracts.object_layer import BodyFacts
from liteio_contracts.storage import ShardReader, ShardRef, ShardWriter
from liteio_contracts.storage_errors import DriveOffline
from liteio_erasure.code import CodeParams
from liteio_formats.record import Kind, Record, Space
from liteio_objects.drive_set import DriveSet
from liteio_objects.part_reading import ShardsGone
from liteio_objects.shard_coding import PayloadShard
from liteio_objects.shard_io import ShardIO
from liteio_objects.shard_reading import BadShard, ShardSources, open_inline, open_object, rebuild_inline, rebuild_part
from liteio_objects.shard_writing import StoredBody, store_body
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.seeded_randomness import SeededRandomness

DATA_ID = DataId("0123456789abcdef" * 2)
NEVER_SECONDS = 3600.0


class ClientGone(Exception):
    """The body broke off."""


@dataclass
class FakeBody:
    """A body of given bytes in chunks of `chunk_bytes`; breaks after `breaks_at` bytes; may pause before each chunk."""

    content: bytes
    chunk_bytes: int = 60_000
    declared: bool = True
    breaks_at: int | None = None
    pause_seconds: float = 0.0

    @property
    def size_bytes(self) -> int | None:
        return len(self.content) if self.declared else None

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.content), self.chunk_bytes):
            if self.breaks_at is not None and start >= self.breaks_at:
                raise ClientGone
            if self.pause_seconds:
                await asyncio.sleep(self.pause_seconds)
            yield self.content[start : start + self.chunk_bytes]

    def facts(self) -> BodyFacts:
        return BodyFacts("")


class WatchedDrive(MemoryDrive):
    """A MemoryDrive that counts what is open and is made slow, hung or failing operation by operation."""

    def __init__(self, slot: int) -> None:
        super().__init__(slot, SystemClock(), SeededRandomness(slot))
        self.writers_open = self.readers_open = 0
        self.calls: Counter[str] = Counter()
        self.delays: dict[str, float] = {}  # seconds by operation
        self.fails_after: dict[str, int] = {}  # calls of an operation that still succeed

    async def pass_gate(self, operation: str) -> None:
        self.calls[operation] += 1
        await asyncio.sleep(self.delays.get(operation, 0.0))
        if self.calls[operation] > self.fails_after.get(operation, 2**31):
            raise DriveOffline(slot=self.slot)

    async def create_shard(self, ref: ShardRef, *, size_hint: int, deadline: Deadline) -> ShardWriter:
        await self.pass_gate("create")
        return WatchedWriter(self, await super().create_shard(ref, size_hint=size_hint, deadline=deadline))

    async def open_shard(self, ref: ShardRef, first_block: int, block_count: int, *, deadline: Deadline) -> ShardReader:
        await self.pass_gate("open")
        return WatchedReader(self, await super().open_shard(ref, first_block, block_count, deadline=deadline))


class WatchedWriter:
    def __init__(self, drive: WatchedDrive, writer: ShardWriter) -> None:
        self._drive, self._writer = drive, writer
        drive.writers_open += 1

    async def write(self, shards: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        await self._drive.pass_gate("write")
        await self._writer.write(shards, hashes)

    async def close(self, facts_k: int, facts_m: int, part_size_bytes: int) -> None:
        await self._drive.pass_gate("close")
        await self._writer.close(facts_k, facts_m, part_size_bytes)
        self._drive.writers_open -= 1

    async def abort(self) -> None:
        await self._writer.abort()
        self._drive.writers_open -= 1


class WatchedReader:
    def __init__(self, drive: WatchedDrive, reader: ShardReader) -> None:
        self._drive, self._reader = drive, reader
        drive.readers_open += 1

    @property
    def hashes(self) -> Sequence[bytes]:
        return self._reader.hashes

    @property
    def ahead(self) -> int:
        return 0  # what is read meets with what stands in its way

    async def read(self, count: int) -> Sequence[bytes]:
        await self._drive.pass_gate("read")
        return await self._reader.read(count)

    async def close(self) -> None:
        await self._reader.close()
        self._drive.readers_open -= 1


@dataclass
class Rig:
    """One set of watched drives with a scrambled shard order, and short time limits."""

    code: CodeParams
    drives: tuple[WatchedDrive, ...] = field(init=False)
    order: tuple[int, ...] = field(init=False)
    io: ShardIO = field(init=False)
    alarms: list[BadShard] = field(init=False, default_factory=list)

    def __post_init__(self) -> None:
        self.drives = tuple(WatchedDrive(slot) for slot in range(self.code.width))
        self.order = tuple(random.Random(7).sample(range(self.code.width), self.code.width))
        self.io = ShardIO(SystemClock(), call_seconds=0.5, grace_seconds=0.1)

    @property
    def drive_set(self) -> DriveSet:
        return DriveSet(self.drives, self.code, 0)

    def drive_of(self, shard_index: int) -> WatchedDrive:
        return self.drives[self.order[shard_index]]

    async def store(self, body: FakeBody, *, may_be_inline: bool = True, part_number: int = 1) -> StoredBody:
        return await store_body(
            self.drive_set,
            self.order,
            body,
            data_id=DATA_ID,
            part_number=part_number,
            may_be_inline=may_be_inline,
            io=self.io,
        )

    def record(self, *stored: StoredBody) -> Record:
        return Record(
            space=Space.OBJECT,
            bucket_id=BucketId("b"),
            key=b"key",
            version_id=VersionId(""),
            kind=Kind.VALUE,
            created=HybridTime(1),
            time=HybridTime(1),
            base=HybridTime(0),
            generations=(),
            size_bytes=sum(part.size_bytes for part in stored),
            k=self.code.k,
            m=self.code.m,
            order=self.order,
            parts=tuple(part.part for part in stored if part.part is not None),
            is_inline=any(part.inline is not None for part in stored),
        )

    async def stored(self, content: bytes) -> Record:
        """`content` in shard files, on all drives."""
        stored = await self.store(FakeBody(content), may_be_inline=False)
        assert not stored.failed_slots
        return self.record(stored)

    async def read(
        self,
        record: Record,
        span: ByteSpan | None = None,
        *,
        holders: Collection[int] | None = None,
        into: list[bytes] | None = None,
    ) -> bytes:
        """The bytes of `span`; the chunks that came before an error are left in `into`."""
        span = span or ByteSpan(0, record.size_bytes)
        chunks = [] if into is None else into
        sources = ShardSources(self.drive_set, record, holders)
        shards = await open_object(sources, span, io=self.io, alarm=self.alarms.append)
        try:
            async for chunk in shards.read():
                chunks.append(chunk)
            return b"".join(chunks)
        finally:
            await shards.close()

    async def check_nothing_open(self) -> None:
        await self.io.tasks.drain(1.0)
        assert [(drive.writers_open, drive.readers_open) for drive in self.drives] == [(0, 0)] * len(self.drives)

    def each(self, indexes: Collection[int], harm: Callable[[int, WatchedDrive], Any]) -> None:
        for index in indexes:
            harm(index, self.drive_of(index))


def content_of(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def ref(shard_index: int) -> ShardRef:
    return ShardRef(DATA_ID, 1, shard_index)


K = 4
EDGE_SIZES = [
    1,
    K,
    64 * KIB * K - 1,
    64 * KIB * K,
    64 * KIB * K + 1,
    BLOCK_BYTES - 1,
    BLOCK_BYTES,
    BLOCK_BYTES + 1,
    2 * BLOCK_BYTES,
    2 * BLOCK_BYTES + 1,
    3_670_016,
]


# --- storing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", EDGE_SIZES)
@pytest.mark.parametrize("chunk_bytes", [65_536, 5_000_000])
@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_of_any_size_comes_back(size: int, chunk_bytes: int, declared: bool) -> None:
    rig, content = Rig(CodeParams(K, 2)), content_of(size)
    stored = await rig.store(FakeBody(content, chunk_bytes, declared))
    assert stored.size_bytes == size
    assert stored.part is not None
    assert stored.part.size_bytes == size
    record = rig.record(stored)
    if size <= 64 * KIB * K:
        assert stored.inline is not None
        assert all(not drive.calls for drive in rig.drives)
        assert await open_inline(record, dict(enumerate(stored.inline)), no_more) == content
    else:
        assert stored.inline is None
        assert not stored.failed_slots
        assert await rig.read(record) == content
    await rig.check_nothing_open()


async def no_more() -> dict[int, PayloadShard]:
    raise AssertionError("enough shards were given")


@pytest.mark.parametrize("declared", [True, False])
async def test_an_empty_body_stores_nothing(declared: bool) -> None:
    rig = Rig(CodeParams(K, 2))
    assert await rig.store(FakeBody(b"", declared=declared), may_be_inline=False) == StoredBody(0)
    assert all(not drive.calls for drive in rig.drives)
    assert await open_inline(rig.record(StoredBody(0)), {}, no_more) == b""
    assert await rig.read(rig.record(StoredBody(0))) == b""


@pytest.mark.parametrize("code", [CodeParams(1, 0), CodeParams(1, 1), CodeParams(3, 0), CodeParams(2, 2)])
async def test_every_code_stores_and_reads(code: CodeParams) -> None:
    rig, content = Rig(code), content_of(2 * BLOCK_BYTES + 77)
    assert await rig.read(await rig.stored(content)) == content


@pytest.mark.parametrize("operation", ["create", "write", "close"])
@pytest.mark.parametrize("calls", [0, 1])
async def test_storing_goes_on_while_a_write_quorum_is_left(operation: str, calls: int) -> None:
    rig, content = Rig(CodeParams(K, 2)), content_of(5 * BLOCK_BYTES)
    victim = rig.drives[2]
    victim.fails_after[operation] = calls
    stored = await rig.store(FakeBody(content))
    assert stored.failed_slots == ({2} if operation == "write" or calls == 0 else frozenset())
    assert len(stored.causes) == len(stored.failed_slots)
    assert await rig.read(rig.record(stored)) == content
    assert len(victim.shard_files) == 1 - len(stored.failed_slots)
    await rig.check_nothing_open()


@pytest.mark.parametrize("operation", ["create", "write", "close"])
async def test_too_many_failures_lose_the_write_quorum_and_leave_nothing(operation: str) -> None:
    rig = Rig(CodeParams(K, 2))
    for slot in (1, 4):
        rig.drives[slot].fails_after[operation] = 0
    with pytest.raises(WriteQuorumLost) as caught:
        await rig.store(FakeBody(content_of(5 * BLOCK_BYTES)))
    assert (caught.value.needed, caught.value.got) == (5, 4)
    assert [type(cause) for cause in caught.value.causes] == [DriveOffline, DriveOffline]
    await rig.check_nothing_open()
    if operation != "close":
        assert not any(drive.shard_files for drive in rig.drives)


async def test_full_drives_are_told_from_lost_ones() -> None:
    rig = Rig(CodeParams(K, 2))
    for slot in (0, 5):
        rig.drives[slot].set_full()
    with pytest.raises(StoreFull):
        await rig.store(FakeBody(content_of(2 * BLOCK_BYTES)))
    rig.drives[1].set_offline()
    rig.drives[2].set_offline()
    with pytest.raises(WriteQuorumLost):
        await rig.store(FakeBody(content_of(2 * BLOCK_BYTES)))


@pytest.mark.parametrize("operation", ["create", "write", "close"])
async def test_a_hung_drive_is_left_behind_after_the_grace(operation: str) -> None:
    rig, content = Rig(CodeParams(K, 2)), content_of(9 * BLOCK_BYTES)
    rig.drives[3].delays[operation] = NEVER_SECONDS
    started = asyncio.get_running_loop().time()
    stored = await rig.store(FakeBody(content))
    assert asyncio.get_running_loop().time() - started < 3.0
    assert stored.failed_slots == {3}
    assert await rig.read(rig.record(stored)) == content
    await rig.check_nothing_open()


async def test_too_many_hung_drives_end_the_write_in_bounded_time() -> None:
    rig = Rig(CodeParams(K, 2))
    for slot in (0, 3):
        rig.drives[slot].delays["write"] = NEVER_SECONDS
    with pytest.raises(WriteQuorumLost):
        await rig.store(FakeBody(content_of(9 * BLOCK_BYTES)))
    await rig.check_nothing_open()


async def test_a_drive_that_is_much_slower_than_the_others_is_dropped_and_one_a_little_slower_kept() -> None:
    rig = Rig(CodeParams(K, 2))
    rig.drives[0].delays["write"] = 0.08
    assert (await rig.store(FakeBody(content_of(16 * BLOCK_BYTES)))).failed_slots == {0}
    rig = Rig(CodeParams(K, 2))
    for drive in rig.drives:
        drive.delays["write"] = 0.03
    rig.drives[0].delays["write"] = 0.035
    assert not (await rig.store(FakeBody(content_of(16 * BLOCK_BYTES)))).failed_slots


async def test_a_slow_client_is_not_counted_against_the_drives() -> None:
    rig, content = Rig(CodeParams(2, 1)), content_of(3 * BLOCK_BYTES)
    rig.io = replace(rig.io, call_seconds=0.15)
    stored = await rig.store(FakeBody(content, chunk_bytes=BLOCK_BYTES, pause_seconds=0.2))
    assert not stored.failed_slots


@pytest.mark.parametrize("breaks_at", [0, 100_000, 1_500_000, 6_000_000])
async def test_a_body_that_breaks_off_leaves_nothing(breaks_at: int) -> None:
    rig = Rig(CodeParams(K, 2))
    with pytest.raises(ClientGone):
        await rig.store(FakeBody(content_of(7 * BLOCK_BYTES), breaks_at=breaks_at))
    await rig.check_nothing_open()
    assert not any(drive.shard_files for drive in rig.drives)


@pytest.mark.parametrize("turns", [0, 1, 2, 3, 5, 8, 13, 21, 34, 55])
async def test_a_cancelled_upload_leaves_nothing_open(turns: int) -> None:
    rig = Rig(CodeParams(K, 2))
    task = asyncio.ensure_future(rig.store(FakeBody(content_of(4 * BLOCK_BYTES), pause_seconds=0.0001)))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await rig.check_nothing_open()


async def test_a_bug_in_a_drive_passes_through() -> None:
    rig = Rig(CodeParams(2, 1))

    async def broken(operation: str) -> None:
        raise ZeroDivisionError

    rig.drives[1].pass_gate = broken  # type: ignore[method-assign]  # the bug
    with pytest.raises(ZeroDivisionError):
        await rig.store(FakeBody(content_of(BLOCK_BYTES)))
    await rig.check_nothing_open()


async def test_memory_in_flight_is_bounded_when_all_drives_stop() -> None:
    """The body is not read on while the drives do not take what is there."""
    rig = Rig(CodeParams(K, 2))
    rig.io = replace(rig.io, call_seconds=0.2)
    for drive in rig.drives:
        drive.delays["write"] = NEVER_SECONDS
    taken = 0

    class Endless(FakeBody):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            nonlocal taken
            for _ in range(100):
                taken += 1
                yield self.content
                await asyncio.sleep(0.001)

    with pytest.raises(WriteQuorumLost):
        await rig.store(Endless(content_of(BLOCK_BYTES), declared=False))
    assert taken <= 9


# --- reading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("harm", ["offline", "missing", "corrupt", "torn", "hung-open", "hung-read", "fails-midway"])
async def test_any_m_shards_may_be_lost(harm: str) -> None:
    content = content_of(3 * BLOCK_BYTES + 5)
    for lost in itertools.combinations(range(6), 2):
        if harm.startswith("hung") and lost not in ((0, 1), (0, 4), (4, 5)):
            continue
        rig = Rig(CodeParams(K, 2))
        record = await rig.stored(content)
        rig.each(lost, HARMS[harm])
        assert await rig.read(record) == content
        if harm in ("missing", "corrupt", "torn"):
            reported = {bad.shard_index for bad in rig.alarms}
            assert reported == set(lost) if harm == "corrupt" and max(lost) < K else reported <= set(lost)
            assert reported >= {index for index in lost if index < K}
            assert all(bad.slot == rig.order[bad.shard_index] for bad in rig.alarms)
            assert len(rig.alarms) == len(reported)
        else:
            assert not rig.alarms
        await rig.check_nothing_open()


def _fail_reads(index: int, drive: WatchedDrive) -> None:
    drive.fails_after["read"] = 1


HARMS: dict[str, Callable[[int, WatchedDrive], Any]] = {
    "offline": lambda index, drive: drive.set_offline(),
    "missing": lambda index, drive: drive.lose_shard(ref(index)),
    "corrupt": lambda index, drive: drive.damage_shard(ref(index), block=2, bit=777),
    "torn": lambda index, drive: drive.tear_shard(ref(index), blocks=2),
    "hung-open": lambda index, drive: drive.delays.update(open=NEVER_SECONDS),
    "hung-read": lambda index, drive: drive.delays.update(read=NEVER_SECONDS),
    "fails-midway": _fail_reads,
}


@pytest.mark.parametrize("harm", ["offline", "corrupt", "torn", "hung-open", "hung-read", "fails-midway"])
async def test_more_than_m_lost_shards_fail_the_read_and_never_give_wrong_bytes(harm: str) -> None:
    rig, content = Rig(CodeParams(K, 2)), content_of(5 * BLOCK_BYTES)
    record = await rig.stored(content)
    rig.each((1, 3, 5), HARMS[harm])
    chunks: list[bytes] = []
    with pytest.raises(ReadQuorumLost) as caught:
        await rig.read(record, into=chunks)
    assert not isinstance(caught.value, ShardsGone)
    assert (caught.value.needed, caught.value.got) == (4, 3)
    given = b"".join(chunks)
    assert content.startswith(given)
    assert len(given) < len(content)
    await rig.check_nothing_open()


async def test_files_gone_before_they_were_opened_ask_for_another_read() -> None:
    rig = Rig(CodeParams(K, 2))
    record = await rig.stored(content_of(2 * BLOCK_BYTES))
    rig.drive_of(0).set_offline()
    rig.each((1, 2), HARMS["missing"])
    with pytest.raises(ShardsGone):
        await rig.read(record)
    assert not rig.alarms
    await rig.check_nothing_open()


async def test_files_removed_once_open_are_read_to_the_end() -> None:
    rig, content = Rig(CodeParams(K, 2)), content_of(6 * BLOCK_BYTES)
    record = await rig.stored(content)
    shards = await open_object(ShardSources(rig.drive_set, record), ByteSpan(0, len(content)), io=rig.io)
    rig.each(range(6), HARMS["missing"])
    assert b"".join([chunk async for chunk in shards.read()]) == content
    await shards.close()
    await rig.check_nothing_open()


async def test_different_blocks_may_be_wrong_on_more_than_m_drives() -> None:
    """Every block has K good shards, no K drives are good in all blocks."""
    rig, content = Rig(CodeParams(K, 2)), content_of(6 * BLOCK_BYTES)
    record = await rig.stored(content)
    rig.each(range(6), lambda index, drive: drive.damage_shard(ref(index), block=index, bit=9))
    assert await rig.read(record) == content
    assert {bad.shard_index for bad in rig.alarms} >= {0, 1, 2, 3}
    await rig.check_nothing_open()


async def test_a_healthy_read_asks_k_drives_only() -> None:
    rig = Rig(CodeParams(K, 2))
    record = await rig.stored(content_of(3 * BLOCK_BYTES))
    await rig.read(record)
    assert [rig.drive_of(index).calls["open"] for index in range(6)] == [1, 1, 1, 1, 0, 0]
    assert [rig.drive_of(index).calls["read"] for index in range(6)] == [2, 2, 2, 2, 0, 0]


async def test_slow_drives_and_those_not_seen_holding_are_asked_last() -> None:
    rig, content = Rig(CodeParams(K, 2)), content_of(2 * BLOCK_BYTES)
    record = await rig.stored(content)
    rig.drive_of(0).is_likely_slow = True
    holders = [rig.order[index] for index in range(6) if index != 2]
    assert await rig.read(record, holders=holders) == content
    assert [rig.drive_of(index).calls["open"] for index in range(6)] == [0, 1, 0, 1, 1, 1]


async def test_a_slow_drive_is_hedged_and_not_asked_again() -> None:
    rig, content = Rig(CodeParams(K, 2)), content_of(9 * BLOCK_BYTES)
    record = await rig.stored(content)
    rig.drive_of(1).delays["read"] = NEVER_SECONDS
    assert await rig.read(record) == content
    assert rig.drive_of(1).calls["read"] == 1
    await rig.check_nothing_open()


@pytest.mark.parametrize(
    ("start", "length"),
    [
        (0, 0),
        (0, 1),
        (BLOCK_BYTES - 1, 1),
        (BLOCK_BYTES - 1, 2),
        (BLOCK_BYTES, 1),
        (5, 3 * BLOCK_BYTES),
        (3 * BLOCK_BYTES, 9),
        (3 * BLOCK_BYTES + 8, 1),
        (0, 3 * BLOCK_BYTES + 9),
    ],
)
async def test_a_span_is_read_exactly(start: int, length: int) -> None:
    rig, content = Rig(CodeParams(3, 2)), content_of(3 * BLOCK_BYTES + 9)
    record = await rig.stored(content)
    assert await rig.read(record, ByteSpan(start, length)) == content[start : start + length]


async def test_spans_over_parts_are_read_exactly() -> None:
    rig = Rig(CodeParams(3, 2))
    sizes = [BLOCK_BYTES + 3, 1, 2 * BLOCK_BYTES, 700]
    bodies = [content_of(size) for size in sizes]
    stored = [await rig.store(FakeBody(body), may_be_inline=False, part_number=n) for n, body in enumerate(bodies, 1)]
    record, content = rig.record(*stored), b"".join(bodies)
    edges = sorted({max(0, edge + step) for edge in (0, *itertools.accumulate(sizes)) for step in (-1, 0, 1)})
    for start, end in itertools.combinations([edge for edge in edges if edge <= len(content)], 2):
        assert await rig.read(record, ByteSpan(start, end - start)) == content[start:end]
    rig.drives[0].set_offline()
    rig.drives[3].delays["open"] = NEVER_SECONDS
    assert await rig.read(record) == content
    await rig.check_nothing_open()


@pytest.mark.parametrize("turns", [*range(12), 16, 20])
async def test_a_cancelled_read_leaves_nothing_open(turns: int) -> None:
    rig = Rig(CodeParams(K, 2))
    record = await rig.stored(content_of(4 * BLOCK_BYTES))
    task = asyncio.ensure_future(rig.read(record))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await rig.check_nothing_open()


async def test_a_reader_dropped_midway_closes_everything() -> None:
    rig = Rig(CodeParams(K, 2))
    record = await rig.stored(content_of(6 * BLOCK_BYTES))
    shards = await open_object(ShardSources(rig.drive_set, record), ByteSpan(0, record.size_bytes), io=rig.io)
    chunks = shards.read()
    await anext(chunks)
    await shards.close()
    await chunks.aclose()
    await shards.close()
    await rig.check_nothing_open()


@pytest.mark.parametrize(("others", "reads"), [(0, [2, 3, 3, 4, 4, 5]), (4, [2, 2, 3, 3, 4, 4])])
async def test_nothing_is_read_further_ahead_than_one_range(others: int, reads: list[int]) -> None:
    """How often each drive was asked when a block's first bytes are given. A crowd holds three blocks each."""
    rig, content = Rig(CodeParams(K, 2)), content_of(12 * BLOCK_BYTES)
    record = await rig.stored(content)
    rig.io.crowd.transfers += others
    shards = await open_object(ShardSources(rig.drive_set, record), ByteSpan(0, len(content)), io=rig.io)
    chunks, given, seen = shards.read(), 0, []
    for block in range(len(reads)):
        while given <= block * BLOCK_BYTES:
            given += len(await anext(chunks))
        await asyncio.sleep(0.05)
        seen.append(max(drive.calls["read"] for drive in rig.drives))
    assert seen == reads
    await shards.close()
    await rig.check_nothing_open()


async def test_big_data_shards_are_given_as_they_were_read() -> None:
    rig, content = Rig(CodeParams(2, 2)), content_of(2 * BLOCK_BYTES - 7)
    record = await rig.stored(content)
    chunks: list[bytes] = []
    assert await rig.read(record, into=chunks) == content
    kept = [shard for index in range(2) for shard in rig.drive_of(index)._file(ref(index)).blocks]
    assert [any(chunk is shard for shard in kept) for chunk in chunks] == [True, True, True, False]
    assert await rig.read(record, ByteSpan(BLOCK_BYTES // 2 - 1, 2)) == content[BLOCK_BYTES // 2 - 1 :][:2]


async def test_a_shard_of_other_data_is_caught_by_its_hash() -> None:
    """A stale or misdirected file with a footer that is right: the hash binds the place."""
    rig, content = Rig(CodeParams(2, 2)), content_of(BLOCK_BYTES)
    record = await rig.stored(content)
    drive = rig.drive_of(0)
    file = drive._file(ref(0))
    other = rig.drive_of(1)._file(ref(1))
    drive._keep_file(replace(file, blocks=other.blocks))
    assert await rig.read(record) == content
    assert [bad.shard_index for bad in rig.alarms] == [0]


@pytest.mark.parametrize("limit", [4, 40])
async def test_many_uploads_at_once_hold_less_each(limit: int) -> None:
    """The largest batch that any drive was given, when few and when many bodies are stored together."""
    rigs = [Rig(CodeParams(K, 2)) for _ in range(limit)]
    for rig in rigs:
        rig.io = replace(rigs[0].io, grace_seconds=5.0, call_seconds=5.0)
    content = content_of(3 * BLOCK_BYTES)
    bodies = [FakeBody(content, chunk_bytes=BLOCK_BYTES, pause_seconds=0.001) for _ in rigs]
    stored = await asyncio.gather(*(rig.store(body) for rig, body in zip(rigs, bodies, strict=True)))
    assert {drive.calls["write"] for rig in rigs for drive in rig.drives} == {2 if limit == 4 else 3}
    records = [rig.record(body) for rig, body in zip(rigs, stored, strict=True)]
    read = await asyncio.gather(*(rig.read(record) for rig, record in zip(rigs, records, strict=True)))
    assert all(found == content for found in read)
    assert rigs[0].io.crowd.transfers == 0


# --- inline -----------------------------------------------------------------------------------------------------------


async def test_inline_shards_are_verified_and_more_are_asked_for() -> None:
    rig, content = Rig(CodeParams(K, 2)), content_of(1000)
    stored = await rig.store(FakeBody(content))
    assert stored.inline is not None
    shards = dict(enumerate(stored.inline))
    record = rig.record(stored)
    spoiled = {**shards, 0: PayloadShard(bytes(250), shards[0].payload_hash), 3: PayloadShard(b"", b"")}
    assert await open_inline(record, spoiled, no_more, alarm=rig.alarms.append) == content
    assert [(bad.shard_index, bad.slot) for bad in rig.alarms] == [(0, rig.order[0]), (3, rig.order[3])]

    async def more() -> dict[int, PayloadShard]:
        return {5: shards[5]}

    few = {index: spoiled[index] for index in (0, 1, 2, 4)}
    assert await open_inline(record, few, more) == content
    with pytest.raises(ReadQuorumLost):
        await open_inline(record, {**few, 5: PayloadShard(b"x", b"")}, nothing_more)


async def nothing_more() -> dict[int, PayloadShard]:
    return {}


# --- rebuilding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, BLOCK_BYTES, 4 * BLOCK_BYTES + 9])
async def test_lost_shard_files_are_made_again_byte_for_byte(size: int) -> None:
    rig = Rig(CodeParams(K, 2))
    record = await rig.stored(content_of(size))
    lost = (1, 5)
    before = [rig.drive_of(index)._file(ref(index)) for index in lost]
    rig.each(lost, HARMS["missing"])
    deadline = Deadline.after(5.0, SystemClock())
    assert await rebuild_part(rig.drive_set, record, record.parts[0], lost, deadline=deadline) == {1, 5}
    after = [rig.drive_of(index)._file(ref(index)) for index in lost]
    assert [(file.facts, file.blocks) for file in after] == [(file.facts, file.blocks) for file in before]
    await rig.check_nothing_open()


async def test_rebuilding_leaves_out_drives_that_do_not_take_their_shard() -> None:
    rig = Rig(CodeParams(K, 2))
    record = await rig.stored(content_of(3 * BLOCK_BYTES))
    rig.drive_of(0).set_full()
    deadline = Deadline.after(5.0, SystemClock())
    assert await rebuild_part(rig.drive_set, record, record.parts[0], {0, 4}, deadline=deadline) == {4}
    rig.drive_of(4).fails_after["write"] = 0
    assert await rebuild_part(rig.drive_set, record, record.parts[0], {0, 4}, deadline=deadline) == frozenset()
    await rig.check_nothing_open()


async def test_rebuilding_needs_k_other_shards_and_reports_what_is_bad() -> None:
    rig = Rig(CodeParams(K, 2))
    record = await rig.stored(content_of(3 * BLOCK_BYTES))
    rig.each((2,), HARMS["corrupt"])
    deadline = Deadline.after(5.0, SystemClock())
    staged = await rebuild_part(
        rig.drive_set, record, record.parts[0], {0, 1}, deadline=deadline, alarm=rig.alarms.append
    )
    assert staged == frozenset()
    assert [bad.shard_index for bad in rig.alarms] == [2]
    assert await rebuild_part(rig.drive_set, record, record.parts[0], {2}, deadline=deadline) == {2}
    assert await rig.read(record) == content_of(3 * BLOCK_BYTES)
    await rig.check_nothing_open()


async def test_inline_shards_are_made_again() -> None:
    rig = Rig(CodeParams(K, 2))
    stored = await rig.store(FakeBody(content_of(1000)))
    assert stored.inline is not None
    shards, record = dict(enumerate(stored.inline)), rig.record(stored)
    good = {index: shards[index] for index in (0, 2, 4, 5)}
    assert rebuild_inline(rig.code, record, good, {1, 3}) == {1: shards[1], 3: shards[3]}
    good[2] = PayloadShard(bytes(250), shards[2].payload_hash)
    assert rebuild_inline(rig.code, record, good, {1}) == {}
    assert rebuild_inline(rig.code, record, {**good, 3: shards[3]}, {1, 2}) == {1: shards[1], 2: shards[2]}
