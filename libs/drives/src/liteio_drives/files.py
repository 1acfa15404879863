"""Every file-system call that a drive makes, SQLite's own apart. Tests put faults between a drive and its disk here."""

import contextlib
import fcntl
import os
from collections.abc import Sequence
from mmap import mmap
from typing import Final, NamedTuple, Protocol

_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
O_DIRECT: Final = getattr(os, "O_DIRECT", 0)
Buffer = bytes | bytearray | memoryview | mmap


class FileStat(NamedTuple):
    size_bytes: int
    modified_ns: int
    inode: int
    device: int
    is_folder: bool


class Space(NamedTuple):
    total_bytes: int
    free_bytes: int


class FileSystem(Protocol):
    """POSIX calls with POSIX meanings. All raise OSError; none is made on an event loop's thread."""

    def open(self, path: str, flags: int, mode: int = 0o640) -> int: ...
    def close(self, descriptor: int) -> None: ...
    def pread(self, descriptor: int, length: int, offset: int) -> bytes: ...
    def pwrite(self, descriptor: int, content: Buffer, offset: int) -> int: ...
    def sync_data(self, descriptor: int) -> None: ...
    def sync(self, descriptor: int) -> None: ...
    def sync_folder(self, path: str) -> None: ...
    def set_modified(self, descriptor: int, when_ns: int) -> None: ...
    def allocate(self, descriptor: int, length: int) -> None: ...
    def stat(self, path: str) -> FileStat: ...
    def stat_open(self, descriptor: int) -> FileStat: ...
    def names(self, folder: str) -> Sequence[str]: ...
    def make_folder(self, path: str) -> None: ...
    def rename(self, old: str, new: str) -> None: ...
    def unlink(self, path: str) -> None: ...
    def space(self, path: str) -> Space: ...
    def lock(self, descriptor: int) -> None: ...
    def try_lock(self, descriptor: int, *, is_shared: bool) -> bool: ...
    def unlock(self, descriptor: int) -> None: ...

    def boot_id(self) -> str:
        """Names this start of the machine: another one after each restart. "" where the system tells of none."""


class RealFiles:
    """The operating system's."""

    def open(self, path: str, flags: int, mode: int = 0o640) -> int:
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def pread(self, descriptor: int, length: int, offset: int) -> bytes:
        return os.pread(descriptor, length, offset)

    def pwrite(self, descriptor: int, content: Buffer, offset: int) -> int:
        return os.pwrite(descriptor, content, offset)

    def sync_data(self, descriptor: int) -> None:
        os.fdatasync(descriptor)

    def sync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def sync_folder(self, path: str) -> None:
        descriptor = self.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.sync(descriptor)
        finally:
            self.close(descriptor)

    def set_modified(self, descriptor: int, when_ns: int) -> None:
        os.utime(descriptor, ns=(when_ns, when_ns))

    def allocate(self, descriptor: int, length: int) -> None:
        os.posix_fallocate(descriptor, 0, length)

    def stat(self, path: str) -> FileStat:
        return _facts(os.stat(path))

    def stat_open(self, descriptor: int) -> FileStat:
        return _facts(os.fstat(descriptor))

    def names(self, folder: str) -> Sequence[str]:
        return os.listdir(folder)

    def make_folder(self, path: str) -> None:
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o750)

    def rename(self, old: str, new: str) -> None:
        os.rename(old, new)

    def unlink(self, path: str) -> None:
        os.unlink(path)

    def space(self, path: str) -> Space:
        found = os.statvfs(path)
        return Space(found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize)

    def lock(self, descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX)

    def try_lock(self, descriptor: int, *, is_shared: bool) -> bool:
        try:
            fcntl.flock(descriptor, (fcntl.LOCK_SH if is_shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self, descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_UN)

    def boot_id(self) -> str:
        try:
            with open(_BOOT_ID, encoding="ascii") as told:
                return told.read().strip()
        except FileNotFoundError:
            return ""


def _facts(found: os.stat_result) -> FileStat:
    is_folder = (found.st_mode & 0o170000) == 0o040000
    return FileStat(found.st_size, found.st_mtime_ns, found.st_ino, found.st_dev, is_folder)


def write_all(files: FileSystem, descriptor: int, content: Buffer, offset: int) -> None:
    """Write every byte; a file system may take fewer than it was given."""
    rest = memoryview(content)
    while len(rest):
        written = files.pwrite(descriptor, rest, offset)
        rest, offset = rest[written:], offset + written


def read_all(files: FileSystem, descriptor: int, length: int, offset: int) -> bytes:
    """`length` bytes, fewer only at the end of the file."""
    content = files.pread(descriptor, length, offset)
    while len(content) < length:
        more = files.pread(descriptor, length - len(content), offset + len(content))
        if not more:
            break
        content += more
    return content


def write_durably(files: FileSystem, path: str, content: bytes) -> None:
    """Replace the file at `path` as a whole: after a crash it is the old one or the new one."""
    stage_durably(files, path + ".tmp", content)
    files.rename(path + ".tmp", path)
    files.sync_folder(os.path.dirname(path))


def stage_durably(files: FileSystem, path: str, content: bytes) -> None:
    """Write and sync one file with its folder."""
    descriptor = files.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    try:
        write_all(files, descriptor, content, 0)
        files.sync(descriptor)
    finally:
        files.close(descriptor)
    files.sync_folder(os.path.dirname(path))


def read_file(files: FileSystem, path: str) -> bytes:
    """The whole of a small file."""
    descriptor = files.open(path, os.O_RDONLY)
    try:
        return read_all(files, descriptor, files.stat_open(descriptor).size_bytes, 0)
    finally:
        files.close(descriptor)
