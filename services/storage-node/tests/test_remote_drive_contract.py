"""The contract suite over RemoteDrive, a real node on loopback, and the drive behind it."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from formatted_drive import format_drive, open_drive
from live_node import connected, connection_to, serving

from liteio_contracts.storage import StorageAPI
from liteio_drives.limits import DriveSettings
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


class TestRemoteLocalDrive(StorageContract):
    """As a gateway and a storage node run it. A restart is the node's: a new process on the same folder."""

    @pytest.fixture
    async def subject(self, tmp_path: Path) -> AsyncIterator[DriveUnderTest]:
        clock = ManualClock()
        path = tmp_path / "d0"
        drive_id = format_drive(path).drive_id
        settings = DriveSettings(
            free_min_bytes=0,
            ballast_bytes=0,
            confirm_delay_seconds=0.0,
            orphan_grace_seconds=GARBAGE_GRACE_SECONDS,
            tombstone_keep_seconds=TOMBSTONE_SECONDS,
        )
        async with AsyncExitStack() as opened:

            async def start() -> StorageAPI:
                drive = await open_drive(path, clock, settings)
                opened.push_async_callback(drive.close)
                server = await opened.enter_async_context(serving([drive]))
                node = await opened.enter_async_context(connection_to(server.port))
                return RemoteDrive(node, drive_id, 0)

            yield DriveUnderTest(await start(), clock, start, GARBAGE_GRACE_SECONDS, TOMBSTONE_SECONDS)
