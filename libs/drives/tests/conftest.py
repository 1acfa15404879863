"""Drives of tests lie in memory where there is such a place: a drive has 256 folders, and a test makes several."""

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from liteio_drives.local_drive import LocalDrive
from liteio_testkit.contract_bench import Bench
from liteio_testkit.manual_clock import ManualClock

from .drive_bench import bench_of, format_drive, open_drive

MEMORY = Path("/dev/shm")


@pytest.fixture
def disk_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on a disk, for what only a disk has: direct I/O."""
    return tmp_path_factory.mktemp("disk")


@pytest.fixture
def tmp_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    if not MEMORY.is_dir():
        yield tmp_path_factory.mktemp("drives")
        return
    made = Path(tempfile.mkdtemp(prefix="liteio-test-", dir=MEMORY))
    yield made
    shutil.rmtree(made, ignore_errors=True)


@pytest.fixture
async def drive(tmp_path: Path) -> AsyncIterator[LocalDrive]:
    format_drive(tmp_path)
    opened = await open_drive(tmp_path, clock=ManualClock())
    yield opened
    await opened.close()


@pytest.fixture
def bench(drive: LocalDrive) -> Bench:
    return bench_of(drive)
