"""Formatting and opening drives in a test's folder."""

from dataclasses import replace
from pathlib import Path

from liteio_base.clock import Clock, SystemClock
from liteio_base.ids import new_deployment_id, new_drive_id
from liteio_drives.drive_format import prepare, take_on
from liteio_drives.files import FileSystem, RealFiles
from liteio_drives.limits import DriveSettings
from liteio_drives.local_drive import LocalDrive
from liteio_formats.format_json import DriveFormat
from liteio_testkit.seeded_randomness import SeededRandomness

SMALL = DriveSettings(free_min_bytes=0, ballast_bytes=0, confirm_delay_seconds=0.0)


def format_drive(path: Path, slot: int = 0, *, is_authoritative: bool = True) -> DriveFormat:
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
    path.mkdir(exist_ok=True)
    prepare(str(path), drive, is_authoritative=is_authoritative, files=RealFiles(), randomness=randomness)
    take_on(str(path), RealFiles())
    return drive


async def open_drive(
    path: Path,
    *,
    clock: Clock | None = None,
    settings: DriveSettings = SMALL,
    files: FileSystem | None = None,
    slot: int = 0,
    **changes: object,
) -> LocalDrive:
    return await LocalDrive.open(
        str(path),
        slot,
        clock=clock or SystemClock(),
        randomness=SeededRandomness("open"),
        settings=replace(settings, **changes),  # type: ignore[arg-type]  # fields of DriveSettings
        files=files,
    )
