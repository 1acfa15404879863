"""`OfflineDrive`: the place of a drive that can not be used. It answers every call with the reason."""

from collections.abc import Callable, Coroutine
from typing import Any

from liteio_base.ids import DriveId
from liteio_contracts.storage_errors import DriveOffline


class OfflineDrive:
    """A StorageAPI of which every method raises DriveOffline: the other drives of the set serve, as
    for any lost drive."""

    def __init__(self, path: str, slot: int, reason: str) -> None:
        self.path, self.slot, self.reason = path, slot, reason
        self.drive_id = DriveId("")
        self.is_likely_slow = True  # asked last

    async def close(self) -> None:
        """There is nothing to close."""

    def __getattr__(self, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        if name.startswith("_"):
            raise AttributeError(name)

        async def refuse(*_: object, **__: object) -> Any:
            raise DriveOffline(self.reason, path=self.path, slot=self.slot)

        return refuse
