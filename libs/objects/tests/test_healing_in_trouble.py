"""Healing and upkeep while drives fail, and when a repair itself does."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest

from liteio_base.deadline import Deadline
from liteio_base.ids import BucketId, VersionId
from liteio_contracts.object_errors import ReadQuorumLost
from liteio_contracts.object_layer import HealResult
from liteio_contracts.storage import CasScope, Commit, KeyName, RowCommit, ShardRef, ShardWriter
from liteio_formats.record import Space
from liteio_objects import duties
from liteio_objects.drive_set import DriveSet
from liteio_objects.healing import Healer
from liteio_objects.maintenance import Upkeep, UpkeepTimes
from liteio_objects.repairs import RepairQueue
from liteio_objects.settling import Settled, Settler
from liteio_testkit.drive_census import take_census
from liteio_testkit.fault_plan import Fault
from liteio_testkit.faulty_drive import FaultyDrive
from liteio_testkit.intercepted_drive import InterceptedDrive
from liteio_testkit.memory_locks import MemoryLocks
from liteio_testkit.polling import until
from liteio_testkit.running import running
from liteio_testkit.store_bench import StoreBench


def with_faults(bench: StoreBench) -> tuple[DriveSet, list[FaultyDrive], Healer]:
    """The bench's drives with faults around them, and a healer that sees those."""
    [drive_set] = bench.store.engine.store_map.sets
    faulty = [FaultyDrive(drive, bench.clock) for drive in bench.drives]
    return DriveSet(tuple(faulty), drive_set.code, drive_set.set_index), faulty, bench.store.healer


async def filled_bench() -> StoreBench:
    bench = StoreBench.of()
    await bench.make_bucket()
    for number in range(3):
        await bench.put(f"k{number}", bytes([number]) * 100)
    await bench.settle()
    return bench


@pytest.mark.parametrize("operation", ["walk", "key_versions"])
async def test_a_rebuild_that_too_few_drives_told_of_everything_is_not_done(operation: str) -> None:
    bench = await filled_bench()
    bench.drives[1].empty()
    drive_set, faulty, healer = with_faults(bench)
    for drive in faulty[2:]:
        drive.script.add(Fault.OFFLINE_BEFORE, operation, skip=1)
    assert not await healer.rebuild_drive(drive_set, 1)
    assert not bench.drives[1].is_authoritative
    assert await healer.rebuild_drive(drive_set, 1)
    assert bench.drives[1].is_authoritative


async def test_a_rebuild_does_not_wait_for_a_drive_that_is_away() -> None:
    bench = await filled_bench()
    bench.drives[1].empty()
    bench.drives[3].set_offline()
    drive_set, _, healer = with_faults(bench)
    assert await healer.rebuild_drive(drive_set, 1)
    bench.drives[0].set_offline()
    assert await bench.get("k2") == bytes([2]) * 100


async def test_a_drive_that_does_not_take_a_record_is_not_rebuilt() -> None:
    bench = await filled_bench()
    bench.drives[1].empty()
    bench.drives[3].set_offline()
    drive_set, faulty, healer = with_faults(bench)
    faulty[1].script.add(Fault.TIMEOUT_BEFORE, "commit", skip=1)
    assert not await healer.rebuild_drive(drive_set, 1)


async def test_a_scan_while_a_drive_is_away_heals_only_what_the_others_differ_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = await filled_bench()
    bench.drives[0].set_offline()
    await bench.put("k3", b"x")
    await bench.settle()
    bench.drives[0].set_offline(False)
    bench.drives[3].set_offline()
    healed: list[bytes] = []

    async def heal_key(self: Healer, drive_set: DriveSet, name: KeyName, *, verify: bool = True) -> HealResult:
        healed.append(name.key)
        return HealResult(True, 0, 0, 0)

    monkeypatch.setattr(Healer, "heal_key", heal_key)
    [drive_set] = bench.store.engine.store_map.sets
    await bench.store.healer.scan(drive_set)
    assert healed == [b"k3"]


class FailingHealer:
    """Raises what it should not for the first key."""

    def __init__(self) -> None:
        self.healed: list[bytes] = []

    async def heal_key(self, drive_set: DriveSet, name: KeyName, *, verify: bool = True) -> HealResult:
        self.healed.append(name.key)
        if len(self.healed) == 1:
            raise ValueError("a bug")
        return HealResult(True, 0, 0, 0)


