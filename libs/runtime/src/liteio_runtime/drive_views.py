"""The drives of a store as an operator looks at them: each one's place, state and reason, asked of it just now."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_cluster.opening import OpenStore
from liteio_contracts.storage import DriveState, DriveStatus, StorageAPI
from liteio_contracts.storage_errors import StorageError
from liteio_runtime.settings import ServerSettings
from liteio_runtime.store_access import open_for_command

_STATUS_SECONDS: Final = 5.0


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
    """Every drive of an open store, asked at once."""
    places = [
        (drive_set.set_index, drive) for drive_set in opened.store.engine.store_map.sets for drive in drive_set.drives
    ]
    asked = [_view(name, *place) for name, place in zip(opened.names, places, strict=True)]
    return list(await asyncio.gather(*asked))


def unusable(views: Sequence[DriveView]) -> list[DriveView]:
    """Those that an operator should look at."""
    return [view for view in views if view.state is not DriveState.ONLINE or not view.is_whole]


async def _view(name: str, set_index: int, drive: StorageAPI) -> DriveView:
    try:
        status = await drive.status(deadline=Deadline.after(_STATUS_SECONDS, SystemClock()))
    except StorageError as trouble:
        return DriveView(name, set_index, drive.slot, None, str(trouble))
    reason = status.reason or ("" if status.is_authoritative else "being rebuilt")
    return DriveView(name, set_index, drive.slot, status, reason)
