"""Room on a drive: refuse new data before it is full, and keep a file to give up when it is full all the same."""

import errno
import logging
import os
from typing import Final

from liteio_drives.files import FileSystem, Space
from liteio_drives.health import DriveHealth
from liteio_drives.limits import DriveSettings, free_min_of

_log = logging.getLogger(__name__)
BALLAST_NAME: Final = "ballast"
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT)


class Ballast:
    """Used on the committer's thread only."""

    def __init__(self, drive_path: str, folder: str, settings: DriveSettings, files: FileSystem, health: DriveHealth):
        self._drive_path = drive_path
        self._path = os.path.join(folder, BALLAST_NAME)
        self._settings = settings
        self._files = files
        self._health = health
        self.space = Space(0, 0)

    def look(self) -> None:
        """Measure the room, say whether new data fits, take the ballast back when there is plenty. Raises OSError."""
        self.space = space = self._files.space(self._drive_path)
        least = free_min_of(self._settings, space.total_bytes)
        is_full = space.free_bytes < least
        if is_full != self._health.is_full:
            reason = f"{space.free_bytes} bytes free, new data needs {least}" if is_full else ""
            self._health.set_full(is_full, reason)
        if space.free_bytes >= least + 2 * self._settings.ballast_bytes:
            self._restore()

    def release(self) -> bool:
        """Give the room up. Returns whether there was any to give."""
        try:
            self._files.unlink(self._path)
        except OSError:
            return False
        _log.warning("gave up the ballast file %s so that deletes can go on", self._path)
        return True

    def _restore(self) -> None:
        if self._settings.ballast_bytes == 0:
            return
        try:
            if self._files.stat(self._path).size_bytes >= self._settings.ballast_bytes:
                return
        except FileNotFoundError:
            pass
        descriptor = self._files.open(self._path, os.O_WRONLY | os.O_CREAT)
        try:
            self._files.allocate(descriptor, self._settings.ballast_bytes)
        except OSError as problem:
            if problem.errno not in _NO_ROOM:
                raise
        finally:
            self._files.close(descriptor)
