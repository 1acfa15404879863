"""What MemoryDrive adds to the contract: durability, emptying, and the test's hand on it."""

import pytest

from liteio_base.deadline import Deadline
from liteio_base.ids import NULL_VERSION, SYSTEM_BUCKET, HybridTime
from liteio_contracts.storage import Commit, KeyQuery, RowCommit, ShardRef, StorageAPI, VersionRef
from liteio_contracts.storage_errors import (
    DriveFull,
    DriveOffline,
    DriveTimeout,
    GenerationChanged,
    RecordCorrupt,
    ShardCorrupt,
    ShardMissing,
)
from liteio_formats.record import Kind, Record, Space, encode_record
from liteio_testkit.contract_bench import Bench, DriveUnderTest, data_of
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.memory_drive import MemoryDrive, name_of
from liteio_testkit.seeded_randomness import SeededRandomness


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def drive(clock: ManualClock) -> MemoryDrive:
    return MemoryDrive(0, clock, SeededRandomness(1))


def record_at(time: int) -> Record:
    return Record(
        space=Space.OBJECT,
        bucket_id=SYSTEM_BUCKET,
        key=b"k",
        version_id=NULL_VERSION,
        kind=Kind.VALUE,
        created=HybridTime(time),
        time=HybridTime(time),
        base=HybridTime(0),
        generations=(),
    )


def commit_of(record: Record, drive: MemoryDrive, base: int = 0) -> Commit:
    return Commit((RowCommit(encode_record(record), base=HybridTime(base)),), generation=drive.generation)


def ref_of(record: Record) -> VersionRef:
    return VersionRef(name_of(record), record.version_id, record.time)


async def settled(drive: StorageAPI, deadline: Deadline) -> list[tuple[int, bool]]:
    answer = await drive.read_key(KeyQuery(name_of(record_at(1)), (NULL_VERSION,)), deadline=deadline)
    return [(entry.time, entry.is_settled) for entry in answer.entries]


async def test_a_crash_loses_a_confirm_but_no_commit(drive: MemoryDrive, clock: ManualClock) -> None:
    soon = Deadline.after(60, clock)
    old, new = record_at(1), record_at(2)
    await drive.commit(commit_of(old, drive), deadline=soon)
    await drive.commit(commit_of(new, drive, base=1), deadline=soon)
    await drive.confirm([ref_of(new)], deadline=soon)
    assert await settled(drive, soon) == [(2, True)]
    drive.crash()
    assert await settled(drive, soon) == [(2, False), (1, False)]


async def test_a_durable_transaction_makes_earlier_confirms_durable(drive: MemoryDrive, clock: ManualClock) -> None:
    soon = Deadline.after(60, clock)
    await drive.commit(commit_of(record_at(1), drive), deadline=soon)
    await drive.confirm([ref_of(record_at(1))], deadline=soon)
    await drive.commit(commit_of(record_at(2), drive, base=1), deadline=soon)
    drive.crash()
    assert await settled(drive, soon) == [(2, False), (1, True)]


async def test_an_emptied_drive_has_a_new_generation_and_refuses_the_old_one(
    drive: MemoryDrive, clock: ManualClock
) -> None:
    soon = Deadline.after(60, clock)
    late = commit_of(record_at(1), drive)
    drive.empty()
    with pytest.raises(GenerationChanged):
        await drive.commit(late, deadline=soon)
    answer = await drive.read_key(KeyQuery(name_of(record_at(1))), deadline=soon)
    assert not answer.is_authoritative
    assert answer.generation == drive.generation != late.generation
    await drive.set_authoritative(drive.generation, deadline=soon)
    assert (await drive.status(deadline=soon)).is_authoritative


async def test_an_offline_drive_answers_nothing_and_forgets_nothing(drive: MemoryDrive, clock: ManualClock) -> None:
    soon = Deadline.after(60, clock)
    await drive.commit(commit_of(record_at(1), drive), deadline=soon)
    drive.set_offline()
    with pytest.raises(DriveOffline):
        await settled(drive, soon)
    drive.set_offline(False)
    assert await settled(drive, soon) == [(1, False)]


