"""How much clients ask of a drive, counted over all processes of this machine that have it open.

`<drive>/.liteio.sys/client.calls`: 1,024 little-endian unsigned 64-bit numbers. A process adds to the one at its
process id modulo 1,024, once a second and through the page cache; the sum is the drive's count. It is advice for
background work that yields to clients: lost or wrong it does no harm. So it stays outside of the file seam, whose
faults and counts concern what matters, and no error of it leaves this module.
"""

import os
import struct
from typing import Final

from liteio_base.background import IS_BACKGROUND

CALLS_NAME: Final = "client.calls"
_PLACES: Final = 1024
_NUMBER: Final = struct.Struct("<Q")
_ALL: Final = struct.Struct(f"<{_PLACES}Q")
_MASK: Final = 2**64 - 1


class ClientCalls:
    """`count` on the loop, the rest on the drive's threads."""

    __slots__ = ("_new", "_path")

    def __init__(self, folder: str) -> None:
        self._path: Final = os.path.join(folder, CALLS_NAME)
        self._new = 0

    def count(self, weight: int = 1) -> None:
        if not IS_BACKGROUND.get():
            self._new += weight

    def flush(self) -> None:
        """Add what was counted since the last time. Two threads may flush at once: what one of them counts twice or
        forgets is not missed."""
        new, self._new = self._new, 0
        if not new:
            return
        try:
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
            try:
                place = os.getpid() % _PLACES * _NUMBER.size
                held = os.pread(file, _NUMBER.size, place)
                before = _NUMBER.unpack(held)[0] if len(held) == _NUMBER.size else 0
                os.pwrite(file, _NUMBER.pack((before + new) & _MASK), place)
            finally:
                os.close(file)
        except OSError:
            return

    def total(self) -> int:
        """Up to the last flush of each process, and now of this one."""
        self.flush()
        try:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                held = os.pread(file, _ALL.size, 0)
            finally:
                os.close(file)
        except OSError:
            return 0
        counts: tuple[int, ...] = _ALL.unpack(held.ljust(_ALL.size, b"\0"))
        return sum(counts) % 2**63
