"""The contract suite over LocalDrive."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from liteio_contracts.storage import StorageAPI
from liteio_drives.local_drive import LocalDrive
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.storage_contract import DoubtfulDriveContract, DriveUnderTest, StorageContract

from .drive_bench import format_drive, open_drive

GRACE_SECONDS = 3600.0
TOMBSTONE_SECONDS = 30 * 86400.0


class TestLocalDrive(StorageContract):
    @pytest.fixture
    async def subject(self, tmp_path: Path) -> AsyncIterator[DriveUnderTest]:
        async with under_test(tmp_path / "d0", is_authoritative=True) as subject:
            yield subject


class TestDoubtfulLocalDrive(DoubtfulDriveContract):
    @pytest.fixture
    async def subject(self, tmp_path: Path) -> AsyncIterator[DriveUnderTest]:
        async with under_test(tmp_path / "d0", is_authoritative=False) as subject:
            yield subject


@asynccontextmanager
async def under_test(path: Path, *, is_authoritative: bool) -> AsyncIterator[DriveUnderTest]:
    clock = ManualClock()
    format_drive(path, is_authoritative=is_authoritative)
    opened: list[LocalDrive] = []

    async def restart() -> StorageAPI:
        # As after kill -9, nothing is closed: the old object stays behind with its threads and descriptors.
        opened.append(
            await open_drive(
                path, clock=clock, orphan_grace_seconds=GRACE_SECONDS, tombstone_keep_seconds=TOMBSTONE_SECONDS
            )
        )
        return opened[-1]

    yield DriveUnderTest(await restart(), clock, restart, GRACE_SECONDS, TOMBSTONE_SECONDS)
    for drive in opened:
        await drive.close()
