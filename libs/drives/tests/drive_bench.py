"""Formatting and opening drives in a test's folder, and asking them."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from liteio_base.clock import Clock, SystemClock
from liteio_base.ids import new_deployment_id, new_drive_id
from liteio_contracts.storage import ListQuery
from liteio_drives.drive_format import prepare, take_on
from liteio_drives.files import FileSystem, RealFiles
from liteio_drives.index import DriveIndex
from liteio_drives.limits import DriveSettings
from liteio_drives.local_drive import LocalDrive
from liteio_formats.format_json import DriveFormat
from liteio_formats.record import Space
from liteio_testkit.contract_bench import Bench
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.storage_contract import DriveUnderTest

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


def bench_of(drive: LocalDrive) -> Bench:
    async def restart() -> LocalDrive:
        raise AssertionError("not in these tests")

    return Bench(DriveUnderTest(drive, ManualClock(), restart, 0, SMALL.tombstone_keep_seconds))


async def steps_of(drive: LocalDrive, bench: Bench, work: Callable[[DriveIndex], object]) -> int:
    """Steps of SQLite's virtual machine: what a call costs, on any machine the same."""

    def counted(index: DriveIndex) -> int:
        db, steps = index._db, 0

        def count() -> bool:
            nonlocal steps
            steps += 1
            return False

        db.set_progress_handler(count, 1)
        try:
            work(index)
        finally:
            db.set_progress_handler(None)
        return steps

    return await drive._reader.call(counted, bench.soon)


async def list_steps(drive: LocalDrive, bench: Bench, **fields: object) -> int:
    query = ListQuery(space=Space.OBJECT, bucket_id=bench.bucket_id, **fields)  # type: ignore[arg-type]  # its fields
    return await steps_of(drive, bench, lambda index: index.pages.list_page(query, index.meta))


async def put_many(bench: Bench, keys: list[bytes], time: int, **more: object) -> None:
    records = await asyncio.gather(*(bench.put(key, time, **more) for key in keys))  # type: ignore[arg-type]
    await bench.confirm(*records)
