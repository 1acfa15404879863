"""Row 52: a healer that is killed at each of its steps, and two of them at once."""

import asyncio

from tests.faults.machine import INLINE, ONE_BLOCK, Machine, content_of, machine_in
from tests.faults.measures import require_contents
from tests.faults.registry import Trial, row
from tests.support.disk import CountChanges, CrashAt

from liteio_contracts.object_errors import ObjectError
from liteio_contracts.storage_errors import StorageError
from liteio_objects.maintenance import Upkeep, UpkeepTimes

OBJECTS = {f"k{number}": content_of(("healed", number), (INLINE, ONE_BLOCK)[number % 2]) for number in range(6)}


@row(
    52,
    "healer killed at each step; two healers at once",
    "an emptied drive of four is rebuilt, and the process ends at the n-th change of a disk, for every n (in part: n "
    "spread over all); then two healers do it at the same time",
    unit="points at most",
    bounded=10,
    full=600,
)
async def killed_healer(trial: Trial) -> str:
    async with machine_in(trial.folder, seed=trial.seed) as machine:
        for key, content in OBJECTS.items():
            await machine.put(key, content)
        await machine.settle()
        counter = CountChanges()
        await _empty_a_drive(machine, 0)
        with machine.disk.hooked(counter):
            await _rebuild(machine)
        total = len(counter.calls)
        points = sorted({(trial.seed + at * max(1, total // trial.count)) % total for at in range(trial.count)})
        for at, number in enumerate(points):
            await _empty_a_drive(machine, at % 4)
            with machine.disk.hooked(CrashAt(machine.disk, number)):
                await _rebuild(machine)
                await machine.die()
            await machine.start()
            await require_contents(machine, OBJECTS, f"after a healer that was killed at step {number}")
            await _rebuild_twice(machine)
            await require_contents(machine, OBJECTS, f"healed by two, after step {number}")
        await machine.require_clean("after all healers")
    return f"{len(points)} of {total} steps; every object right at once, and whole on all drives after two healers"


async def _empty_a_drive(machine: Machine, slot: int) -> None:
    await machine.settle()
    await machine.stop()
    await asyncio.to_thread(machine.empty, slot)
    await machine.start()


async def _rebuild(machine: Machine) -> None:
    try:
        await Upkeep(machine.store, UpkeepTimes(unsettled_seconds=0.0)).rebuild_drives()
        await machine.rest()
    except (ObjectError, StorageError):
        pass  # it ended in the midst of it


async def _rebuild_twice(machine: Machine) -> None:
    stores = [machine.store, machine.store_over(machine.drives, "another")]
    upkeeps = [Upkeep(store, UpkeepTimes(unsettled_seconds=0.0)) for store in stores]
    await asyncio.gather(*(upkeep.rebuild_drives() for upkeep in upkeeps))
    await asyncio.gather(*(upkeep.scan() for upkeep in upkeeps))
    for store in stores:
        await store.engine.tasks.drain(20)
    await machine.settle()
