"""The drives of a store as an operator looks at them: each one's place, state and reason, asked of it just now."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_cluster.opening import OpenStore
from liteio_contracts.storage import DriveState, DriveStatus
from liteio_contracts.storage_errors import StorageError
from liteio_objects.drive_set import DriveSet, ask_status
from liteio_runtime.settings import ServerSettings
from liteio_runtime.store_access import open_for_command

_STATUS_SECONDS: Final = 5.0
_LOOKS: Final = 4  # at each drive: that one is slow beside its siblings is told by three answers at least


@dataclass(frozen=True, slots=True)
class DriveView:
    """One drive. `status` is None when it can not be asked, for `reason`."""

    name: str
    set_index: int
    slot: int
    status: DriveStatus | None
    reason: str

    @property
    def state(self) -> DriveState:
        return DriveState.OFFLINE if self.status is None else self.status.state

    @property
    def is_online(self) -> bool:
        return self.state is not DriveState.OFFLINE

    @property
    def is_whole(self) -> bool:
        """Whether what it does not hold is known not to be there; a replaced drive is rebuilt until then."""
        return self.status is not None and self.status.is_authoritative


async def view_drives(settings: ServerSettings) -> list[DriveView]:
    """Every drive of the store that the settings name, asked at once. Raises StartRefused."""
    async with open_for_command(settings) as opened:
        return await views_of(opened)


async def views_of(opened: OpenStore) -> list[DriveView]:
    """Every drive of an open store, all asked at once. Some times, one after the other: whether one is slow is told by
    what its siblings take."""
    places = [(drive_set, slot) for drive_set in opened.store.engine.store_map.sets for slot in drive_set.slots]
    for _ in range(_LOOKS):
        asked = [_view(name, *place) for name, place in zip(opened.names, places, strict=True)]
        views = await asyncio.gather(*asked)
        if not all(view.is_online for view in views):
            break  # One that does not answer is not waited for again.
    return list(views)


def unusable(views: Sequence[DriveView]) -> list[DriveView]:
    """Those that an operator should look at."""
    return [view for view in views if view.state is not DriveState.ONLINE or not view.is_whole]


async def _view(name: str, drive_set: DriveSet, slot: int) -> DriveView:
    try:
        status = await ask_status(drive_set, slot, deadline=Deadline.after(_STATUS_SECONDS, SystemClock()))
    except StorageError as trouble:
        return DriveView(name, drive_set.set_index, slot, None, str(trouble))
    return DriveView(name, drive_set.set_index, slot, status, status.reason or _reason_of(status))


def _reason_of(status: DriveStatus) -> str:
    if not status.is_authoritative:
        return "being rebuilt"
    return "its machine has restarted: being compared with the others" if status.is_unchecked else ""
