"""Rows 1 to 3: the process, single drives, or a gateway end at every step of a write."""

import asyncio
from collections import Counter
from typing import Final

from tests.faults.machine import BLOCKS, BUCKET, INLINE, ONE_BLOCK, Machine, content_of, machine_in
from tests.faults.registry import Trial, require, row
from tests.support.disk import CountChanges, CrashAt

from liteio_base.deadline import Deadline
from liteio_contracts.object_errors import ObjectError
from liteio_contracts.object_layer import DeleteObject
from liteio_contracts.storage import StorageAPI
from liteio_contracts.storage_errors import StorageError
from liteio_testkit.intercepted_drive import Answer, Call, InterceptedDrive

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


@row(
    2,
    "crash at every disk operation of a PUT that overwrites, on 1, 2, 3 and all 4 drives",
    "as row 1, with an object of another size in the key's place; so many drives answer nothing more from their n-th "
    "change on, and the store goes on with the others, or the process ends",
    unit="points a number of drives at most",
    bounded=6,
    full=90,
)
async def crash_in_overwrite(trial: Trial) -> str:
    told = []
    chance = trial.chance
    async with machine_in(trial.folder, seed=trial.seed) as machine:
        total = await _count_calls(machine, "dry", ONE_BLOCK)
        for count in range(1, 5):
            new, old = 0, 0
            drives = chance.sample(range(4), count)
            for number in _spread(total * count // 4, trial.count, trial.seed):
                key = f"{count}/{number}"
                sizes = (ONE_BLOCK, INLINE) if number % 2 else (INLINE, ONE_BLOCK)
                before, after = (content_of((key, size), size) for size in sizes)
                await machine.put(key, before)
                is_new = await _overwrite_and_crash(machine, key, [before, after], number, drives)
                new, old = new + is_new, old + (not is_new)
            told.append(f"{count} drives: {new} times the new one, {old} times the old one")
        report = await machine.require_clean("after all crashes")
    return f"{'; '.join(told)}; {report.values} objects whole on all drives"


async def _overwrite_and_crash(
    machine: Machine, key: str, contents: list[bytes], number: int, drives: list[int]
) -> bool:
    """Whether the new one is there. Old or new is read at once, while the others are dead and after a restart; 503 may
    be answered only as long as more drives are dead than a write can do without.
    """
    with machine.disk.hooked(CrashAt(machine.disk, number, drives)):
        try:
            await machine.put(key, contents[1])
            oldest = 1
        except (ObjectError, StorageError) as trouble:
            require(len(drives) > 1, f"{key}: one dead drive of four, and {trouble!r}")
            oldest = 0
        if len(drives) <= machine.code.width - machine.code.write_quorum:
            oldest = await _require_from(machine, key, contents, oldest)
        await machine.die()
    await machine.start()
    oldest = await _require_from(machine, key, contents, oldest)
    await machine.settle()
    return bool(await _require_from(machine, key, contents, oldest))


async def _require_from(machine: Machine, key: str, contents: list[bytes], oldest: int) -> int:
    """Which it is."""
    held = await machine.get(key)
    require(held in contents[oldest:], f"{key}: neither the old nor the new one, or the old one again")
    return contents.index(held or b"")


# -- a gateway that dies in the midst of its commits


class GatewayEnd(InterceptedDrive):
    """A gateway's way to one drive. The commit of `may_pass` False is never sent: the gateway is dead by then."""

    may_pass = True

    def __init__(self, inner: StorageAPI) -> None:
        super().__init__(inner)
        self.has_committed = asyncio.Event()

    async def intercept(self, operation: str, call: Call[Answer], deadline: Deadline) -> Answer:
        if operation == "commit" and not self.may_pass:
            self.has_committed.set()
            await asyncio.Event().wait()
        answer = await call(deadline)
        if operation == "commit":
            self.has_committed.set()
            await asyncio.Event().wait()  # its answer comes to nobody
        return answer


@row(
    3,
    "gateway dies between commits, after any set of drives has taken one",
    "each of the 16 subsets of four drives takes the commit of a PUT, an overwrite or a DELETE, inline or of a block; "
    "the gateway is gone before it hears of it, and another one reads",
    unit="deaths",
    bounded=24,
    full=96,
)
async def gateway_dies_between_commits(trial: Trial) -> str:
    cases = [
        (kind, size, subset)
        for kind in ("new", "overwrite", "delete")
        for size in (INLINE, ONE_BLOCK)
        for subset in range(16)
    ]
    changed: Counter[int] = Counter()
    async with machine_in(trial.folder, seed=trial.seed) as machine:
        for number, (kind, size, subset) in enumerate(trial.chance.sample(cases, trial.count)):
            key = f"{kind}/{number}"
            before = None if kind == "new" else content_of((key, "before"), INLINE)
            after = None if kind == "delete" else content_of((key, "after"), size)
            if before is not None:
                await machine.put(key, before)
                await machine.rest()
            await _die_between_commits(machine, key, after, subset)
            held = await machine.get(key)
            require(held in (before, after), f"{key}, taken by drives {subset:04b}: neither old nor new")
            await machine.settle()
            settled = await machine.get(key)
            require(settled in ((after,) if held == after else (before, after)), f"{key}: back to the old one")
            taken = subset.bit_count()
            changed[taken] += settled == after
            if taken >= machine.code.write_quorum:
                require(settled == after, f"{key}: {taken} drives took it, and it is gone")
        report = await machine.require_clean("after all deaths")
    shown = ", ".join(f"{changed[taken]} of those that {taken} drives took" for taken in range(5))
    return f"the new value stayed for {shown}; the old one for the others; {report.values} objects whole on all drives"


async def _die_between_commits(machine: Machine, key: str, content: bytes | None, subset: int) -> None:
    ends = [GatewayEnd(drive) for drive in machine.drives]
    for slot, end in enumerate(ends):
        end.may_pass = bool(subset >> slot & 1)
    gateway = machine.store_over(ends, f"gateway {key}")
    before = asyncio.all_tasks()
    if content is None:
        work = gateway.delete(DeleteObject(BUCKET, key), deadline=machine.soon)
        dying: asyncio.Task[object] = asyncio.ensure_future(work)
    else:
        dying = asyncio.ensure_future(machine.put(key, content, store=gateway))
    await asyncio.gather(*(end.has_committed.wait() for end in ends))
    left = [dying, *(asyncio.all_tasks() - before - {dying})]
    for task in left:
        task.cancel()
    await asyncio.gather(*left, return_exceptions=True)


def _spread(total: int, count: int, seed: int) -> list[int]:
    """`count` numbers below `total` at equal distances, all of them when there are no more."""
    if count >= total:
        return list(range(total))
    return sorted({(seed + number * total // count) % total for number in range(count)})
