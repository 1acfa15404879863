"""Several keys removed at once: each ends as if it had been removed alone. K+M = 2+2, W = 3."""

import asyncio
import hashlib

import pytest

from liteio_base.ids import VersionId
from liteio_contracts.object_errors import BucketMissing, ObjectMissing, PreconditionFailed, WriteQuorumLost
from liteio_contracts.object_layer import (
    UNCONDITIONAL,
    BucketChange,
    DeleteObject,
    DeleteResult,
    ListObjects,
    ListVersions,
    WriteCondition,
)
from liteio_erasure.code import CodeParams
from liteio_formats.bodies import Versioning
from liteio_objects import removing
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.locking import object_lock
from liteio_objects.store_map import StoreMap
from liteio_testkit.fault_plan import Fault
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.memory_locks import LyingLocks, MemoryLocks
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.store_bench import DEPLOYMENT, StoreBench
from liteio_testkit.two_gateways import SteppedClock, TwoGateways
from liteio_testkit.watched_drive import WatchedDrive

KEYS = [f"k{number}" for number in range(6)]
REMOVED = DeleteResult(is_delete_marker=False, version_id=None)
HOUR_NS = 3600 * 10**9


class SeveralBench(TwoGateways):
    """The other gateway's locks do not keep anybody out."""

    locks: MemoryLocks

    async def delete_all(self, *keys: str, **conditions: WriteCondition) -> list[DeleteResult | Exception]:
        requests = [DeleteObject("photos", key, condition=conditions.get(key, UNCONDITIONAL)) for key in keys]
        return list(await self.store.delete_all(requests, deadline=self.deadline))

    async def left(self) -> list[str]:
        page = await self.store.list_objects(ListObjects("photos"), deadline=self.deadline)
        return [info.key for info in page.objects]


@pytest.fixture
async def bench() -> SeveralBench:
    clock, randomness = SteppedClock(), SeededRandomness("several")
    drives = [MemoryDrive(slot, clock, randomness.fork(f"drive {slot}")) for slot in range(4)]
    watched = [WatchedDrive(drive, clock) for drive in drives]
    store_map = StoreMap(DEPLOYMENT, [DriveSet(tuple(watched), CodeParams.for_set(4, None), 0)])
    locks = MemoryLocks()
    bench = SeveralBench(Store(store_map, clock, randomness.fork("store"), locks), drives, clock)
    other = Store(store_map, clock, randomness.fork("other"), LyingLocks())
    bench.watched, bench.locks, bench.wall, bench.other = watched, locks, clock, StoreBench(other, drives, clock)
    await bench.make_bucket()
    for key in KEYS:
        await bench.put(key, key.encode())
    await bench.settle()
    bench.count_anew()
    return bench


async def test_what_is_there_is_removed_without_being_read(bench: SeveralBench) -> None:
    assert await bench.delete_all(*KEYS) == [REMOVED] * 6
    assert bench.counts("reads") == [0, 0, 0, 0]
    assert bench.counts("unread") == bench.counts("commits") == [6, 6, 6, 6]
    assert await bench.left() == []
    assert bench.locks.held_count == 0
    for key in KEYS:
        await bench.check_gone(key)


async def test_each_has_its_own_outcome_in_its_own_place(bench: SeveralBench) -> None:
    conditions = {
        "k2": WriteCondition(if_etag=hashlib.md5(b"k2").hexdigest()),
        "k3": WriteCondition(if_etag="another"),
        "none": WriteCondition(if_etag="*"),
    }
    outcomes = await bench.delete_all("k0", "nothing", "k1", "k0", "k2", "none", "k3", **conditions)
    assert outcomes[:5] == [REMOVED] * 5
    assert [type(outcome) for outcome in outcomes[5:]] == [ObjectMissing, PreconditionFailed]
    assert await bench.left() == ["k3", "k4", "k5"]
    for drive in bench.drives:
        assert drive.held(await bench.name("nothing")).is_empty


async def test_nothing_that_is_there_is_removed_twice(bench: SeveralBench) -> None:
    assert await bench.delete_all("no", "no more", "nowhere") == [REMOVED] * 3
    assert await bench.delete_all("not", "this") == [REMOVED] * 2  # likely gone: not tried unread any more
    assert bench.counts("commits") == bench.counts("refused")
    assert await bench.left() == KEYS


async def test_one_that_is_being_written_does_not_hold_up_the_others(
    bench: SeveralBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(removing, "_LOCKS_SECONDS", 0.05)
    info = await bench.store.bucket("photos", deadline=bench.deadline)
    async with bench.locks.lock([object_lock(info, b"k3")], deadline=bench.deadline):
        deleting = asyncio.ensure_future(bench.delete_all(*KEYS))
        await asyncio.sleep(0.3)
        assert await bench.left() == ["k3"]
        assert not deleting.done()
    assert await deleting == [REMOVED] * 6
    assert await bench.left() == []


async def test_one_drive_may_be_away(bench: SeveralBench) -> None:
    bench.watched[2].script.add(Fault.TIMEOUT_BEFORE, "commit", times=len(KEYS))
    assert await bench.delete_all(*KEYS) == [REMOVED] * 6
    assert await bench.left() == []
    assert len(bench.store.repairs) == 6
    for key in KEYS:
        await bench.check_gone(key)


async def test_one_that_too_few_drives_took_is_in_doubt_alone(bench: SeveralBench) -> None:
    for drive in bench.watched[:2]:
        drive.script.add(Fault.TIMEOUT_BEFORE, "commit")
    first, *others = await bench.delete_all(*KEYS)
    assert isinstance(first, WriteQuorumLost)
    assert others == [REMOVED] * 5
    assert await bench.delete_all("k0", "k1") == [REMOVED] * 2
    await bench.check_gone("k0")


async def test_they_come_after_what_a_clock_that_is_ahead_wrote(bench: SeveralBench) -> None:
    bench.wall.wrong_by_ns = HOUR_NS
    await bench.other.put("k1", b"theirs")
    bench.wall.wrong_by_ns = 0
    assert await bench.delete_all(*KEYS) == [REMOVED] * 6
    assert await bench.left() == []
    await bench.check_gone("k1")


async def test_a_bucket_that_keeps_versions_gets_delete_markers(bench: SeveralBench) -> None:
    change = BucketChange(versioning=Versioning.ENABLED)
    await bench.other.store.change_bucket("photos", change, deadline=bench.deadline)  # The other gateway remembers.
    outcomes = await bench.delete_all(*KEYS)
    assert [isinstance(each, DeleteResult) and each.is_delete_marker for each in outcomes] == [True] * 6
    page = await bench.store.list_versions(ListVersions("photos"), deadline=bench.deadline)
    assert len(page.versions) == 12
    removals = [DeleteObject("photos", info.key, VersionId(info.version_id)) for info in page.versions]
    assert len(await bench.store.delete_all(removals, deadline=bench.deadline)) == 12
    page = await bench.store.list_versions(ListVersions("photos"), deadline=bench.deadline)
    assert not page.versions


async def test_each_is_told_that_there_is_no_bucket(bench: SeveralBench) -> None:
    requests = [DeleteObject("paintings", key) for key in KEYS]
    outcomes = await bench.store.delete_all(requests, deadline=bench.deadline)
    assert [type(outcome) for outcome in outcomes] == [BucketMissing] * 6
