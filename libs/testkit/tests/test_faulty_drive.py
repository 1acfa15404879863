"""Faults happen when the plan says so, and do what they say."""

import pytest

from liteio_base.deadline import Deadline
from liteio_base.ids import SYSTEM_BUCKET
from liteio_contracts.storage import KeyName, KeyQuery, ShardRef, StorageAPI
from liteio_contracts.storage_errors import DriveOffline, DriveTimeout, DriveUnavailable, Superseded
from liteio_formats.record import PartEntry, Space
from liteio_testkit.contract_bench import Bench
from liteio_testkit.fault_plan import Fault, SeededPlan
from liteio_testkit.faulty_drive import FaultyDrive
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.memory_drive import GARBAGE_GRACE_SECONDS, TOMBSTONE_SECONDS, MemoryDrive
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.storage_contract import DriveUnderTest, StorageContract


class TestFaultyDriveWithoutFaults(StorageContract):
    @pytest.fixture
    def subject(self) -> DriveUnderTest:
        clock = ManualClock()
        inner = MemoryDrive(0, clock, SeededRandomness("contract"))
        faulty = FaultyDrive(inner, clock)

        async def restart() -> StorageAPI:
            inner.crash()
            return faulty

        return DriveUnderTest(faulty, clock, restart, GARBAGE_GRACE_SECONDS, TOMBSTONE_SECONDS)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def faulty(clock: ManualClock) -> FaultyDrive:
    return FaultyDrive(MemoryDrive(0, clock, SeededRandomness(1)), clock)


@pytest.fixture
def bench(faulty: FaultyDrive, clock: ManualClock) -> Bench:
    async def restart() -> StorageAPI:
        return faulty

    return Bench(DriveUnderTest(faulty, clock, restart, GARBAGE_GRACE_SECONDS, TOMBSTONE_SECONDS))


@pytest.mark.parametrize(
    ("fault", "error", "is_done"),
    [
        (Fault.OFFLINE_BEFORE, DriveOffline, False),
        (Fault.OFFLINE_AFTER, DriveOffline, True),
        (Fault.TIMEOUT_BEFORE, DriveTimeout, False),
        (Fault.TIMEOUT_AFTER, DriveTimeout, True),
        (Fault.HANG, DriveTimeout, False),
        (Fault.HANG_AFTER, DriveTimeout, True),
        (Fault.LATE, DriveTimeout, False),
    ],
)
async def test_a_fault_raises_with_or_without_the_effect(
    faulty: FaultyDrive, bench: Bench, fault: Fault, error: type[DriveUnavailable], is_done: bool
) -> None:
    faulty.script.add(fault, "commit")
    with pytest.raises(error):
        await bench.put(b"k", 5)
    assert await bench.times(b"k") == ({5: False} if is_done else {})
    assert faulty.script.is_spent


async def test_a_hang_lasts_until_the_deadline(faulty: FaultyDrive, bench: Bench, clock: ManualClock) -> None:
    faulty.script.add(Fault.HANG, "read_key")
    deadline = Deadline.after(7, clock)
    with pytest.raises(DriveTimeout):
        await faulty.read_key(KeyQuery(KeyName(Space.OBJECT, SYSTEM_BUCKET, b"k")), deadline=deadline)
    assert clock.monotonic() == 7


async def test_a_delay_moves_the_clock_and_then_answers(faulty: FaultyDrive, bench: Bench, clock: ManualClock) -> None:
    faulty.script.add(Fault.DELAY, "commit")
    await bench.put(b"k", 5)
    assert 0 < clock.monotonic() <= 0.5
    assert await bench.times(b"k") == {5: False}


async def test_a_late_commit_arrives_when_told(faulty: FaultyDrive, bench: Bench) -> None:
    faulty.script.add(Fault.LATE, "commit")
    with pytest.raises(DriveTimeout):
        await bench.put(b"k", 5)
    assert await faulty.deliver_late() == 1
    assert await bench.times(b"k") == {5: False}
    assert await faulty.deliver_late() == 0


async def test_a_repeated_commit_is_refused_once_it_was_superseded(faulty: FaultyDrive, bench: Bench) -> None:
    faulty.script.add(Fault.REPEAT, "commit")
    record = await bench.put(b"k", 5)
    await bench.put_settled(b"k", 6)
    assert await faulty.deliver_late() == 1
    assert await bench.times(b"k") == {6: True}
    with pytest.raises(Superseded):
        await bench.commit(record, base=0)


async def test_a_script_skips_and_counts(faulty: FaultyDrive, bench: Bench) -> None:
    faulty.script.add(Fault.OFFLINE_BEFORE, "commit", skip=1, times=2)
    outcomes = []
    for time in range(1, 6):
        try:
            await bench.put(b"k", time)
            outcomes.append("done")
        except DriveOffline:
            outcomes.append("failed")
    assert outcomes == ["done", "failed", "failed", "done", "done"]
    assert faulty.calls == ["commit"] * 5


async def test_flips_spoil_payloads_and_shards_but_not_what_is_stored(faulty: FaultyDrive, bench: Bench) -> None:
    part = PartEntry(1, 3, bench.new_data_id(), "etag")
    record = bench.record(b"k", 5, size_bytes=3, parts=(part,), is_inline=True)
    await bench.commit(record, payload=b"xyz", payload_hash=b"h" * 32)
    faulty.script.add(Fault.FLIP, "read_key")
    (spoiled,) = (await bench.head(b"k", wants_payload=True)).entries
    (sound,) = (await bench.head(b"k", wants_payload=True)).entries
    assert (spoiled.payload, spoiled.payload_hash) != (sound.payload, sound.payload_hash)

    staged = await bench.stage(300_000)
    faulty.script.add(Fault.FLIP, "shard.read")
    ref = ShardRef(staged.data_id, 1, 0)
    found = []
    for _ in range(2):
        reader = await faulty.open_shard(ref, 0, 1, deadline=bench.soon)
        found.append(list(await reader.read(1)))
        await reader.close()
    assert found[0] != found[1]
    assert sum(a != b for a, b in zip(found[0][0], found[1][0], strict=True)) == 1
    await faulty.shard_facts(ref, verify=True, deadline=bench.soon)


async def test_an_abort_never_raises(faulty: FaultyDrive, bench: Bench) -> None:
    writer = await faulty.create_shard(ShardRef(bench.new_data_id(), 1, 0), size_hint=0, deadline=bench.soon)
    faulty.set_offline()
    await writer.abort()
    with pytest.raises(DriveOffline):
        await bench.put(b"k", 5)
    assert faulty.is_likely_slow


def test_a_seed_gives_the_same_faults_again() -> None:
    rates = {Fault.OFFLINE_BEFORE: 0.3, Fault.OFFLINE_AFTER: 0.2}

    def drawn(seed: int) -> list[Fault | None]:
        plan = SeededPlan(SeededRandomness(seed), rates, operations={"commit"})
        return [plan.next_fault("commit") for _ in range(200)]

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert 60 < sum(fault is None for fault in drawn(1)) < 140
    assert set(drawn(1)) == {None, Fault.OFFLINE_BEFORE, Fault.OFFLINE_AFTER}
    assert SeededPlan(SeededRandomness(1), rates, operations={"commit"}).next_fault("read_key") is None
