"""The store of this machine, opened beside the running server, for commands that change or read it once."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_drives.drive_format import read_format
from liteio_drives.file_locks import FileLocks
from liteio_drives.files import RealFiles
from liteio_drives.format_set import FormatRefused, Layout, open_drives
from liteio_formats.format_json import FormatError
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.store_map import StoreMap
from liteio_runtime.problems import Problem, StartRefused
from liteio_runtime.settings import ServerSettings


@asynccontextmanager
async def open_local_store(settings: ServerSettings) -> AsyncIterator[Store]:
    """Never formats a drive. Raises StartRefused when no drive carries a format."""
    if not any(_is_formatted(drive) for drive in settings.drives):
        problem = Problem("not a store yet", "--drives", "start the server once, or name the drives as it does")
        raise StartRefused([problem])
    clock, randomness = SystemClock(), SystemRandomness()
    width = settings.layout.set_width
    layout = Layout(settings.layout.set_count, width, settings.code.m)
    async with AsyncExitStack() as opened:
        try:
            drives = await open_drives(settings.drives, layout, clock=clock, randomness=randomness)
        except FormatRefused as refused:
            raise StartRefused([Problem(str(refused), "--drives", "name the drives as the server does")]) from None
        opened.push_async_callback(drives.close)
        starts = range(0, layout.set_count * width, width)
        sets = [DriveSet(drives.as_storage[at : at + width], settings.code, at // width) for at in starts]
        locks = FileLocks(settings.state_dir / "locks", clock, randomness)
        opened.callback(locks.close)
        store = Store(StoreMap(drives.deployment_id, sets), clock, randomness, locks)
        opened.push_async_callback(store.close)
        yield store


def _is_formatted(drive: str) -> bool:
    try:
        return read_format(drive, RealFiles()) is not None
    except (FormatError, OSError):
        return False
