"""The census tells every way in which a drive can lack a version."""

import pytest

from liteio_base.ids import NULL_VERSION, HybridTime
from liteio_contracts.storage import ShardRef, StorageAPI
from liteio_erasure.bitrot import hash_block
from liteio_formats.record import PartEntry, Record
from liteio_testkit.contract_bench import Bench, DriveUnderTest, K, M
from liteio_testkit.drive_census import Census, ShardState, take_census
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.seeded_randomness import SeededRandomness

SIZE_BYTES = 300_000


class Set:
    """Four drives and a bench over each."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.drives = [MemoryDrive(slot, self.clock, SeededRandomness(slot)) for slot in range(K + M)]
        self.benches = [self.bench_of(drive) for drive in self.drives]
        self.name = self.benches[0].name(b"k")

    def bench_of(self, drive: MemoryDrive) -> Bench:
        async def restart() -> StorageAPI:
            return drive

        return Bench(DriveUnderTest(drive, self.clock, restart, 1, 1))

    async def store(self, record: Record) -> Record:
        """Shards staged where the record wants them, the row committed on every drive."""
        for slot, bench in enumerate(self.benches):
            for part in record.parts:
                await bench.stage(part.size_bytes, part.data_id, part.number, record.shard_index_of(slot))
            await bench.commit(record, shard_index=record.shard_index_of(slot))
        return record

    async def census(self, time: int | None = None) -> Census:
        deadline = self.benches[0].soon
        asked = None if time is None else HybridTime(time)
        return await take_census(reversed(self.drives), self.name, NULL_VERSION, deadline=deadline, time=asked)


@pytest.fixture
def drives() -> Set:
    return Set()


async def test_a_settled_object_is_whole(drives: Set) -> None:
    bench = drives.benches[0]
    parts = tuple(PartEntry(number, SIZE_BYTES, bench.new_data_id(), "etag") for number in (1, 2))
    record = await drives.store(bench.record(b"k", 5, size_bytes=2 * SIZE_BYTES, parts=parts, order=(2, 0, 3, 1)))
    before = await drives.census()
    assert (before.holders, before.settled, before.with_data, before.is_whole) == (4, 0, 4, False)
    for each in drives.benches:
        await each.confirm(record)
    assert (await drives.census()).is_whole


async def test_every_kind_of_damage_shows(drives: Set) -> None:
    bench = drives.benches[0]
    part = PartEntry(1, SIZE_BYTES, bench.new_data_id(), "etag")
    record = await drives.store(bench.record(b"k", 5, size_bytes=SIZE_BYTES, parts=(part,)))
    drives.drives[0].damage_shard(ShardRef(part.data_id, 1, 0))
    drives.drives[1].lose_shard(ShardRef(part.data_id, 1, 1))
    drives.drives[2].set_offline()
    await drives.benches[3].roll_back(record)
    census = await drives.census()
    assert [finding.shards for finding in census.findings] == [
        ShardState.CORRUPT,
        ShardState.MISSING,
        ShardState.UNKNOWN,
        ShardState.UNKNOWN,
    ]
    assert [finding.is_reachable for finding in census.findings] == [True, True, False, True]
    assert (census.holders, census.with_data, len(census.digests)) == (2, 0, 1)
    assert "slot 2: no answer" in str(census)
    drives.drives[2].set_offline(False)
    drives.drives[2].damage_key(drives.name)
    assert (await drives.census()).findings[2].is_index_corrupt


async def test_inline_payloads_are_verified_at_their_address(drives: Set) -> None:
    part = PartEntry(1, 8, drives.benches[0].new_data_id(), "etag")
    record = drives.benches[0].record(b"k", 5, size_bytes=8, parts=(part,), is_inline=True)
    for slot, bench in enumerate(drives.benches):
        shard = b"abcd"
        address = 0 if slot == 3 else slot  # slot 3 was given another drive's shard
        stored_hash = hash_block(shard, part.data_id, 1, address, 0)
        stored = None if slot == 2 else shard
        await bench.commit(record, payload=stored, payload_hash=stored_hash, shard_index=slot)
    states = [finding.shards for finding in (await drives.census()).findings]
    assert states == [ShardState.VALID, ShardState.VALID, ShardState.MISSING, ShardState.CORRUPT]


async def test_tombstones_and_chosen_times_are_found(drives: Set) -> None:
    bench = drives.benches[0]
    old = await drives.store(bench.record(b"k", 5))
    for each in drives.benches[:3]:
        await each.bury(old, 6)
    newest, at_five = await drives.census(), await drives.census(5)
    assert [finding.entry.time for finding in newest.findings if finding.entry] == [6, 6, 6, 5]
    assert newest.with_data == 4, "neither an empty object nor a tombstone needs a shard"
    assert len(newest.digests) == 2
    assert at_five.holders == 4
    assert (await drives.census(7)).holders == 0
