"""What `liteio doctor` looks at on each drive. Nothing here leaves anything behind."""

import mmap
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from liteio_base.limits import GIB, MIB
from liteio_runtime.findings import Finding, bad, good, warn

_FREE_BYTES_MIN: Final = 256 * MIB  # below this, or 1 %, a drive refuses new data
_FREE_SHARE_MIN: Final = 0.01
_FREE_SHARE_LOW: Final = 0.10
_DIRECT_BYTES: Final = 4096


def look_at_drives(drives: Sequence[str]) -> Iterator[Finding]:
    for drive in drives:
        yield from _look_at(drive)
    yield from shared_devices(drives)


def _look_at(drive: str) -> Iterator[Finding]:
    if not os.path.isdir(drive):
        yield bad(drive, "no such folder", "mount the drive, or make the folder for a first start")
        return
    if not os.access(drive, os.W_OK | os.X_OK):
        yield bad(drive, f"not writable for uid {os.getuid()}", f"chown {os.getuid()} {drive}")
        return
    yield format_of(drive)
    yield free_space(drive)
    yield free_inodes(drive)
    yield direct_io(drive)


def format_of(drive: str) -> Finding:
    path = Path(drive) / ".liteio.sys" / "format.json"
    if path.is_file():
        return good(drive, "formatted")
    return warn(drive, "not formatted", "fine before the first start; else the wrong or an unmounted drive is here")


def free_space(drive: str) -> Finding:
    facts = os.statvfs(drive)
    free, total = facts.f_bavail * facts.f_frsize, facts.f_blocks * facts.f_frsize
    what = f"{free / GIB:.1f} GiB free of {total / GIB:.1f}"
    if free < max(_FREE_BYTES_MIN, total * _FREE_SHARE_MIN):
        return bad(drive, what, "the drive refuses new data: delete something, or move to a bigger drive")
    if free < total * _FREE_SHARE_LOW:
        return warn(drive, what, "less than a tenth is left: plan for more space")
    return good(drive, what)


def free_inodes(drive: str) -> Finding:
    facts = os.statvfs(drive)
    if facts.f_files == 0:  # btrfs and others do not count them
        return good(drive, "inodes are not limited")
    what = f"{facts.f_favail:,} inodes free of {facts.f_files:,}"
    if facts.f_favail < facts.f_files * _FREE_SHARE_LOW:
        return warn(drive, what, "big objects need a file each: make the file system with more inodes")
    return good(drive, what)


def direct_io(drive: str) -> Finding:
    """Write one aligned page with O_DIRECT to a file without a name."""
    page = mmap.mmap(-1, _DIRECT_BYTES)  # page-aligned, as O_DIRECT wants it
    try:
        fd = os.open(drive, os.O_RDWR | os.O_TMPFILE | os.O_DIRECT, 0o600)
        try:
            os.pwrite(fd, page, 0)
        finally:
            os.close(fd)
    except OSError as problem:
        what = f"no direct I/O ({problem.strerror}): writes of big objects go through the page cache"
        return warn(drive, what, "works, but slower: ext4 or XFS on a local disk can do it")
    finally:
        page.close()
    return good(drive, "direct I/O works")


def shared_devices(drives: Sequence[str]) -> Iterator[Finding]:
    """Folders of one device fail together."""
    by_device: dict[int, list[str]] = defaultdict(list)
    for drive in drives:
        if os.path.isdir(drive):
            by_device[os.stat(drive).st_dev].append(drive)
    for sharing in by_device.values():
        if len(sharing) > 1:
            what = f"{len(sharing)} drives lie on one device: {', '.join(sharing)}"
            yield warn("drives", what, "fine for trying things out; for real data give each drive its own disk")
