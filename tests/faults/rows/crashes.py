"""Rows 1 and 2: the process, or single drives, end at every call that changes a disk."""

from typing import Final

from tests.faults.machine import BLOCKS, INLINE, ONE_BLOCK, Machine, content_of, machine_in
from tests.faults.registry import Trial, require, row
from tests.support.disk import CountChanges, CrashAt

from liteio_contracts.object_errors import ObjectError
from liteio_contracts.storage_errors import StorageError

SIZES: Final = {"inline": INLINE, "of one block": ONE_BLOCK, "of three blocks": BLOCKS}


@row(
    1,
    "crash at every disk operation of a PUT of a new key",
    "the process ends at the n-th call of any drive that changes the disk, for every n (in part: n spread over all), "
    "for objects inline, of one block and of three",
    unit="points an object size at most",
    bounded=9,
    full=200,
)
async def crash_in_put(trial: Trial) -> str:
    told = []
    async with machine_in(trial.folder, seed=trial.seed) as machine:
        for kind, size in SIZES.items():
            total = await _count_calls(machine, f"{kind} dry", size)
            points = _spread(total, trial.count, trial.seed)
            present = 0
            for number in points:
                key, content = f"{kind}/{number}", content_of((trial.seed, kind, number), size)
                is_acknowledged = await _put_and_crash(machine, key, content, number)
                present += await _look(machine, key, content, is_acknowledged)
            told.append(f"{kind}: {len(points)} of {total} points, {present} times whole, else absent")
        report = await machine.require_clean("after all crashes")
    return f"{'; '.join(told)}; no file left behind, {report.values} objects whole on all drives"


async def _look(machine: Machine, key: str, content: bytes, is_acknowledged: bool) -> bool:
    """Whether it is there. A write that nobody was told of may come to be there as long as it is not settled, and what
    was there once, by whatever way it was seen, must stay.
    """
    is_there = is_acknowledged
    for is_settled in (False, True):
        if is_settled:
            await machine.settle()
        held = await machine.get(key)
        require(held in (None, content), f"{key}: neither absent nor whole after the crash")
        require(held is not None or not is_there, f"{key}: it was there, and is gone")
        is_listed = key in await machine.list_keys()
        require(is_listed or held is None, f"{key}: read, and not listed")
        is_there = is_listed
    require(is_there == (held is not None), f"{key}: settled, and the listing differs")
    return is_there


async def _count_calls(machine: Machine, key: str, size: int) -> int:
    counter = CountChanges()
    with machine.disk.hooked(counter):
        await machine.put(key, content_of(key, size))
        await machine.rest()
    return len(counter.calls)


async def _put_and_crash(machine: Machine, key: str, content: bytes, number: int) -> bool:
    """Whether it was acknowledged. The machine is up again afterwards."""
    with machine.disk.hooked(CrashAt(machine.disk, number)):
        try:
            await machine.put(key, content)
            is_acknowledged = True
            await machine.rest()
        except (ObjectError, StorageError):
            is_acknowledged = False
        await machine.die()
    await machine.start()
    return is_acknowledged


def _spread(total: int, count: int, seed: int) -> list[int]:
    """`count` numbers below `total` at equal distances, all of them when there are no more."""
    if count >= total:
        return list(range(total))
    return sorted({(seed + number * total // count) % total for number in range(count)})
