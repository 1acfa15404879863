"""The disk under the drives of one machine: every call that they make to it, their indexes' too, one after the other
through one place, where it can be counted, refused, held up or written down.

`Disk.files` is the FileSystem for `LocalDrive.open`, `Disk.vfs` the name of the VFS for its settings.
"""

import errno
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, Final

import apsw

from liteio_drives.files import Buffer, FileStat, RealFiles, Space

_numbers: Final = count()
_SYSTEM: Final = "unix"  # SQLite's own way to the operating system
# Calls that change what is on a disk, or how certain it is; the others only look.
CHANGES: Final = frozenset(
    {"create", "pwrite", "sync_data", "sync", "sync_folder", "set_modified", "allocate", "make_folder", "rename"}
    | {"unlink", "index.create", "index.write", "index.truncate", "index.sync", "index.delete"}
)
SYNCS: Final = frozenset({"sync_data", "sync", "sync_folder", "index.sync"})
READS: Final = frozenset({"pread", "index.read"})


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `name`: a method of FileSystem, "create" for an open that may make the file, or "index.…" for SQLite's
    own. `drive`: its number on the machine, -1 for none. `content` and `offset` are those of a write; `size` is that of
    a truncation or an allocation; `new_path` that of a rename."""

    name: str
    path: str
    drive: int
    offset: int = 0
    content: bytes = b""
    size: int = 0
    new_path: str = ""

    @property
    def is_change(self) -> bool:
        """Not so the number of the last commit: those are two numbers in memory that every process shares."""
        return self.name in CHANGES and not self.path.endswith("index.sync")


class Hook:
    """What a test puts between the drives and their disk. On the drives' threads, several at a time."""

    def before(self, call: Call) -> None:
        """May raise OSError in place of the call, or wait."""

    def after(self, call: Call) -> None:
        """The call was made, and did not fail."""


class Disk:
    """`dead` drives answer nothing but EIO: their power is off, or the process that asks is no more."""

    def __init__(self, drives: Sequence[Path]) -> None:
        self.drives: Final = tuple(f"{drive}/" for drive in drives)
        self.hooks: list[Hook] = []
        self.dead: set[int] = set()
        self._paths: dict[int, str] = {}
        self.boot = 1  # counts the starts of the machine
        self.files: Final = DiskFiles(self)
        self._vfs: Final = DiskVFS(self, f"disk-{os.getpid()}-{next(_numbers)}")

    @property
    def vfs(self) -> str:
        return self._vfs.name

    def close(self) -> None:
        self._vfs.unregister()

    def kill(self, drives: Sequence[int] | None = None) -> None:
        """These drives, or all."""
        self.dead.update(range(len(self.drives)) if drives is None else drives)

    def revive(self) -> None:
        self.dead.clear()

    @contextmanager
    def hooked(self, hook: Hook) -> Iterator[None]:
        self.hooks.append(hook)
        try:
            yield
        finally:
            self.hooks.remove(hook)

    def drive_of(self, path: str) -> int:
        return next((number for number, root in enumerate(self.drives) if f"{path}/".startswith(root)), -1)

    def path_of(self, descriptor: int) -> str:
        return self._paths.get(descriptor, "")

    def opened(self, descriptor: int, path: str) -> None:
        self._paths[descriptor] = path

    @contextmanager
    def calling(self, name: str, path: str, **facts: Any) -> Iterator[None]:
        call = Call(name, path, self.drive_of(path), **facts)
        for hook in self.hooks:
            hook.before(call)
        if call.drive in self.dead:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        yield
        for hook in self.hooks:
            hook.after(call)


class DiskFiles(RealFiles):
    """The operating system's files, by way of a Disk."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def boot_id(self) -> str:
        return f"boot {self._disk.boot}"

    def open(self, path: str, flags: int, mode: int = 0o640) -> int:
        with self._disk.calling("create" if flags & os.O_CREAT else "open", path, size=flags & os.O_TRUNC):
            descriptor = super().open(path, flags, mode)
        self._disk.opened(descriptor, path)
        return descriptor

    def pread(self, descriptor: int, length: int, offset: int) -> bytes:
        with self._disk.calling("pread", self._disk.path_of(descriptor), offset=offset, size=length):
            return super().pread(descriptor, length, offset)

    def pwrite(self, descriptor: int, content: Buffer, offset: int) -> int:
        kept = bytes(content)
        with self._disk.calling("pwrite", self._disk.path_of(descriptor), offset=offset, content=kept):
            return super().pwrite(descriptor, content, offset)

    def sync_data(self, descriptor: int) -> None:
        with self._disk.calling("sync_data", self._disk.path_of(descriptor)):
            super().sync_data(descriptor)

    def sync(self, descriptor: int) -> None:
        with self._disk.calling("sync", self._disk.path_of(descriptor)):
            super().sync(descriptor)

    def sync_folder(self, path: str) -> None:
        with self._disk.calling("sync_folder", path):
            RealFiles().sync_folder(path)

    def set_modified(self, descriptor: int, when_ns: int) -> None:
        with self._disk.calling("set_modified", self._disk.path_of(descriptor)):
            super().set_modified(descriptor, when_ns)

    def allocate(self, descriptor: int, length: int) -> None:
        with self._disk.calling("allocate", self._disk.path_of(descriptor), size=length):
            super().allocate(descriptor, length)

    def stat(self, path: str) -> FileStat:
        with self._disk.calling("stat", path):
            return super().stat(path)

    def names(self, folder: str) -> Sequence[str]:
        with self._disk.calling("names", folder):
            return super().names(folder)

    def make_folder(self, path: str) -> None:
        with self._disk.calling("make_folder", path):
            super().make_folder(path)

    def rename(self, old: str, new: str) -> None:
        with self._disk.calling("rename", old, new_path=new):
            super().rename(old, new)

    def unlink(self, path: str) -> None:
        with self._disk.calling("unlink", path):
            super().unlink(path)

    def space(self, path: str) -> Space:
        with self._disk.calling("space", path):
            return super().space(path)

    def lock(self, descriptor: int) -> None:
        with self._disk.calling("lock", self._disk.path_of(descriptor)):
            super().lock(descriptor)


class DiskVFS(apsw.VFS):
    """SQLite's calls to the operating system, by way of a Disk."""

    def __init__(self, disk: Disk, name: str) -> None:
        self.disk, self.name = disk, name
        # The default, too: a drive is formatted before anything knows its settings.
        super().__init__(name, _SYSTEM, makedefault=True)

    def xOpen(self, name: Any, flags: list[int]) -> "DiskVFSFile":
        return DiskVFSFile(self.disk, name, flags)

    def xDelete(self, filename: str, syncdir: bool) -> None:
        with _as_sqlite(), self.disk.calling("index.delete", filename, size=int(syncdir)):
            super().xDelete(filename, syncdir)


