"""Publish events and heal tasks. Neither is ever waited for by a client's request."""

import asyncio
import logging
from collections import deque
from typing import Final

from liteio_bus.connection import Bus, BusUnavailable
from liteio_bus.events import EventOrigin, encode_message, event_headers, event_message
from liteio_bus.subjects import (
    HEAL_STATUS,
    bucket_changed_subject,
    drive_state_subject,
    event_subject,
    heal_task_subject,
)
from liteio_contracts.messages import BucketChanged, DriveStateChanged, HealerStatus, HealTask, ObjectChange

_log = logging.getLogger(__name__)

HEAL_BACKLOG_MAX: Final = 10_000  # tasks kept in memory while the bus is away; the scanner finds the rest
_HEAL_BATCH: Final = 64
_RETRY_SECONDS: Final = 1.0


class EventPublisher:
    """Turns changes into event records on the bus."""

    def __init__(self, bus: Bus, origin: EventOrigin) -> None:
        self._bus, self._origin = bus, origin

    @property
    def is_ready(self) -> bool:
        return self._bus.is_ready

    async def publish(self, change: ObjectChange) -> None:
        """Returns once the event is kept, or was before. Raises BusUnavailable."""
        payload = encode_message(event_message(change, self._origin))
        await self._bus.publish(event_subject(change), payload, headers=event_headers(change, self._origin))

    async def publish_heal_task(self, task: HealTask) -> None:
        """Returns once the task is queued, in the place of one for the same object. Raises BusUnavailable."""
        await self._bus.publish(heal_task_subject(task), task.model_dump_json().encode())


class HealQueue:
    """The gateway's end of the heal queue: `add` returns at once, a task of this class does the rest."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._waiting: deque[HealTask] = deque(maxlen=HEAL_BACKLOG_MAX)  # full: the oldest hint goes
        self._wake = asyncio.Event()

    def add(self, task: HealTask) -> None:
        self._waiting.append(task)
        self._wake.set()

    def __len__(self) -> int:
        return len(self._waiting)

    async def run(self) -> None:
        """Publish what is added, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                await self._publish_some()

    async def _publish_some(self) -> None:
        tasks = [self._waiting.popleft() for _ in range(min(_HEAL_BATCH, len(self._waiting)))]
        results = await asyncio.gather(*(self._publish(task) for task in tasks))
        refused = [task for task, is_queued in zip(tasks, results, strict=True) if not is_queued]
        if refused:
            room = HEAL_BACKLOG_MAX - len(self._waiting)
            self._waiting.extendleft(reversed(refused[:room]))
            await asyncio.sleep(_RETRY_SECONDS)

    async def _publish(self, task: HealTask) -> bool:
        try:
            await self._bus.publish(heal_task_subject(task), task.model_dump_json().encode())
        except BusUnavailable as problem:
            _log.debug("heal task waits: %s", problem)
            return False
        return True


async def announce(bus: Bus, message: BucketChanged | DriveStateChanged | HealerStatus) -> None:
    """Tell whoever listens; lost while the bus is away."""
    match message:
        case BucketChanged():
            subject = bucket_changed_subject(message)
        case DriveStateChanged():
            subject = drive_state_subject(message)
        case HealerStatus():
            subject = HEAL_STATUS
    await bus.announce(subject, message.model_dump_json().encode())
