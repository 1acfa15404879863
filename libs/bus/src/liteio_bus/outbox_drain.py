"""Empty the drives' outboxes into the bus: at least once, in no client's way, and nothing lost while the bus is away.

A row is removed from its drive after the bus has acknowledged the message. Copies of one event lie on M+1 drives; what
one round finds of them is published once, and JetStream drops a second copy that comes within its window.
"""

import asyncio
import base64
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_bus.connection import BusUnavailable
from liteio_bus.outbox_verdict import Verdict, judge
from liteio_bus.publishing import EventPublisher
from liteio_contracts.messages import HealTask, ObjectChange, OutboxRowError, decode_outbox_row
from liteio_contracts.storage import OutboxRow, StorageAPI
from liteio_contracts.storage_errors import StorageError

_log = logging.getLogger(__name__)

ROWS_A_ROUND: Final = 500  # of each drive; also bounds what is in flight to the bus
PAUSE_SECONDS: Final = 0.5
DRIVE_SECONDS: Final = 10.0
REMEMBERED_EVENTS: Final = 100_000  # ids published lately, whose other copies need not be sent again
BACKLOG_ALARM: Final = 100_000
_ALARM_EVERY_SECONDS: Final = 60.0


@dataclass(slots=True)
class _Copies:
    """One message, and the rows that hold it: (drive's index, row's number)."""

    message: ObjectChange | HealTask
    rows: list[tuple[int, int]] = field(default_factory=list)


class OutboxDrain:
    """Drains the drives that `drives_now` gives, which may become more. One process a store runs it; a second one costs
    duplicates, no more."""

    def __init__(self, drives_now: Callable[[], Sequence[StorageAPI]], publisher: EventPublisher, clock: Clock) -> None:
        self._drives_now = drives_now
        self._drives: Sequence[StorageAPI] = ()  # of this round
        self._publisher, self._clock = publisher, clock
        self._published: OrderedDict[str, None] = OrderedDict()
        self._alarm_after = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            if not self._publisher.is_ready or not await self.drain_once():
                await self._sound_alarm()
                await self._clock.sleep(PAUSE_SECONDS)

    async def drain_once(self) -> int:
        """One round over all drives. Returns how many rows were removed; 0 also when the bus went away."""
        self._drives = tuple(self._drives_now())
        listed = await asyncio.gather(*(self._list(drive) for drive in self._drives))
        done: list[list[int]] = [[] for _ in self._drives]
        copies = self._collate(listed, done)
        outcomes = await asyncio.gather(*(self._dispose(one) for one in copies.values()))
        for one, is_done in zip(copies.values(), outcomes, strict=True):
            for index, number in one.rows if is_done else ():
                done[index].append(number)
        removed = await asyncio.gather(*map(self._remove, self._drives, done))
        return sum(removed)

    def _collate(self, listed: Sequence[Sequence[OutboxRow]], done: list[list[int]]) -> dict[str, _Copies]:
        """Rows of all drives by message. What can not be read is logged whole and counts as done: kept, it would stand
        before everything that comes after it."""
        copies: dict[str, _Copies] = {}
        for index, rows in enumerate(listed):
            for row in rows:
                try:
                    message = decode_outbox_row(row.payload)
                except OutboxRowError as problem:
                    text = base64.b64encode(row.payload).decode()
                    _log.error("drive %s: dropped an outbox row: %s: %s", self._drives[index].drive_id, problem, text)
                    done[index].append(row.number)
                    continue
                copies.setdefault(_identity(message), _Copies(message)).rows.append((index, row.number))
        return copies

    async def _dispose(self, copies: _Copies) -> bool:
        """Whether the rows may go: published, or dropped for good reason."""
        identity = _identity(copies.message)
        if identity in self._published:
            return True
        try:
            if isinstance(copies.message, HealTask):
                await self._publisher.publish_heal_task(copies.message)
                return True
            verdict = await self._judge(copies.message, copies.rows[0][0])
            if verdict is Verdict.PUBLISH:
                await self._publisher.publish(copies.message)
                self._remember(identity)
        except (BusUnavailable, StorageError) as problem:
            _log.debug("stays in the outbox: %s", problem)
            return False
        return verdict is not Verdict.WAIT

    async def _judge(self, change: ObjectChange, index: int) -> Verdict:
        return await judge(
            self._drives[index],
            change,
            now_ns=self._clock.now_ns(),
            deadline=Deadline.after(DRIVE_SECONDS, self._clock),
        )

    async def _list(self, drive: StorageAPI) -> Sequence[OutboxRow]:
        """A drive in trouble has its turn when it is back; others hold copies of its rows."""
        try:
            deadline = Deadline.after(DRIVE_SECONDS, self._clock)
            return await drive.outbox(self._clock.now_ns(), ROWS_A_ROUND, deadline=deadline)
        except StorageError as problem:
            _log.debug("drive %s: outbox not read: %s", drive.drive_id, problem)
            return ()

    async def _remove(self, drive: StorageAPI, numbers: Sequence[int]) -> int:
        if not numbers:
            return 0
        try:
            await drive.outbox_done(numbers, deadline=Deadline.after(DRIVE_SECONDS, self._clock))
        except StorageError as problem:
            _log.debug("drive %s: rows stay and will be sent again: %s", drive.drive_id, problem)
            return 0
        return len(numbers)

    def _remember(self, identity: str) -> None:
        self._published[identity] = None
        if len(self._published) > REMEMBERED_EVENTS:
            self._published.popitem(last=False)

    async def _sound_alarm(self) -> None:
        """Say once a minute that events pile up, and where."""
        if self._clock.monotonic() < self._alarm_after:
            return
        self._alarm_after = self._clock.monotonic() + _ALARM_EVERY_SECONDS
        for drive in self._drives:
            try:
                status = await drive.status(deadline=Deadline.after(DRIVE_SECONDS, self._clock))
            except StorageError:
                continue
            if status.outbox >= BACKLOG_ALARM:
                _log.warning("drive %s: %s outbox rows wait for the bus", status.drive_id, status.outbox)


def _identity(message: ObjectChange | HealTask) -> str:
    return message.event_id if isinstance(message, ObjectChange) else message.object_token
