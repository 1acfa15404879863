"""What MemoryDrive adds to the contract: durability, emptying, and the test's hand on it."""

import pytest

from liteio_base.deadline import Deadline
from liteio_base.ids import NULL_VERSION, SYSTEM_BUCKET, HybridTime
from liteio_contracts.storage import Commit, KeyQuery, RowCommit, StorageAPI, VersionRef
from liteio_contracts.storage_errors import DriveOffline, GenerationChanged
from liteio_formats.record import Kind, Record, Space, encode_record
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
