"""A FileSystem and a SQLite VFS that fail on demand."""

import errno
import os
import threading
from collections.abc import Callable
from typing import Any

import apsw

from liteio_drives.files import RealFiles
from liteio_drives.sync_state import SYNC_NAME


class FaultyFiles(RealFiles):
    """Calls named in `faults` raise that errno, as long as they are in it; calls named in `gates` wait for the event.

    `calls` counts what was called. Reads and writes of index.sync are spared: those are bytes in memory.
    """

    def __init__(self) -> None:
        self.faults: dict[str, int] = {}
        self.gates: dict[str, threading.Event] = {}
        self.calls: dict[str, int] = {}
        self._spared: set[int] = set()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return found if name.startswith("_") or not callable(found) else self._guarded(name, found)

    def _guarded(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def guarded(*arguments: Any, **options: Any) -> Any:
            if name in ("pread", "pwrite") and arguments[0] in self._spared:
                return call(*arguments, **options)
            self.calls[name] = self.calls.get(name, 0) + 1
            if name in self.gates:
                self.gates[name].wait(20)
            if name in self.faults:
                raise OSError(self.faults[name], os.strerror(self.faults[name]))
            result = call(*arguments, **options)
            if name == "open" and arguments[0].endswith(SYNC_NAME):
                self._spared.add(result)
            elif name == "close":
                self._spared.discard(arguments[0])
            return result

        return guarded


class Crash(BaseException):
    """The process ends here."""


class CrashingFiles(RealFiles):
    """Ends the process at its `calls_left`-th call: every later one fails too, and the kernel closes what was open."""

    def __init__(self, calls_left: int) -> None:
        self._calls_left = calls_left
        self._open: set[int] = set()

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        return found if name.startswith("_") or not callable(found) else self._counted(name, found)

    def _counted(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            self._calls_left -= 1
            if self._calls_left < 0:
                self._end()
            result = call(*arguments, **options)
            if name == "open":
                self._open.add(result)
            elif name == "close":
                self._open.discard(arguments[0])
            return result

        return counted

    def _end(self) -> None:
        opened, self._open = self._open, set()
        for descriptor in opened:
            os.close(descriptor)
        raise Crash


class FaultyVFS(apsw.VFS):
    """Under the index. `syncs` counts. `fails_on`: "sync", "write" or "read", of the log or the database; `error` makes
    what is raised.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.syncs = 0
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
        self._vfs.syncs += 1
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
