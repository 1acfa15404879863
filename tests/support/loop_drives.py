"""Drives on ext4 file systems of their own, in files, whose power can be cut. Root only; no load on any real disk's
metadata beyond a few sparse files."""

import fcntl
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_EXT4_IOC_SHUTDOWN: Final = 0x8004587D  # _IOR('X', 125, __u32), linux/fs/ext4/ext4.h
_GOING_FLAGS_NOLOGFLUSH: Final = 2  # the journal is not written out either: what a power cut leaves
# Sparse. A drive refuses data below 256 MiB free and keeps 64 MiB of ballast.
IMAGE_BYTES: Final = 1024**3
_UMOUNT_SECONDS: Final = 15.0


def can_cut_power() -> str:
    """Why power can not be cut here; "" when it can."""
    if os.getuid() != 0:
        return "only root may mount file systems and cut their power"
    if not os.path.exists("/dev/loop-control"):
        return "this kernel has no loop devices"
    return ""


@dataclass
class LoopDrive:
    image: Path
    mount_point: Path

    def mount(self) -> None:
        _run("mount", "-o", "loop", str(self.image), str(self.mount_point))

    def cut_power(self) -> None:
        """From here on the file system answers EIO, and what was not synced is gone."""
        folder = os.open(self.mount_point, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(folder, _EXT4_IOC_SHUTDOWN, _GOING_FLAGS_NOLOGFLUSH.to_bytes(4, "little"))
        finally:
            os.close(folder)

    def unmount(self) -> None:
        """Nobody may have a file open there; the kernel needs a moment to close those of the killed."""
        end = time.monotonic() + _UMOUNT_SECONDS
        while os.path.ismount(self.mount_point):
            done = subprocess.run(["umount", str(self.mount_point)], capture_output=True, text=True)
            if done.returncode:
                assert time.monotonic() < end, done.stderr
                time.sleep(0.05)

    def come_back(self) -> None:
        """What a machine does when the power is back: replay the journal, check, mount."""
        self.unmount()
        checked = subprocess.run(["e2fsck", "-p", str(self.image)], capture_output=True, text=True)
        assert checked.returncode in (0, 1), f"e2fsck: {checked.stdout}{checked.stderr}"  # 1: repaired
        self.mount()


@contextmanager
def loop_drives(folder: Path, count: int) -> Iterator[Sequence[LoopDrive]]:
    drives = [LoopDrive(folder / f"drive{number}.img", folder / f"mount{number}") for number in range(1, count + 1)]
    try:
        for drive in drives:
            drive.mount_point.mkdir()
            with drive.image.open("wb") as image:
                image.truncate(IMAGE_BYTES)
            _run("mkfs.ext4", "-q", "-F", "-m", "0", str(drive.image))
            drive.mount()
            (drive.mount_point / "lost+found").rmdir()  # else the folder is not empty, and is not formatted
        yield drives
    finally:
        for drive in drives:
            drive.unmount()


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
