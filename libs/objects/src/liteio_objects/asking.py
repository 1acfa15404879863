"""Asking just enough drives: some at once, another for each that fails or is late."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeVar

from liteio_base.deadline import Deadline
from liteio_contracts.storage import StorageAPI
from liteio_contracts.storage_errors import DriveTimeout, StorageError
from liteio_objects.drive_set import Answers, DriveSet, ask

T = TypeVar("T")

HEDGE_SECONDS: Final = 0.15


async def ask_some(
    drive_set: DriveSet,
    slots: Iterable[int],
    call: Callable[[StorageAPI], Awaitable[T]],
    is_good: Callable[[T], bool],
    needed: int,
    *,
    deadline: Deadline,
    hedge_seconds: float = HEDGE_SECONDS,
) -> Answers[T]:
    """Ask drives in the order of `slots` until `needed` good answers are there.

    As many are asked at once as are still needed; one more for each answer that is not good, and for each that has not
    come after `hedge_seconds`. Returns all answers, fewer good ones than needed when there are no more drives to ask or
    the deadline has passed. Calls still under way then are cancelled.
    """

    async def ask_one(slot: int) -> T | StorageError:
        return await ask(call(drive_set.drives[slot]))  # Called in here: a task cancelled at once has not called yet.

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
            left = deadline.seconds_left()
            if not running or left <= 0:
                break
            patience = min(left, hedge_seconds) if waiting else left
            done, _ = await asyncio.wait(running, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
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
