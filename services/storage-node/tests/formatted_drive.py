"""Drives on disk for tests: formatted and opened in a folder."""

from pathlib import Path

from liteio_base.clock import Clock
from liteio_base.ids import new_deployment_id, new_drive_id
from liteio_drives.drive_format import prepare, take_on
from liteio_drives.files import FileSystem, RealFiles
from liteio_drives.limits import DriveSettings
from liteio_drives.local_drive import LocalDrive
from liteio_formats.format_json import DriveFormat
from liteio_testkit.seeded_randomness import SeededRandomness


def format_drive(path: Path, slot: int = 0) -> DriveFormat:
    """One drive of a set of 4 with parity 2."""
    randomness = SeededRandomness(str(path))
    drive = DriveFormat(
        deployment_id=new_deployment_id(randomness),
        drive_id=new_drive_id(randomness),
        set_index=0,
        slot=slot,
        set_count=1,
        set_width=4,
        parity=2,
        was_mount_point=((False,) * 4,),
    )
    path.mkdir()
    prepare(str(path), drive, is_authoritative=True, files=RealFiles(), randomness=randomness)
    take_on(str(path), RealFiles())
    return drive


async def open_drive(path: Path, clock: Clock, settings: DriveSettings, files: FileSystem | None = None) -> LocalDrive:
    randomness = SeededRandomness("open")
    return await LocalDrive.open(str(path), 0, clock=clock, randomness=randomness, settings=settings, files=files)
