"""`DriveSet`: the drives that this node serves, by what calls name them."""

from liteio_base.check import check
from liteio_base.ids import DriveId
from liteio_contracts.storage import StorageAPI
from liteio_contracts.storage_errors import DriveOffline
from liteio_drives.remote.messages import DriveInfo


class DriveSet:
    """Drives come and go while the node runs."""

    def __init__(self, *drives: StorageAPI) -> None:
        self._drives: dict[DriveId, StorageAPI] = {}
        self._infos: dict[DriveId, DriveInfo] = {}
        for drive in drives:
            self.add(drive)

    def add(self, drive: StorageAPI, name: str = "", target: DriveId | None = None) -> None:
        """`name`: what operators call it. `target`: what calls name it; its own id when nothing is said."""
        target = drive.drive_id if target is None else target
        check(target not in self._drives, "two drives of a node are not called alike")
        self._drives[target] = drive
        self._infos[target] = DriveInfo(drive.drive_id, drive.slot, name, target)

    def leave_out(self, target: DriveId, slot: int, name: str, reason: str) -> None:
        """There is a drive of that name, and it can not be used now, for `reason`."""
        self._drives.pop(target, None)
        self._infos[target] = DriveInfo(DriveId(""), slot, name, target, reason)

    def forget(self, target: DriveId) -> None:
        """It is neither here nor missed."""
        self._drives.pop(target, None)
        self._infos.pop(target, None)

    def get(self, target: DriveId) -> StorageAPI:
        """Raises DriveOffline: a drive that is elsewhere, or not usable now."""
        drive = self._drives.get(target)
        if drive is None:
            info = self._infos.get(target)
            raise DriveOffline(info.reason if info else "this node has no such drive", target=target)
        return drive

    def infos(self) -> tuple[DriveInfo, ...]:
        """Of all, also those that are left out."""
        return tuple(self._infos.values())
