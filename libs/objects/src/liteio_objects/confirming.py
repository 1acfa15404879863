"""Confirms: telling the drives that a record is committed, so that they trim what it replaced. Batched, never waited
for."""

import asyncio
from collections.abc import Sequence
from typing import Final

from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_contracts.storage import VersionRef
from liteio_objects.drive_set import DriveSet, ask_drives, ask_most
from liteio_objects.tasks import OwnedTasks

# Confirms ride with later traffic. Waiting this long, which is what a drive has them wait for company too, has one call
# a drive carry the confirms of many writes; until it arrives a read of the key asks W drives or all, not the fewest.
BATCH_SECONDS: Final = 0.02
BATCH_REFS_MAX: Final = 512
CONFIRM_SECONDS: Final = 10.0


class Confirmer:
    """Collects confirms by set and sends them off. One that is lost is found by the sweep of unsettled rows."""

    def __init__(self, clock: Clock, tasks: OwnedTasks) -> None:
        self._clock, self._tasks = clock, tasks
        self._waiting: dict[int, list[VersionRef]] = {}
        self._sending: dict[int, set[asyncio.Task[None]]] = {}

    def confirm(self, drive_set: DriveSet, ref: VersionRef) -> None:
        """Queue a confirm (R8) for all drives of the set."""
        waiting = self._waiting.setdefault(drive_set.set_index, [])
        waiting.append(ref)
        if len(waiting) == 1:
            sending = self._sending.setdefault(drive_set.set_index, set())
            task = self._tasks.start(self._send_soon(drive_set))
            sending.add(task)
            task.add_done_callback(sending.discard)

    async def flush(self, drive_set: DriveSet) -> None:
        """Wait until what was queued has been sent and the drives have answered."""
        if sending := self._sending.get(drive_set.set_index):
            await asyncio.wait(tuple(sending))

    async def confirm_now(self, drive_set: DriveSet, ref: VersionRef, *, deadline: Deadline) -> None:
        """Confirm one record and wait for most drives. Their trouble is theirs: the sweep repeats it."""
        await ask_most(
            drive_set,
            drive_set.slots,
            lambda drive: drive.confirm((ref,), deadline=deadline),
            deadline=deadline,
            adopt=self._tasks.adopt,
        )

    async def _send_soon(self, drive_set: DriveSet) -> None:
        await self._clock.sleep(BATCH_SECONDS)
        refs = self._waiting.pop(drive_set.set_index, [])
        for start in range(0, len(refs), BATCH_REFS_MAX):
            await self._send(drive_set, refs[start : start + BATCH_REFS_MAX])

    async def _send(self, drive_set: DriveSet, refs: Sequence[VersionRef]) -> None:
        """The drives' trouble is theirs: the sweep repeats it."""
        deadline = Deadline.after(CONFIRM_SECONDS, self._clock)
        await ask_drives(drive_set, drive_set.slots, lambda drive: drive.confirm(refs, deadline=deadline))
