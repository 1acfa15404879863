"""Asking just enough drives: some at once, another for each that fails or is late."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, Final, TypeVar

from liteio_base.deadline import Deadline
from liteio_contracts.storage import StorageAPI
from liteio_contracts.storage_errors import DriveTimeout, StorageError
from liteio_objects.drive_set import Answers, DriveSet, timed
from liteio_objects.pace import Pace

T = TypeVar("T")
_TURNS: Final = 3  # of the loop, until an answer that has arrived at a drive's thread has ended the task that waits


async def ask_some(
    drive_set: DriveSet,
    slots: Iterable[int],
    call: Callable[[StorageAPI], Awaitable[T]],
    is_good: Callable[[T], bool],
    needed: int,
    *,
    deadline: Deadline,
    pace: Pace,
) -> Answers[T]:
    """Ask drives in the order of `slots` until `needed` good answers are there.

    As many are asked at once as are still needed; one more for each answer that is not good, and for each that has not
    come after the hedge of `pace`, the set's for this kind of call. Returns all answers, fewer good ones than needed
    when there are no more drives to ask or the deadline has passed. Calls still under way then are cancelled.
    """

    async def ask_one(slot: int) -> T | StorageError:
        try:
            with timed(pace, slot):
                return await call(drive_set.drives[slot])  # In here: a task cancelled at once has not called yet.
        except StorageError as error:
            return error

    waiting = deque(slots)
    running: dict[asyncio.Task[T | StorageError], int] = {}
    late: set[asyncio.Task[T | StorageError]] = set()
    answers: Answers[T] = {}
    good = 0
    try:
        while good < needed:
            while waiting and len(running) - len(late) < needed - good:
                slot = waiting.popleft()
                running[asyncio.ensure_future(ask_one(slot))] = slot
                pace.hedges += bool(late)
            left = deadline.seconds_left()
            if not running or left <= 0:
                break
            patience = min(left, pace.hedge_seconds(asyncio.get_running_loop().time())) if waiting else left
            done = await first_done(running, patience)
            if not done:
                late.update(running)
            for task in done:
                late.discard(task)
                answer = answers[running.pop(task)] = task.result()
                good += not isinstance(answer, StorageError) and is_good(answer)
    finally:
        for task in running:
            task.cancel()
    if good < needed:
        for slot in running.values():
            answers[slot] = DriveTimeout("no answer in time", slot=slot)
    return answers


async def first_done(tasks: Collection["asyncio.Task[Any]"], seconds: float) -> "set[asyncio.Task[Any]]":
    """Wait until one of `tasks` is done, at most so long. Those that are; none is cancelled.

    A loop that was busy may come to see that the time is over before it comes to the answers that it was given
    meanwhile: they have their turns first.
    """
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for _ in range(_TURNS):
        if done:
            break
        await asyncio.sleep(0)
        done = {task for task in tasks if task.done()}
    return done
