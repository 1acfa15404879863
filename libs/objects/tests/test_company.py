"""Blind writers of one key that hold its lock together: docs/protocols/commit.md, "Rivals". K+M = 2+2, W = 3."""

import asyncio
import hashlib

import pytest

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_contracts.locks import LockTimeout
from liteio_contracts.object_errors import OperationTimeout, PreconditionFailed
from liteio_contracts.object_layer import BucketChange, DeleteObject, ListVersions, PutObject, WriteCondition
from liteio_contracts.storage import KeyName
from liteio_erasure.code import CodeParams
from liteio_formats.bodies import Versioning
from liteio_formats.record import Space
from liteio_objects.company import Companies
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.locking import object_lock
from liteio_objects.store_map import StoreMap
from liteio_testkit.fault_plan import Fault
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.memory_locks import MemoryLocks
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.store_bench import DEPLOYMENT, PlainBody, StoreBench
from liteio_testkit.watched_drive import WatchedDrive

WRITERS = 20


class CompanyBench(StoreBench):
    counting: list[WatchedDrive]
    locks: MemoryLocks

    def count_anew(self) -> None:
        for drive in self.counting:
            drive.count_anew()

    async def at_once(self, count: int = WRITERS) -> None:
        """So many writers, all of whom wait for the lock before the first is let in."""
        info = await self.store.bucket("photos", deadline=self.deadline)
        async with self.locks.lock([object_lock(info, b"k")], deadline=self.deadline):
            writing = [asyncio.ensure_future(self.put("k", b"%d" % number)) for number in range(count)]
            await asyncio.sleep(0.01)
        await asyncio.gather(*writing)

    async def versions(self, key: str) -> list[str]:
        page = await self.store.list_versions(ListVersions("photos", prefix=key), deadline=self.deadline)
        return [info.etag for info in page.versions]


@pytest.fixture
async def bench() -> CompanyBench:
    clock, randomness, locks = SystemClock(), SeededRandomness("company"), MemoryLocks()
    drives = [MemoryDrive(slot, clock, randomness.fork(f"drive {slot}")) for slot in range(4)]
    counting = [WatchedDrive(drive, clock) for drive in drives]
    drive_set = DriveSet(tuple(counting), CodeParams.for_set(4, None), 0)
    made = CompanyBench(Store(StoreMap(DEPLOYMENT, [drive_set]), clock, randomness, locks), drives, clock)
    made.counting, made.locks = counting, locks
    await made.make_bucket()
    await made.put("first", b"1")
    await made.settle()
    made.count_anew()
    return made


async def enable_versions(bench: CompanyBench) -> None:
    await bench.store.change_bucket("photos", BucketChange(versioning=Versioning.ENABLED), deadline=bench.deadline)


async def test_writers_that_waited_read_once_and_no_drive_refuses_any(bench: CompanyBench) -> None:
    await bench.at_once()
    for drive in bench.counting:
        assert (drive.reads, drive.commits, drive.refused) == (1, WRITERS, 0)
    assert bench.locks.held_count == 0
    await bench.settle()
    name = KeyName(Space.OBJECT, (await bench.store.bucket("photos", deadline=bench.deadline)).bucket_id, b"k")
    assert [[row.is_settled for row in drive.held(name).records] for drive in bench.drives] == [[True]] * 4
    assert await bench.get("k") == b"%d" % (WRITERS - 1)


async def test_each_makes_a_version_of_its_own(bench: CompanyBench) -> None:
    await enable_versions(bench)
    await bench.at_once()
    etags = {hashlib.md5(b"%d" % number).hexdigest() for number in range(WRITERS)}
    assert sorted(await bench.versions("k")) == sorted(etags)
    assert [drive.refused for drive in bench.counting] == [0] * 4


async def test_delete_markers_are_of_the_company(bench: CompanyBench) -> None:
    await enable_versions(bench)
    info = await bench.store.bucket("photos", deadline=bench.deadline)
    async with bench.locks.lock([object_lock(info, b"k")], deadline=bench.deadline):
        request = DeleteObject("photos", "k")
        removing = [asyncio.ensure_future(bench.store.delete(request, deadline=bench.deadline)) for _ in range(WRITERS)]
        await asyncio.sleep(0.01)
    assert len({result.version_id for result in await asyncio.gather(*removing)}) == WRITERS
    assert [drive.reads for drive in bench.counting] == [1] * 4


async def test_of_writers_that_create_the_key_one_does(bench: CompanyBench) -> None:
    """Who sets a condition has the lock alone."""
    request = PutObject("photos", "k", condition=WriteCondition(if_absent=True))
    calls = [bench.store.put(request, PlainBody(b"%d" % number), deadline=bench.deadline) for number in range(WRITERS)]
    told = await asyncio.gather(*calls, bench.put("k", b"blind"), return_exceptions=True)
    assert sum(not isinstance(each, BaseException) for each in told) in (1, 2)
    assert {type(each) for each in told if isinstance(each, BaseException)} == {PreconditionFailed}


async def test_who_gives_up_leaves_the_lock_to_the_others(bench: CompanyBench) -> None:
    info = await bench.store.bucket("photos", deadline=bench.deadline)
    async with bench.locks.lock([object_lock(info, b"k")], deadline=bench.deadline):
        leader = asyncio.ensure_future(
            bench.store.put(PutObject("photos", "k"), PlainBody(b"late"), deadline=Deadline.after(0.05, SystemClock()))
        )
        await asyncio.sleep(0.01)
        others = [asyncio.ensure_future(bench.put("k", b"%d" % number)) for number in range(3)]
        with pytest.raises(OperationTimeout):
            await leader
    await asyncio.gather(*others)
    assert bench.locks.held_count == 0
    assert await bench.get("k") in (b"0", b"1", b"2")


async def test_a_follower_waits_no_longer_than_it_may() -> None:
    companies, locks = Companies(), MemoryLocks()
    soon = Deadline.after(0.05, SystemClock())
    later = Deadline.after(5, SystemClock())
    async with locks.lock([b"k"], deadline=later):
        leading = asyncio.ensure_future(companies.enter(b"k", locks.lock([b"k"], deadline=later), later))
        await asyncio.sleep(0)
        with pytest.raises(LockTimeout):
            await companies.enter(b"k", locks.lock([b"k"], deadline=soon), soon)
    company = await leading
    assert company.is_held
    assert company.is_alone
    await company.leave()
    assert locks.held_count == 0


async def test_one_whose_commit_no_drive_answers_does_not_fail_the_others(bench: CompanyBench) -> None:
    for drive in bench.counting:
        drive.script.add(Fault.TIMEOUT_BEFORE, "commit")
    info = await bench.store.bucket("photos", deadline=bench.deadline)
    async with bench.locks.lock([object_lock(info, b"k")], deadline=bench.deadline):
        writing = [asyncio.ensure_future(bench.put("k", b"%d" % number)) for number in range(3)]
        await asyncio.sleep(0.01)
    told = await asyncio.gather(*writing, return_exceptions=True)
    assert [isinstance(each, BaseException) for each in told] == [True, False, False]
    assert await bench.get("k") == b"2"
