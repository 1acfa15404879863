"""The queue of keys that need a repair, as this process came to know of them. Bounded, without repeats, and only a
hint:
what is lost with the process is found again by the sweep of unsettled rows and by the scanner."""

import asyncio
import heapq
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from liteio_base.background import IS_BACKGROUND
from liteio_base.clock import Clock
from liteio_contracts.object_layer import HealResult
from liteio_contracts.storage import KeyName
from liteio_objects.drive_set import DriveSet
from liteio_objects.healing import Healer

_log = logging.getLogger(__name__)

QUEUE_MAX: Final = 100_000
# Repairs yield to clients: one at a time a process, after a pause in which the slow drive that caused it may come back.
FIRST_PAUSE_SECONDS: Final = 2.0
RETRY_PAUSES_SECONDS: Final = (10.0, 60.0, 300.0)


@dataclass(frozen=True, slots=True)
class _Task:
    drive_set: DriveSet
    name: KeyName
    due: float
    attempt: int


class RepairQueue:
    """Heals the keys that it is told of, oldest first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._queue: list[tuple[float, int, _Task]] = []  # a heap by due time, then by number
        self._queued: set[tuple[int, KeyName]] = set()
        self._numbers = itertools.count()
        self._wake = asyncio.Event()

    def add(self, drive_set: DriveSet, name: KeyName) -> None:
        """Remember a key. A full queue drops it: the scanner finds it."""
        self._put(_Task(drive_set, name, self._clock.monotonic() + FIRST_PAUSE_SECONDS, 0))

    async def run(self, healer: Healer, is_busy: Callable[[], bool] = lambda: False) -> None:
        """Heal until cancelled; waits a little before each key while `is_busy`."""
        IS_BACKGROUND.set(True)
        while True:
            if not self._queue:
                self._wake.clear()
                await self._wake.wait()
                continue
            wait = self._queue[0][0] - self._clock.monotonic()
            if wait > 0:
                await self._clock.sleep(min(wait, 1.0))
                continue
            if is_busy():
                await self._clock.sleep(0.05)
            _, _, task = heapq.heappop(self._queue)
            self._queued.discard((task.drive_set.set_index, task.name))
            await self._heal(healer, task)

    def __len__(self) -> int:
        return len(self._queued)

    async def _heal(self, healer: Healer, task: _Task) -> None:
        try:
            result = await healer.heal_key(task.drive_set, task.name, verify=True)
        except Exception as problem:  # One key must not end the repair of all others.
            _log.exception("the repair of %s failed", task.name)
            result = HealResult(is_whole=False, shards_total=0, shards_good=0, rewritten=0, problems=(repr(problem),))
        if result.is_whole:
            return
        if task.attempt < len(RETRY_PAUSES_SECONDS):
            due = self._clock.monotonic() + RETRY_PAUSES_SECONDS[task.attempt]
            self._put(_Task(task.drive_set, task.name, due, task.attempt + 1))
        else:
            _log.warning("left unrepaired for the scanner: %s: %s", task.name, "; ".join(result.problems))

    def _put(self, task: _Task) -> None:
        identity = (task.drive_set.set_index, task.name)
        if identity in self._queued or len(self._queued) >= QUEUE_MAX:
            return
        self._queued.add(identity)
        heapq.heappush(self._queue, (task.due, next(self._numbers), task))
        self._wake.set()
