"""`DriveSet`: the drives that this node serves, by id."""

from collections.abc import Sequence

from liteio_base.check import check
from liteio_base.ids import DriveId
from liteio_contracts.storage import StorageAPI
from liteio_contracts.storage_errors import DriveOffline
from liteio_drives.remote.messages import DriveInfo


class DriveSet:
    def __init__(self, drives: Sequence[StorageAPI], names: Sequence[str] = ()) -> None:
        """`names`: what operators call them, by position; drives without one have ""."""
        self._drives = {drive.drive_id: drive for drive in drives}
        check(len(self._drives) == len(drives), "every drive of a node has its own id")
        self._names = dict(zip(self._drives, names, strict=False))

    def get(self, drive_id: DriveId) -> StorageAPI:
        """Raises DriveOffline: a drive that is elsewhere, or no more."""
        drive = self._drives.get(drive_id)
        if drive is None:
            raise DriveOffline("this node has no such drive", drive_id=drive_id)
        return drive

    def infos(self) -> tuple[DriveInfo, ...]:
        names = self._names
        return tuple(
            DriveInfo(drive_id, drive.slot, names.get(drive_id, "")) for drive_id, drive in self._drives.items()
        )