class DiskVFSFile(apsw.VFSFile):
    def __init__(self, disk: Disk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        self._path = name if isinstance(name, str) else name.filename()
        # What SQLite itself does with a new log: its first sync is one of the folder, too.
        self._syncs_folder = bool(flags[0] & apsw.SQLITE_OPEN_WAL and flags[0] & apsw.SQLITE_OPEN_CREATE)
        is_new = flags[0] & apsw.SQLITE_OPEN_CREATE and not os.path.exists(self._path)
        with _as_sqlite(), disk.calling("index.create" if is_new else "index.open", self._path):
            super().__init__(_SYSTEM, name, flags)

    def xRead(self, amount: int, offset: int) -> bytes:
        with _as_sqlite(), self._disk.calling("index.read", self._path, offset=offset, size=amount):
            return bytes(super().xRead(amount, offset))

    def xWrite(self, data: Any, offset: int) -> None:
        with _as_sqlite(), self._disk.calling("index.write", self._path, offset=offset, content=bytes(data)):
            super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        with _as_sqlite(), self._disk.calling("index.truncate", self._path, size=newsize):
            super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        with _as_sqlite(is_sync=True), self._disk.calling("index.sync", self._path, size=int(self._syncs_folder)):
            super().xSync(flags)
        self._syncs_folder = False


@contextmanager
def _as_sqlite(*, is_sync: bool = False) -> Iterator[None]:
    """SQLite's own errors in place of the operating system's."""
    try:
        yield
    except OSError as problem:
        kinds = {errno.ENOSPC: apsw.FullError, errno.EROFS: apsw.ReadOnlyError}
        error = kinds.get(problem.errno or 0, apsw.IOError)(f"injected: {problem.strerror}")
        if is_sync and isinstance(error, apsw.IOError):
            error.extendedresult = apsw.SQLITE_IOERR_FSYNC  # type: ignore[attr-defined]  # set on what SQLite raises
        raise error from problem


# -- what is done to the calls

Chooser = Callable[[Call], bool]


class CrashAt(Hook):
    """All power is gone, or these drives', in place of the n-th change from now (the first is 0)."""

    def __init__(self, disk: Disk, number: int, drives: Sequence[int] | None = None) -> None:
        self._disk, self._left, self._drives = disk, number, drives
        self._guard = threading.Lock()
        self.has_struck = False

    def before(self, call: Call) -> None:
        if not call.is_change or (self._drives is not None and call.drive not in self._drives):
            return
        with self._guard:
            self._left -= 1
            if self._left < 0 and not self.has_struck:
                self.has_struck = True
                self._disk.kill(self._drives)


class CountChanges(Hook):
    def __init__(self) -> None:
        self.calls: list[Call] = []

    def after(self, call: Call) -> None:
        if call.is_change:
            self.calls.append(call)


class Refuse(Hook):
    """Calls that `chosen` says fail with `number`, an errno; `skip` of them pass before, and `times` of them fail."""

    def __init__(self, chosen: Chooser, number: int, *, skip: int = 0, times: int = 2**62) -> None:
        self._chosen, self._number, self._skip, self._times = chosen, number, skip, times
        self._guard = threading.Lock()
        self.count = 0
        self.last: Call | None = None  # that failed

    def before(self, call: Call) -> None:
        if not self._chosen(call):
            return
        with self._guard:
            if self._skip > 0:
                self._skip -= 1
                return
            if self.count >= self._times:
                return
            self.count += 1
            self.last = call
        raise OSError(self._number, os.strerror(self._number))


class Delay(Hook):
    """Calls that `chosen` says take so much longer. `release` ends it, for those that wait, too."""

    def __init__(self, chosen: Chooser, seconds: float) -> None:
        self._chosen, self._seconds = chosen, seconds
        self._over = threading.Event()

    def before(self, call: Call) -> None:
        if self._chosen(call):
            self._over.wait(self._seconds)

    def release(self) -> None:
        self._over.set()
