"""A healer that is killed at any call to any drive leaves nothing that another one can not finish, and no garbage."""

import asyncio
import gc
import warnings
from typing import TypeVar

import pytest

from liteio_base.deadline import Deadline
from liteio_contracts.storage import KeyName
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.maintenance import Upkeep, UpkeepTimes
from liteio_objects.store_map import StoreMap
from liteio_testkit.drive_census import take_census
from liteio_testkit.intercepted_drive import Call, InterceptedDrive
from liteio_testkit.memory_locks import MemoryLocks
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.store_bench import DEPLOYMENT, StoreBench

Answer = TypeVar("Answer")
CONTENTS = {"inline": b"i" * 3000, "file": bytes(range(256)) * 2000, "other file": b"o" * 400_000}


class Victim:
    """A healer's process. It dies at its `dies_at`-th call to a drive, before or after the call had its effect, and
    hears of nothing from then on."""

    def __init__(self, dies_at: int | None = None, *, is_after: bool = False) -> None:
        self.calls = 0
        self.is_dead = asyncio.Event()
        self._dies_at, self._is_after = dies_at, is_after

    async def pass_on(self, call: Call[Answer], deadline: Deadline) -> Answer:
        if self.is_dead.is_set():
            await asyncio.Event().wait()
        is_last = self.calls == self._dies_at
        self.calls += 1
        if not is_last:
            return await call(deadline)
        if self._is_after:
            await asyncio.gather(call(deadline), return_exceptions=True)
        self.is_dead.set()
        never: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        return await never


class VictimsDrive(InterceptedDrive):
    victim: Victim

    async def intercept(self, operation: str, call: Call[Answer], deadline: Deadline) -> Answer:
        return await self.victim.pass_on(call, deadline)


async def heal(bench: StoreBench, victim: Victim) -> None:
    """All that a healer does, until it is done or dead."""
    drives = []
    for drive in bench.drives:
        wrapped = VictimsDrive(drive)
        wrapped.victim = victim
        drives.append(wrapped)
    [drive_set] = bench.store.engine.store_map.sets
    sets = [DriveSet(tuple(drives), drive_set.code, 0)]
    store = Store(StoreMap(DEPLOYMENT, sets), bench.clock, SeededRandomness("healer"), MemoryLocks())
    before = asyncio.all_tasks()
    work = asyncio.ensure_future(_all_duties(Upkeep(store, UpkeepTimes(unsettled_seconds=0.0)), bench))
    death = asyncio.ensure_future(victim.is_dead.wait())
    await asyncio.wait({work, death}, return_when=asyncio.FIRST_COMPLETED)
    if work.done():
        work.result()
        await store.close()
    del work, death, store, drives, sets
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of what the death of a process leaves half done
        while left := asyncio.all_tasks() - before:  # What tidies up when it is cancelled hears of nothing either.
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=0.005)
            del left, task
            gc.collect()
            await asyncio.sleep(0)
        gc.collect()


async def _all_duties(upkeep: Upkeep, bench: StoreBench) -> None:
    await upkeep.rebuild_drives()
    await upkeep.settle_left_over()
    store = upkeep.store
    [drive_set] = store.engine.store_map.sets
    for name in await bench.drives[3].walk(None, 100, deadline=bench.deadline):
        await store.healer.heal_key(drive_set, name)
    await upkeep.collect_garbage()


async def wounded_bench() -> StoreBench:
    """One drive emptied, one with a bit flipped, a file lost, and a write that only three drives took."""
    bench = StoreBench.of(garbage_grace_seconds=0.0)
    await bench.make_bucket()
    for key, content in CONTENTS.items():
        await bench.put(key, content)
    bench.drives[2].set_offline()
    await bench.put("inline", CONTENTS["inline"])
    await bench.put("missed", b"m" * 100_000)
    await bench.settle()
    bench.drives[2].set_offline(False)
    bench.drives[1].empty()
    first, second = bench.drives[0].shard_files[:2]
    bench.drives[0].damage_shard(first)
    bench.drives[2].lose_shard(second)
    return bench


async def names_in(bench: StoreBench) -> list[KeyName]:
    return list(await bench.drives[3].walk(None, 100, deadline=bench.deadline))


async def assert_whole(bench: StoreBench, file_count: int) -> None:
    for name in await names_in(bench):
        for version_id in await bench.drives[3].key_versions(name, deadline=bench.deadline):
            census = await take_census(bench.drives, name, version_id, deadline=bench.deadline)
            assert census.is_whole, str(census)
    for drive in bench.drives:
        assert drive.is_authoritative
        assert len(drive.shard_files) == file_count
    for key, content in (*CONTENTS.items(), ("missed", b"m" * 100_000)):
        assert await bench.get(key) == content


@pytest.mark.parametrize("is_after", [False, True], ids=["before", "after"])
async def test_a_healer_killed_at_any_call_leaves_nothing_that_the_next_can_not_finish(is_after: bool) -> None:
    whole = await wounded_bench()
    file_count = len(whole.drives[3].shard_files)
    untouched = Victim()
    await heal(whole, untouched)
    await assert_whole(whole, file_count)
    assert untouched.calls > 100
    for dies_at in range(0, untouched.calls, 11):
        bench = await wounded_bench()
        victim = Victim(dies_at, is_after=is_after)
        await heal(bench, victim)
        assert victim.is_dead.is_set() or victim.calls <= dies_at  # A run may take a few calls less.
        await heal(bench, Victim())
        await assert_whole(bench, file_count)


async def test_two_healers_at_once_do_no_harm() -> None:
    bench = await wounded_bench()
    file_count = len(bench.drives[3].shard_files)
    await asyncio.gather(heal(bench, Victim()), heal(bench, Victim()))
    await heal(bench, Victim())
    await assert_whole(bench, file_count)
