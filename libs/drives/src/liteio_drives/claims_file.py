"""The bytes of one process's claims. docs/formats/claims.md."""

import re
from typing import Final

from liteio_drives.files import FileSystem, read_all, write_all

_LINE: Final = re.compile(rb"(-?)([0-9a-f]{32}\.[0-9]{1,10}(?:\.[0-9]+-[0-9]+\.new)?)")


class ClaimsFile:
    """One line a name, with "-" before it when it is withdrawn. Only its owner writes to it."""

    def __init__(self, files: FileSystem, path: str, descriptor: int) -> None:
        self.path: Final = path
        self.descriptor: Final = descriptor
        self.size_bytes = 0
        self._files = files
        self._inode = files.stat_open(descriptor).inode

    def append(self, text: str) -> None:
        """Not synced: a dead process's claims are read by the living, and a power cut leaves nobody alive."""
        encoded = text.encode()
        write_all(self._files, self.descriptor, encoded, self.size_bytes)
        self.size_bytes += len(encoded)

    def is_in_place(self) -> bool:
        try:
            return self._files.stat(self.path).inode == self._inode
        except FileNotFoundError:
            return False


def names_in(files: FileSystem, descriptor: int) -> list[str]:
    """What claims say. A line that is cut short has no file yet, and what is not a shard file's name is nobody's."""
    text = read_all(files, descriptor, files.stat_open(descriptor).size_bytes, 0)
    names: dict[str, None] = {}
    for line in text.split(b"\n")[:-1]:
        if said := _LINE.fullmatch(line):
            name = said[2].decode()
            if said[1]:
                names.pop(name, None)
            else:
                names[name] = None
    return list(names)