async def test_the_repair_of_one_key_does_not_end_all_repairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liteio_objects.repairs.FIRST_PAUSE_SECONDS", 0.0)
    bench = StoreBench.of()
    [drive_set] = bench.store.engine.store_map.sets
    queue, healer = RepairQueue(bench.clock), FailingHealer()
    for key in (b"a", b"b"):
        queue.add(drive_set, KeyName(Space.OBJECT, BucketId("0" * 32), key))
    async with running(queue.run(healer)) as work:  # type: ignore[arg-type]  # all of a Healer that it uses
        await until(lambda: len(healer.healed) == 2)
        assert not work.done()
        assert len(queue) == 1  # the first is tried again later


async def test_trouble_with_one_register_does_not_keep_others_unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = await filled_bench()
    settled: list[bytes] = []

    async def settle(
        self: Settler, drive_set: DriveSet, name: KeyName, version_id: VersionId, *, deadline: object
    ) -> Settled:
        if name.key == b"k7":
            raise ValueError("a bug")
        settled.append(name.key)
        return Settled.WHOLE

    for drive in bench.drives:  # No confirm comes through.
        monkeypatch.setattr(drive, "confirm", lambda refs, *, deadline: asyncio.sleep(0))
    await bench.put("k7", b"x")
    await bench.put("k8", b"x")
    await bench.settle()
    monkeypatch.setattr(Settler, "settle", settle)
    assert await Upkeep(bench.store, UpkeepTimes(unsettled_seconds=0.0)).settle_left_over() == 1
    assert settled == [b"k8"]


async def test_upkeep_goes_on_when_one_of_its_loops_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = await filled_bench()
    rounds: list[str] = []

    async def collect_set(self: Upkeep, set_index: int) -> int:
        rounds.append("collect")
        raise ValueError("a bug")

    monkeypatch.setattr(Upkeep, "collect_set", collect_set)
    async with running(Upkeep(bench.store, UpkeepTimes(collect_every=0.01)).run()) as work:
        await until(lambda: len(rounds) >= 3)
        assert not work.done()


@pytest.mark.parametrize("size", [100, 400_000], ids=["inline", "in files"])
async def test_a_record_that_a_drive_can_not_read_is_given_to_it_again(size: int) -> None:
    bench = await filled_bench()
    await bench.put("rotten", bytes(size))
    await bench.settle()
    [drive_set] = bench.store.engine.store_map.sets
    bucket = await bench.store.bucket("photos", deadline=bench.deadline)
    name = KeyName(Space.OBJECT, bucket.bucket_id, b"rotten")
    bench.drives[2].damage_key(name)
    assert await bench.store.healer.scan(drive_set, verify=True) == []
    census = await take_census(bench.drives, name, VersionId(""), deadline=bench.deadline)
    assert census.is_whole, str(census)


async def test_what_a_full_drive_refused_is_brought_to_it_when_it_has_room_again() -> None:
    bench = await filled_bench()
    upkeep = Upkeep(bench.store)
    await upkeep.rebuild_set(0)  # A drive that is seen for the first time is scanned for, too.
    bench.drives[2].set_full()
    await bench.put("late", b"x" * 1000)
    await bench.settle()
    await upkeep.rebuild_set(0)
    bucket = await bench.store.bucket("photos", deadline=bench.deadline)
    name = KeyName(Space.OBJECT, bucket.bucket_id, b"late")
    assert not bench.drives[2].held(name).records
    bench.drives[2].set_full(False)
    await upkeep.rebuild_set(0)
    census = await take_census(bench.drives, name, VersionId(""), deadline=bench.deadline)
    assert census.is_whole, str(census)


