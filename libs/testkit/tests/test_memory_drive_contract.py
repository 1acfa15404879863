"""The contract suite over MemoryDrive."""

import pytest

from liteio_contracts.storage import StorageAPI
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.memory_drive import GARBAGE_GRACE_SECONDS, TOMBSTONE_SECONDS, MemoryDrive
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.storage_contract import DriveUnderTest, StorageContract


class TestMemoryDrive(StorageContract):
    @pytest.fixture
    def subject(self) -> DriveUnderTest:
        clock = ManualClock()
        drive = MemoryDrive(0, clock, SeededRandomness("contract"))

        async def restart() -> StorageAPI:
            drive.crash()
            return drive

        return DriveUnderTest(drive, clock, restart, GARBAGE_GRACE_SECONDS, TOMBSTONE_SECONDS)
