"""`DriveSet`: the drives that this node serves, by id."""

from liteio_base.check import check
from liteio_base.ids import DriveId
from liteio_contracts.storage import StorageAPI
from liteio_contracts.storage_errors import DriveOffline
from liteio_drives.remote.messages import DriveInfo


class DriveSet:
    def __init__(self, *drives: StorageAPI) -> None:
        self._drives: dict[DriveId, StorageAPI] = {}
        self._names: dict[DriveId, str] = {}
        for drive in drives:
            self.add(drive)

    def add(self, drive: StorageAPI, name: str = "") -> None:
        """`name`: what operators call it."""
        check(drive.drive_id not in self._drives, "every drive of a node has its own id")
        self._drives[drive.drive_id] = drive
        self._names[drive.drive_id] = name

    def get(self, drive_id: DriveId) -> StorageAPI:
        """Raises DriveOffline: a drive that is elsewhere, or not usable now."""
        drive = self._drives.get(drive_id)
        if drive is None:
            raise DriveOffline("this node has no such drive", drive_id=drive_id)
        return drive

    def infos(self) -> tuple[DriveInfo, ...]:
        return tuple(DriveInfo(name, drive.slot, self._names[name]) for name, drive in self._drives.items())
