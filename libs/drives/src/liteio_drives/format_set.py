"""Opening all drives of one machine: the first format, replaced drives, and drives that must be left alone.

Formatted only when every drive is empty. Later an empty slot is a replaced drive, formatted again and rebuilt, unless
it was a mount point that is not mounted now, or more drives of its set are empty than the set can lose. A drive of
another deployment, of another slot, damaged or with somebody else's files on it is left as it is and reported; the
store goes on without it. docs/formats/format-json.md.
"""

import asyncio
import fcntl
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final, cast

from liteio_base.clock import Clock, Randomness
from liteio_base.ids import DeploymentId, new_deployment_id, new_drive_id
from liteio_contracts.storage import StorageAPI
from liteio_contracts.storage_errors import RecordCorrupt, StorageError
from liteio_drives.drive_format import has_format, has_index, is_blank, prepare, read_format, read_pending, take_on
from liteio_drives.files import FileSystem, RealFiles
from liteio_drives.format_rules import (
    DriveCondition,
    DriveReport,
    FormatRefused,
    Layout,
    judge,
    mount_points_of,
)
from liteio_drives.limits import DriveSettings
from liteio_drives.local_drive import LocalDrive
from liteio_drives.offline_drive import OfflineDrive
from liteio_formats.checked_json import FormatError
from liteio_formats.format_json import DriveFormat

_log = logging.getLogger(__name__)

_OPEN_PAUSES_SECONDS: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 2.0)


@dataclass(frozen=True, slots=True)
class OpenedDrives:
    """Every drive in the order given; those that can not be used are OfflineDrives. Close it when done."""

    deployment_id: DeploymentId
    drives: tuple[LocalDrive | OfflineDrive, ...]

    @property
    def as_storage(self) -> tuple[StorageAPI, ...]:
        """The drives as the object layer sees them."""
        return cast("tuple[StorageAPI, ...]", self.drives)

    async def close(self) -> None:
        await asyncio.gather(*(drive.close() for drive in self.drives))


async def open_drives(
    paths: Sequence[str],
    layout: Layout,
    *,
    clock: Clock,
    randomness: Randomness,
    settings: DriveSettings | None = None,
    files: FileSystem | None = None,
) -> OpenedDrives:
    """Format what must be formatted, and open. Several processes may do this at once. Raises FormatRefused."""
    system = files or RealFiles()
    deployment_id, reasons = await asyncio.to_thread(settle_formats, paths, layout, randomness=randomness, files=system)
    drives: list[LocalDrive | OfflineDrive] = []
    for number, path in enumerate(paths):
        slot = number % layout.set_width
        reason = reasons.get(number)
        if reason is None:
            opened = await _open(path, slot, clock=clock, randomness=randomness, settings=settings, files=system)
            if isinstance(opened, LocalDrive):
                drives.append(opened)
                continue
            reason = str(opened)
        _log.error("drive %s is left out: %s", path, reason)
        drives.append(OfflineDrive(path, slot, reason))
    return OpenedDrives(deployment_id, tuple(drives))


async def _open(
    path: str,
    slot: int,
    *,
    clock: Clock,
    randomness: Randomness,
    settings: DriveSettings | None,
    files: FileSystem,
) -> LocalDrive | StorageError:
    """The drive, or why it can not be used. After a crash the first process to open an index recovers its log, and the
    others find it locked for that long: they try again, for they would do without the drive until their next start.
    """
    for pause in _OPEN_PAUSES_SECONDS:
        try:
            return await LocalDrive.open(path, slot, clock=clock, randomness=randomness, settings=settings, files=files)
        except RecordCorrupt as damage:
            return damage
        except StorageError as trouble:
            reason = trouble
        await clock.sleep(pause)
    return reason


def settle_formats(
    paths: Sequence[str], layout: Layout, *, randomness: Randomness, files: FileSystem
) -> tuple[DeploymentId, dict[int, str]]:
    """Format what must be formatted. The deployment, and for each drive (by number) that can not be used the reason.

    Raises FormatRefused.
    """
    if not any(has_format(path) for path in paths):
        _make_folders(paths)
    with _all_locked(paths):
        reports = [report_on(path, files) for path in paths]
        verdict = judge(reports, layout)
        if verdict.is_first:
            return _format_all(paths, reports, layout, files, randomness), {}
        if verdict.deployment_id is None:
            listed = "; ".join(f"{paths[number]}: {reason}" for number, reason in sorted(verdict.reasons.items()))
            raise FormatRefused(f"no drive is formatted, and not all are empty folders: {listed}")
        reasons = dict(verdict.reasons)
        for number in verdict.resume:
            take_on(paths[number], files)
        for number in verdict.replace:
            drive = identity(number, layout, verdict.deployment_id, verdict.mount_points, randomness)
            if reason := replace_drive(paths[number], drive, files, randomness):
                reasons[number] = reason
        return verdict.deployment_id, reasons


