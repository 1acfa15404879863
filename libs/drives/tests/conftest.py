"""Drives of tests lie in memory where there is such a place: a drive has 256 folders, and a test makes several."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

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
