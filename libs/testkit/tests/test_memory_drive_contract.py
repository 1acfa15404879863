"""The contract suite over MemoryDrive."""

import pytest

from liteio_contracts.storage import StorageAPI
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.memory_drive import GARBAGE_GRACE_SECONDS, TOMBSTONE_SECONDS, MemoryDrive
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.storage_contract import DoubtfulDriveContract, DriveUnderTest, StorageContract


class TestMemoryDrive(StorageContract):
    @pytest.fixture
    def subject(self) -> DriveUnderTest:
        return under_test(is_authoritative=True)


class TestDoubtfulMemoryDrive(DoubtfulDriveContract):
    @pytest.fixture
    def subject(self) -> DriveUnderTest:
        return under_test(is_authoritative=False)


def under_test(*, is_authoritative: bool) -> DriveUnderTest:
    clock = ManualClock()
    drive = MemoryDrive(0, clock, SeededRandomness("contract"), is_authoritative=is_authoritative)

    async def restart() -> StorageAPI:
        drive.crash()
        return drive

    return DriveUnderTest(drive, clock, restart, GARBAGE_GRACE_SECONDS, TOMBSTONE_SECONDS)
