"""A service that is odd: `python -m tests.support.odd_member liteio_storage_node` runs it with a clock that a test
sets, with a drive that takes longer, or with a bug planted. The product knows nothing of it.

LITEIO_ODD_DIALS names the file of the test's `Dials`; LITEIO_ODD_SLOW the folder of a drive that is slow by what they
say; LITEIO_ODD_PLANT a bug of `PLANTS`.
"""

import asyncio
import mmap
import os
import runpy
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_contracts.storage_errors import Fenced
from liteio_drives.index_changes import Changes
from liteio_drives.local_drive import LocalDrive
from liteio_drives.remote.lock_table import LockTable
from liteio_testkit.intercepted_drive import Answer, Call, InterceptedDrive

DIALS: Final = "LITEIO_ODD_DIALS"
SLOW: Final = "LITEIO_ODD_SLOW"
PLANT: Final = "LITEIO_ODD_PLANT"
_NS: Final = 1_000_000_000
_CLOCK, _DELAY = 0, 1


class Dials:
    """Two numbers in a file, in nanoseconds: how far the clock is ahead, and how much longer the slow drive takes.
    Written by a test, read by a process that runs all the while."""

    def __init__(self, path: Path) -> None:
        if not path.exists():
            path.write_bytes(bytes(16))
        with path.open("r+b") as file:
            self._words = memoryview(mmap.mmap(file.fileno(), 16)).cast("q")
        self.path = path

    @property
    def clock_seconds(self) -> float:
        return self._words[_CLOCK] / _NS

    @clock_seconds.setter
    def clock_seconds(self, seconds: float) -> None:
        self._words[_CLOCK] = int(seconds * _NS)

    @property
    def slow_seconds(self) -> float:
        return self._words[_DELAY] / _NS

    @slow_seconds.setter
    def slow_seconds(self, seconds: float) -> None:
        self._words[_DELAY] = int(seconds * _NS)

    def now_ns(self) -> int:
        return time.time_ns() + self._words[_CLOCK]


class SlowDrive(InterceptedDrive):
    """Every call, and every step of a shard, takes longer by what the dials say."""

    def __init__(self, inner: LocalDrive, dials: Dials) -> None:
        super().__init__(inner)
        self._local, self._dials = inner, dials

    async def intercept(self, operation: str, call: Call[Answer], deadline: Deadline) -> Answer:
        if self._dials.slow_seconds:
            await asyncio.sleep(self._dials.slow_seconds)
        return await call(deadline)

    async def close(self) -> None:
        await self._local.close()


def _take_any_commit() -> None:
    """The drive takes whatever comes, whatever it holds."""

    def check_row(self: Any, at: Any, row: Any, facts: Any, *, lifts_fences: bool) -> None:
        if not lifts_fences and facts.survey.has_fences and self.rows.has_fence(at, row.version, row.time):
            raise Fenced("the drive has promised to refuse this version", time=row.time)
        for file in row.files:
            self._require_file(file)

    patch.object(Changes, "_check_row", check_row).start()


def _grant_everything() -> None:
    """Any lock is anyone's at any time. No bug as far as clients can tell: locks only save rivals work."""
    patch.object(LockTable, "_is_taken", lambda *_: False).start()


def _grant_everything_and_take_any_commit() -> None:
    _grant_everything()
    _take_any_commit()


PLANTS: Final[Mapping[str, Callable[[], None]]] = {
    "locks grant everything": _grant_everything,
    "locks grant everything, drives take any commit": _grant_everything_and_take_any_commit,
}


def _slow_down(folder: str, dials: Dials) -> None:
    opened = LocalDrive.open

    async def open_slow(path: str, *arguments: Any, **options: Any) -> Any:
        drive = await opened(path, *arguments, **options)
        return SlowDrive(drive, dials) if path == folder else drive

    patch.object(LocalDrive, "open", open_slow).start()


def main() -> None:
    if path := os.environ.get(DIALS, ""):
        dials = Dials(Path(path))
        SystemClock.now_ns = staticmethod(dials.now_ns)
        if folder := os.environ.get(SLOW, ""):
            _slow_down(folder, dials)
    if plant := os.environ.get(PLANT, ""):
        PLANTS[plant]()
    module = sys.argv.pop(1)
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
