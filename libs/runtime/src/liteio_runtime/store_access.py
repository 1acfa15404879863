"""The store of this machine, opened beside the running server, for commands that change or read it once."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_cluster.opening import open_store
from liteio_cluster.settings import StoreSettings
from liteio_drives.drive_format import read_format
from liteio_drives.files import RealFiles
from liteio_drives.format_rules import FormatRefused
from liteio_formats.checked_json import FormatError
from liteio_objects.layer import Store
from liteio_runtime.problems import Problem, StartRefused
from liteio_runtime.settings import ServerSettings


@asynccontextmanager
async def open_local_store(settings: ServerSettings) -> AsyncIterator[Store]:
    """Never formats a drive. Raises StartRefused when no drive carries a format."""
    if not any(_is_formatted(drive) for drive in settings.drives):
        problem = Problem("not a store yet", "--drives", "start the server once, or name the drives as it does")
        raise StartRefused([problem])
    store_settings = StoreSettings(
        drives=settings.drives,
        parity=settings.code.m,
        set_drives=settings.layout.set_width,
        state_dir=settings.state_dir,
    )
    try:
        async with open_store(store_settings, SystemClock(), SystemRandomness()) as opened:
            yield opened.store
    except FormatRefused as refused:
        raise StartRefused([Problem(str(refused), "--drives", "name the drives as the server does")]) from None


def _is_formatted(drive: str) -> bool:
    try:
        return read_format(drive, RealFiles()) is not None
    except (FormatError, OSError):
        return False