def report_on(path: str, files: FileSystem) -> DriveReport:
    """What is found at a drive's path."""
    try:
        found = read_format(path, files)
        if found is not None:
            return DriveReport(DriveCondition.FORMATTED, found)
        if not is_blank(path, files):
            return _unusable("there are files of somebody else on it; give liteio a folder of its own")
        pending = read_pending(path, files) if has_index(path, files) else None
    except FormatError as damage:
        return _unusable(f"its format.json is damaged ({damage}); empty the drive to have it rebuilt")
    except FileNotFoundError:
        return _unusable("the folder is not there; mount the drive, or make an empty folder to have it rebuilt")
    except OSError as trouble:
        return _unusable(f"it can not be read ({trouble.strerror}) by uid {os.geteuid()}")
    condition = DriveCondition.BLANK if pending is None else DriveCondition.PENDING
    return DriveReport(condition, pending, os.path.ismount(path))


def identity(
    number: int,
    layout: Layout,
    deployment_id: DeploymentId,
    mounts: tuple[tuple[bool, ...], ...],
    randomness: Randomness,
) -> DriveFormat:
    """A new one for the `number`-th drive of the pool."""
    set_index, slot = layout.place_of(number)
    return DriveFormat(
        deployment_id=deployment_id,
        drive_id=new_drive_id(randomness),
        set_index=set_index,
        slot=slot,
        set_count=layout.set_count,
        set_width=layout.set_width,
        parity=layout.parity,
        was_mount_point=mounts,
        pool=layout.pool,
    )


def prepare_drive(path: str, drive: DriveFormat, files: FileSystem, randomness: Randomness) -> None:
    """The first half of a first format: everything but the identity. Raises FormatRefused."""
    try:
        prepare(path, drive, is_authoritative=True, files=files, randomness=randomness)
    except OSError as trouble:
        raise FormatRefused(
            f"{path} can not be formatted: {trouble.strerror}; make it writable by uid {os.geteuid()}"
        ) from trouble


def replace_drive(path: str, drive: DriveFormat, files: FileSystem, randomness: Randomness) -> str:
    """Take an empty drive into its slot; the reason when that could not be done, else ""."""
    try:
        prepare(path, drive, is_authoritative=False, files=files, randomness=randomness)
        take_on(path, files)
    except OSError as trouble:
        return f"it is empty and can not be formatted: {trouble.strerror}; make it writable by uid {os.geteuid()}"
    _log.warning("drive %s was empty: formatted for set %s, slot %s, to be rebuilt", path, drive.set_index, drive.slot)
    return ""


def _unusable(reason: str) -> DriveReport:
    return DriveReport(DriveCondition.UNUSABLE, reason=reason)


def _make_folders(paths: Sequence[str]) -> None:
    for path in paths:
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as trouble:
            raise FormatRefused(f"{path} can not be made: {trouble.strerror}; name a folder that can") from trouble


def _format_all(
    paths: Sequence[str], reports: Sequence[DriveReport], layout: Layout, files: FileSystem, randomness: Randomness
) -> DeploymentId:
    """The first format: every drive is prepared before any takes on its identity."""
    deployment_id = new_deployment_id(randomness)
    mounts = mount_points_of(reports, layout)
    for number, path in enumerate(paths):
        prepare_drive(path, identity(number, layout, deployment_id, mounts, randomness), files, randomness)
    for path in paths:
        take_on(path, files)
    return deployment_id


@contextmanager
def _all_locked(paths: Sequence[str]) -> Iterator[None]:
    """One process of the machine decides at a time. The lock is on the folders themselves: there is
    nothing else yet."""
    with ExitStack() as held:
        for path in sorted(set(paths)):
            try:
                folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            except OSError:
                continue  # It is reported by whoever reads it.
            held.callback(os.close, folder)
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
