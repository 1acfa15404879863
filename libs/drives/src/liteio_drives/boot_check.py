"""Whether a drive was compared with the others of its set since its machine was started.

A disk that lies about its syncs loses, when the power fails, what the drive had answered for, and nothing that is left
on it tells. So a drive is *unchecked* from each start of its machine until it was compared (docs/protocols/commit.md,
"After a restart of the machine"). A process that is killed loses nothing: what it wrote is in the system's cache.

`<drive>/.liteio.sys/checked-boot` holds the id of the start (`/proc/sys/kernel/random/boot_id`) in which the drive was
formatted or compared last. Lost, torn or old, it names no present start: the drive is unchecked once more than need be.
"""

import os
from typing import Final

from liteio_drives.files import FileSystem, read_file, stage_durably

CHECKED_NAME: Final = "checked-boot"


class BootCheck:
    """One process's view of a drive. Methods raise OSError; none is called on an event loop's thread."""

    def __init__(self, system_folder: str, files: FileSystem) -> None:
        """`system_folder`: `<drive>/.liteio.sys`."""
        self._path: Final = os.path.join(system_folder, CHECKED_NAME)
        self._files = files
        self.boot: Final = files.boot_id()
        # A system that does not number its starts can not be asked more: its drives are taken as they are.
        self.is_unchecked = bool(self.boot)
        self.look()

    def look(self) -> None:
        """Another process may have noted meanwhile that the drive was compared."""
        if self.is_unchecked:
            self.is_unchecked = self._noted() != self.boot

    def note(self) -> None:
        """It was compared, or is new."""
        stage_durably(self._files, self._path, self.boot.encode())
        self.is_unchecked = False

    def _noted(self) -> str:
        try:
            return read_file(self._files, self._path).decode(errors="replace")
        except FileNotFoundError:
            return ""
