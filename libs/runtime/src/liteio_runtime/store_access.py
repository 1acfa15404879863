"""The store that the settings name, opened beside the running server, for commands that change or read it once."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_cluster.opening import OpenStore, open_store
from liteio_cluster.settings import StoreSettings
from liteio_drives.drive_format import read_format
from liteio_drives.files import RealFiles
from liteio_drives.format_rules import FormatRefused
from liteio_formats.checked_json import FormatError
from liteio_runtime.problems import Problem, StartRefused
from liteio_runtime.settings import ServerSettings
from liteio_runtime.store_specs import store_config

_NODES_SECONDS: Final = 15.0  # for one storage node to tell of the store


@asynccontextmanager
async def open_for_command(settings: ServerSettings) -> AsyncIterator[OpenStore]:
    """Never formats a drive. Raises StartRefused when no drive carries a format, or no storage node answers."""
    if not settings.is_cluster and not any(_is_formatted(drive) for drive in settings.drives):
        problem = Problem("not a store yet", "--drives", "start the server once, or name the drives as it does")
        raise StartRefused([problem])
    store_settings = StoreSettings(**store_config(settings), state_dir=settings.state_dir)
    async with AsyncExitStack() as opened:
        try:
            async with asyncio.timeout(_NODES_SECONDS):
                opening = open_store(store_settings, SystemClock(), SystemRandomness())
                store = await opened.enter_async_context(opening)
        except FormatRefused as refused:
            raise StartRefused([Problem(str(refused), "--drives", "name the drives as the server does")]) from None
        except TimeoutError:
            remedy = "start the nodes; check names, ports, cluster secret and certificates"
            where = ", ".join(settings.plan.origins)
            raise StartRefused([Problem("no storage node tells of a store", where, remedy)]) from None
        yield store


def _is_formatted(drive: str) -> bool:
    try:
        return read_format(drive, RealFiles()) is not None
    except (FormatError, OSError):
        return False
