"""The contract suite over RemoteDrive, a real node on loopback, and the drive behind it."""

from collections.abc import AsyncIterator

import pytest
from live_node import connected

from liteio_contracts.storage import StorageAPI
from liteio_drives.remote.remote_drive import RemoteDrive
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.memory_drive import GARBAGE_GRACE_SECONDS, TOMBSTONE_SECONDS, MemoryDrive
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.storage_contract import DriveUnderTest, StorageContract


class TestRemoteMemoryDrive(StorageContract):
    @pytest.fixture
    async def subject(self) -> AsyncIterator[DriveUnderTest]:
        clock = ManualClock()
        drive = MemoryDrive(0, clock, SeededRandomness("contract"))
        async with connected([drive]) as connection:
            remote = RemoteDrive(connection, drive.drive_id, drive.slot)

            async def restart() -> StorageAPI:
                drive.crash()
                return remote

            yield DriveUnderTest(remote, clock, restart, GARBAGE_GRACE_SECONDS, TOMBSTONE_SECONDS)
