"""Drives on file systems in memory that are small, or have few inodes. Root only."""

import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path


def can_mount() -> str:
    """Why nothing can be mounted here; "" when it can."""
    return "" if os.getuid() == 0 else "only root may mount file systems"


@contextmanager
def small_disks(places: Sequence[Path], *, size_bytes: int, inodes: int) -> Iterator[None]:
    """A tmpfs on each of `places`, gone at the end with all that is on it."""
    mounted = []
    try:
        for place in places:
            place.mkdir(parents=True, exist_ok=True)
            options = f"size={size_bytes},nr_inodes={inodes},mode=0750"
            subprocess.run(["mount", "-t", "tmpfs", "-o", options, "liteio-test", str(place)], check=True)
            mounted.append(place)
        yield
    finally:
        for place in mounted:
            _unmount(place)


def _unmount(place: Path, seconds: float = 5.0) -> None:
    """What a failed test still holds open goes with its process, and the file system with it."""
    end = time.monotonic() + seconds
    while subprocess.run(["umount", str(place)], capture_output=True).returncode:
        if time.monotonic() > end:
            subprocess.run(["umount", "--lazy", str(place)], check=True)
            return
        time.sleep(0.05)
