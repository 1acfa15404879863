"""Watching the drives of a store: what state each is in, and how much clients ask of them."""

import asyncio
from dataclasses import dataclass
from typing import Final

from liteio_base.deadline import Deadline
from liteio_base.ids import DriveId
from liteio_contracts.storage import DriveState
from liteio_contracts.storage_errors import StorageError
from liteio_objects.drive_set import DriveSet, ask, ask_status
from liteio_objects.engine import Engine
from liteio_objects.pacing import Pacer

LOOK_EVERY_SECONDS: Final = 1.0
_CALL_SECONDS: Final = 3.0


@dataclass(frozen=True, slots=True)
class DriveSight:
    """A drive as it was seen last. A drive that gives no answer is offline, unless its refusal names its state."""

    drive_id: DriveId
    set_index: int
    slot: int
    state: DriveState
    reason: str


class DriveWatch:
    """Keeps `sights` up to date while it runs, and the pacer."""

    def __init__(self, engine: Engine, pacer: Pacer) -> None:
        self._engine, self._pacer = engine, pacer
        self.sights: dict[tuple[int, int], DriveSight] = {}
        """By set and slot."""

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await self.look()
            await self._engine.clock.sleep(LOOK_EVERY_SECONDS)

    async def look(self) -> None:
        places = [(drive_set, slot) for drive_set in self._engine.store_map.sets for slot in drive_set.slots]
        seen = await asyncio.gather(*(self._see(*place) for place in places))
        self._pacer.note({sight.drive_id: calls for sight, calls in seen if calls is not None})
        for sight, _ in seen:
            self.sights[sight.set_index, sight.slot] = sight

    async def _see(self, drive_set: DriveSet, slot: int) -> tuple[DriveSight, int | None]:
        """What is seen of it, and its count of calls for clients."""
        deadline, set_index = Deadline.after(_CALL_SECONDS, self._engine.clock), drive_set.set_index
        status = await ask(ask_status(drive_set, slot, deadline=deadline))
        if isinstance(status, StorageError):
            drive_id = drive_set.drives[slot].drive_id
            return DriveSight(drive_id, set_index, slot, _state_of(status), str(status)), None
        return DriveSight(status.drive_id, set_index, slot, status.state, status.reason), status.client_calls


def _state_of(trouble: StorageError) -> DriveState:
    named = trouble.fields.get("state")
    return DriveState(named) if named in set(DriveState) else DriveState.OFFLINE
