"""A FileSystem and a SQLite VFS that fail on demand."""

import errno
import os
import threading
from collections.abc import Callable
from typing import Any

import apsw

from liteio_drives.files import RealFiles


class FaultyFiles(RealFiles):
    """Calls named in `faults` raise that errno, as long as they are in it; calls named in `gates` wait for the event.

    `calls` counts what was called.
    """

    def __init__(self) -> None:
        self.faults: dict[str, int] = {}
        self.gates: dict[str, threading.Event] = {}
        self.calls: dict[str, int] = {}

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return found if name.startswith("_") or not callable(found) else self._guarded(name, found)

    def _guarded(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **options: Any) -> Any:
            self.calls[name] = self.calls.get(name, 0) + 1
            if name in self.gates:
                self.gates[name].wait(20)
            if name in self.faults:
                raise OSError(self.faults[name], os.strerror(self.faults[name]))
            return call(*arguments, **options)

        return guarded


class FaultyVFS(apsw.VFS):
    """Under the index. `fails_on`: "sync", "write" or "read" of the log or the database; what is raised is `error`."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.fails_on: set[str] = set()
        self.error: Callable[[], BaseException] = lambda: apsw.IOError("injected")
        super().__init__(name, "")

    def xOpen(self, name: Any, flags: list[int]) -> "FaultyFile":
        return FaultyFile(self, name, flags)

    def check(self, kind: str) -> None:
        if kind in self.fails_on:
            raise self.error()


class FaultyFile(apsw.VFSFile):
    def __init__(self, vfs: FaultyVFS, name: Any, flags: list[int]) -> None:
        self._vfs = vfs
        super().__init__("", name, flags)

    def xSync(self, flags: int) -> None:
        if "sync" in self._vfs.fails_on:
            raise sync_error()
        super().xSync(flags)

    def xWrite(self, data: Any, offset: int) -> None:
        self._vfs.check("write")
        super().xWrite(data, offset)

    def xRead(self, amount: int, offset: int) -> bytes:
        self._vfs.check("read")
        return super().xRead(amount, offset)


def sync_error() -> apsw.Error:
    error = apsw.IOError("injected sync failure")
    error.extendedresult = apsw.SQLITE_IOERR_FSYNC  # type: ignore[attr-defined]  # apsw sets it on what SQLite raises
    return error


NO_SPACE, READ_ONLY, BROKEN = errno.ENOSPC, errno.EROFS, errno.EIO
