"""The object layer of a process on one machine: local drives, file locks, and the store over them."""

import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from liteio_base.clock import Clock, Randomness, SystemRandomness
from liteio_base.ids import DeploymentId
from liteio_cluster.settings import StoreSettings
from liteio_contracts.storage import KeyName, StorageAPI
from liteio_drives.file_locks import FileLocks
from liteio_drives.files import RealFiles
from liteio_drives.format_rules import Layout
from liteio_drives.format_set import open_drives, settle_formats
from liteio_erasure.code import CodeParams
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.store_map import StoreMap

LOCK_FILE: Final = "locks"

Report = Callable[[DriveSet, KeyName], bool]


@dataclass(frozen=True, slots=True)
class OpenStore:
    """A store and what it stands on."""

    store: Store
    deployment_id: DeploymentId
    drives: Sequence[StorageAPI]


@asynccontextmanager
async def open_store(
    settings: StoreSettings,
    clock: Clock,
    randomness: Randomness,
    report: Report = lambda drive_set, name: False,
) -> AsyncIterator[OpenStore]:
    """Open the drives, formatting them the first time, and build the store. Background repairs run while it is open.

    Raises liteio_drives.format_set.FormatRefused.
    """
    code, layout = _layout(settings)
    width = layout.set_width
    async with AsyncExitStack() as opened:
        drives = await open_drives(settings.drives, layout, clock=clock, randomness=randomness)
        opened.push_async_callback(drives.close)
        sets = [
            DriveSet(drives.as_storage[start : start + width], code, start // width)
            for start in range(0, len(settings.drives), width)
        ]
        locks = FileLocks(_state_folder(settings) / LOCK_FILE, clock, randomness)
        opened.callback(locks.close)
        store = Store(StoreMap(drives.deployment_id, sets), clock, randomness, locks, report)
        store.start()
        opened.push_async_callback(store.close)
        yield OpenStore(store, drives.deployment_id, drives.as_storage)


def prepare_drives(settings: StoreSettings) -> None:
    """Format what must be formatted, before anything else is begun. Raises FormatRefused."""
    settle_formats(settings.drives, _layout(settings)[1], randomness=SystemRandomness(), files=RealFiles())


def _layout(settings: StoreSettings) -> tuple[CodeParams, Layout]:
    width = settings.set_drives or len(settings.drives)
    code = CodeParams.for_set(width, settings.parity)
    return code, Layout(len(settings.drives) // width, width, code.m)


def _state_folder(settings: StoreSettings) -> Path:
    folder = settings.state_dir or Path(settings.drives[0]) / ".liteio.sys"
    os.makedirs(folder, exist_ok=True)
    return folder