async def test_a_set_is_watched_while_one_of_its_drives_is_rebuilt_and_a_failed_scan_is_repeated(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = await filled_bench()
    rebuilding, scans = asyncio.Event(), list[bool]()

    async def rebuild_drive(self: Healer, drive_set: DriveSet, slot: int) -> bool:
        rebuilding.set()
        await asyncio.sleep(1000)
        return False

    async def scan(self: Healer, drive_set: DriveSet, *, verify: bool = False) -> list[object]:
        scans.append(True)
        if len(scans) == 2:
            raise ReadQuorumLost(needed=3, got=2)
        return []

    monkeypatch.setattr(Healer, "rebuild_drive", rebuild_drive)
    monkeypatch.setattr(Healer, "scan", scan)
    bench.drives[1].empty()
    async with running(Upkeep(bench.store, UpkeepTimes(rebuild_every=0.01, rescan_seconds=0.05)).run()):
        await asyncio.wait_for(rebuilding.wait(), 5)
        await until(lambda: len(scans) == 2)  # of the loop, and because drives are seen for the first time
        await until(lambda: len(scans) == 3)  # the one that failed, again
        bench.drives[3].set_offline()
        await asyncio.sleep(0.1)
        assert len(scans) == 3
        bench.drives[3].set_offline(False)
        await until(lambda: len(scans) == 4)


async def test_a_drive_that_was_away_while_another_had_the_duty_is_scanned_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever has the duty again did not see it go, and knows it as it was."""
    for seconds in ("TRY_EVERY_SECONDS", "LOOK_EVERY_SECONDS"):
        monkeypatch.setattr(duties, seconds, 0.01)

    async def scan_set(self: Upkeep, set_index: int) -> None:
        """The duty of its own that scans now and then, and when somebody has it anew."""

    monkeypatch.setattr(Upkeep, "scan_set", scan_set)
    bench = await filled_bench()
    locks = bench.store.engine.locks
    assert isinstance(locks, MemoryLocks)
    upkeep = Upkeep(bench.store, UpkeepTimes(rebuild_every=0.01))
    async with running(upkeep.run()):
        await until(lambda: "rebuild 0" in upkeep.duties.held)
        bucket = await bench.store.bucket("photos", deadline=bench.deadline)
        name = KeyName(Space.OBJECT, bucket.bucket_id, b"late")
        async with having_duty_instead(locks, upkeep, bench.deadline):
            await bench.settle()
            bench.drives[2].set_offline()
            await bench.put("late", b"x" * 1000)
            await bench.settle()
            bench.drives[2].set_offline(False)
        await until(lambda: bool(bench.drives[2].held(name).records))


@asynccontextmanager
async def having_duty_instead(locks: MemoryLocks, upkeep: Upkeep, deadline: Deadline) -> AsyncIterator[None]:
    locks.break_leases()
    async with locks.lock((duties.duty_lock("rebuild 0"),), deadline=deadline):
        await until(lambda: "rebuild 0" not in upkeep.duties.held)
        yield


@pytest.mark.parametrize("size", [1000, 400_000], ids=["inline", "in files"])
async def test_a_repair_that_changed_nothing_is_not_taken_for_done(size: int) -> None:
    """The drive says that it took the shard, and still holds the bad one: only looking again tells."""
    bench = await filled_bench()
    await bench.put("bad", bytes(size))
    await bench.settle()
    bucket = await bench.store.bucket("photos", deadline=bench.deadline)
    name = KeyName(Space.OBJECT, bucket.bucket_id, b"bad")
    drive = bench.drives[1]
    if size > 100_000:
        drive.damage_shard(drive.shard_files[-1])
    else:
        [row] = drive.held(name).rows
        shard = RowCommit(row.encoded, CasScope.VERSION, row.time, row.shard_index, b"rotten", row.payload_hash)
        await drive.commit(Commit((shard,)), deadline=bench.deadline)
    [drive_set] = bench.store.engine.store_map.sets
    drives = list(drive_set.drives)
    drives[1] = LyingDrive(drive)
    lying = DriveSet(tuple(drives), drive_set.code, 0)
    result = await bench.store.healer.heal_key(lying, name)
    assert (result.is_whole, result.shards_good, result.waits_for_drives) == (False, 3, False)
    assert any("not good" in problem for problem in result.problems)
    assert (await bench.store.healer.heal_key(drive_set, name)).is_whole


class LyingDrive(InterceptedDrive):
    """Says yes to every repair and forgets it."""

    async def commit(self, commit: Commit, *, deadline: Deadline) -> None:
        return

    async def create_shard(self, ref: ShardRef, *, size_hint: int, deadline: Deadline) -> ShardWriter:
        return NoWriter()


class NoWriter:
    async def write(self, shards: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        return

    async def close(self, facts_k: int, facts_m: int, part_size_bytes: int) -> None:
        return

    async def abort(self) -> None:
        return