def bench_over(drive: MemoryDrive, clock: ManualClock) -> Bench:
    async def restart() -> StorageAPI:
        drive.crash()
        return drive

    return Bench(DriveUnderTest(drive, clock, restart, 1, 1))


async def test_replaced_data_is_unlinked_when_its_loss_is_durable(drive: MemoryDrive, clock: ManualClock) -> None:
    bench = bench_over(drive, clock)
    old, new = await bench.put_staged(b"k", 1), await bench.put_staged(b"k", 2)
    await bench.confirm(new)
    assert data_of(old) in drive.shard_files
    await bench.put(b"other", 1)
    assert drive.shard_files == [data_of(new)]


async def test_a_full_drive_refuses_values_and_takes_deletes(drive: MemoryDrive, clock: ManualClock) -> None:
    bench = bench_over(drive, clock)
    record = await bench.put(b"k", 1)
    drive.set_full()
    with pytest.raises(DriveFull):
        await bench.put(b"l", 2)
    with pytest.raises(DriveFull):
        await bench.stage(10)
    await bench.bury(record, 3)
    await bench.put(b"m", 4, kind=Kind.DELETE_MARKER)
    assert (await drive.status(deadline=bench.soon)).state == "full"
    drive.set_full(False)
    await bench.put(b"l", 2)


async def test_damage_is_found_where_it_was_done(drive: MemoryDrive, clock: ManualClock) -> None:
    bench = bench_over(drive, clock)
    rotten, torn, lost = [await bench.put_staged(b"k%d" % number, 1, size_bytes=3_000_000) for number in range(3)]
    drive.damage_shard(data_of(rotten), block=1, bit=77)
    drive.tear_shard(data_of(torn), 2)
    drive.lose_shard(data_of(lost))
    for record in (rotten, torn):
        await drive.shard_facts(data_of(record), verify=False, deadline=bench.soon)
        with pytest.raises(ShardCorrupt):
            await drive.shard_facts(data_of(record), verify=True, deadline=bench.soon)
    reader = await drive.open_shard(data_of(torn), 0, 3, deadline=bench.soon)
    assert len(await reader.read(2)) == 2
    with pytest.raises(ShardCorrupt):
        await reader.read(1)
    with pytest.raises(ShardMissing):
        await drive.open_shard(data_of(lost), 0, 1, deadline=bench.soon)
    drive.damage_key(bench.name(b"k0"))
    with pytest.raises(RecordCorrupt):
        await bench.head(b"k0")
    await bench.put(b"k0", 2)
    assert await bench.times(b"k0") == {2: False, 1: False}


async def test_open_shards_end_with_their_drive(drive: MemoryDrive, clock: ManualClock) -> None:
    bench = bench_over(drive, clock)
    record = await bench.put_staged(b"k", 1)
    reader = await drive.open_shard(data_of(record), 0, 1, deadline=bench.soon)
    writer = await drive.create_shard(ShardRef(bench.new_data_id(), 1, 0), size_hint=0, deadline=bench.soon)
    drive.set_offline()
    with pytest.raises(DriveOffline):
        await reader.read(1)
    with pytest.raises(DriveOffline):
        await writer.write([b"x"], [bytes(32)])
    drive.set_offline(False)
    drive.crash()
    with pytest.raises(DriveOffline):
        await writer.close(2, 2, 1)
    await writer.abort()


async def test_calls_after_their_deadline_do_nothing(drive: MemoryDrive, clock: ManualClock) -> None:
    gone = Deadline.after(0, clock)
    with pytest.raises(DriveTimeout):
        await drive.commit(commit_of(record_at(1), drive), deadline=gone)
    assert await settled(drive, Deadline.after(60, clock)) == []
