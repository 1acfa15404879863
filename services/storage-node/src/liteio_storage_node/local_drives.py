"""This machine's drives: opened at the start, looked for again while they are missing, closed at the end."""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from liteio_base.clock import Clock, Randomness
from liteio_contracts.storage_errors import StorageError
from liteio_drives.drive_format import read_format
from liteio_drives.files import RealFiles
from liteio_drives.local_drive import LocalDrive
from liteio_formats.checked_json import FormatError
from liteio_storage_node.drive_set import DriveSet

log: Final = logging.getLogger("liteio.storage_node")
_LOOK_AGAIN_SECONDS: Final = 10.0


@asynccontextmanager
async def open_local_drives(paths: Sequence[str], clock: Clock, randomness: Randomness) -> AsyncIterator[DriveSet]:
    """The drives that can be used now. Those that can not (unmounted, damaged, not formatted yet) are taken in when
    they can; until then whoever asks for them learns that they are offline."""
    drives = DriveSet()
    opened: list[LocalDrive] = []
    missing = dict.fromkeys(paths, "")

    async def open_missing() -> None:
        for path, known_trouble in list(missing.items()):
            try:
                drive = await _open(path, clock, randomness)
            except (StorageError, FormatError, OSError) as trouble:
                if str(trouble) != known_trouble:
                    log.warning("drive %s is not served: %s", path, trouble)
                missing[path] = str(trouble)
                continue
            opened.append(drive)
            drives.add(drive, path)
            del missing[path]
            log.info("drive %s is served as %s", path, drive.drive_id)

    async def look_again() -> None:
        while missing:
            await clock.sleep(_LOOK_AGAIN_SECONDS)
            await open_missing()

    await open_missing()
    looking = asyncio.create_task(look_again())
    try:
        yield drives
    finally:
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        await asyncio.gather(*(drive.close() for drive in opened))


async def _open(path: str, clock: Clock, randomness: Randomness) -> LocalDrive:
    """Raises StorageError, FormatError, OSError."""
    found = await asyncio.to_thread(read_format, path, RealFiles())
    if found is None:
        raise FormatError("it is not formatted")
    return await LocalDrive.open(path, found.slot, clock=clock, randomness=randomness)
