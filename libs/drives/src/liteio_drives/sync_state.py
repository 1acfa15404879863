"""How far the commits of a drive have come, and how far they are on the disk, for all processes that have it open.

`<drive>/.liteio.sys/index.sync`, 16 bytes: two little-endian unsigned 64-bit numbers, of the last transaction that
began to commit and of the last that was synced. Read and written through the page cache only: after a power cut it says
nothing, and all that is left is on the disk.
"""

import os
import struct
from typing import Final

from liteio_drives.files import FileSystem

SYNC_NAME: Final = "index.sync"
_STATE: Final = struct.Struct("<QQ")
_NUMBER: Final = struct.Struct("<Q")


class SyncState:
    """One process's view. Every method may raise OSError."""

    def __init__(self, folder: str, files: FileSystem) -> None:
        self._files = files
        self._path: Final = os.path.join(folder, SYNC_NAME)
        self._file: Final = files.open(self._path, os.O_RDWR | os.O_CREAT)
        try:
            if files.stat_open(self._file).size_bytes < _STATE.size:
                files.allocate(self._file, _STATE.size)  # This keeps what another process may have written meanwhile.
        except BaseException:
            files.close(self._file)
            raise

    def close(self) -> None:
        self._files.close(self._file)

    def begin(self) -> int:
        """Before a commit, under the drive's lock: its number."""
        number = max(self._read()) + 1
        self._files.pwrite(self._file, _NUMBER.pack(number), 0)
        return number

    def note_synced(self, number: int) -> None:
        """After a sync that followed this commit. Two that note at once may leave the lower number: readers then sync
        once more than they need to.
        """
        if number > self._read()[1]:
            self._files.pwrite(self._file, _NUMBER.pack(number), _NUMBER.size)

    def has_unsynced(self) -> bool:
        """Asked after reading: False when all that could be seen is on the disk. Whoever syncs because of True notes no
        number: the last transaction that began may have committed nothing yet.
        """
        begun, synced = self._read()
        return synced < begun

    def is_in_place(self) -> bool:
        """Whether others that open the drive share it."""
        return self._files.stat(self._path).inode == self._files.stat_open(self._file).inode

    def _read(self) -> tuple[int, int]:
        begun, synced = _STATE.unpack(self._files.pread(self._file, _STATE.size, 0))
        return begun, synced
