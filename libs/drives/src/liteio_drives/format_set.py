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
from collections import Counter
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
from liteio_drives.limits import DriveSettings
from liteio_drives.local_drive import LocalDrive
from liteio_drives.offline_drive import OfflineDrive
from liteio_formats.format_json import DriveFormat, FormatError

_log = logging.getLogger(__name__)

_OPEN_PAUSES_SECONDS: Final = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 2.0)


class FormatRefused(Exception):
    """The drives can not be opened as they are. The message says what is wrong, where, and what to do."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the drives are arranged: `set_count` sets of `set_width` drives, in the order given."""

    set_count: int
    set_width: int
    parity: int


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
        formats, reasons = _read_all(paths, files)
        if formats:
            return _join(paths, layout, formats, reasons, files, randomness)
        if reasons:
            listed = "; ".join(f"{paths[number]}: {reason}" for number, reason in sorted(reasons.items()))
            raise FormatRefused(f"no drive is formatted, and not all are empty folders: {listed}")
        return _format_all(paths, layout, files, randomness), {}


def _make_folders(paths: Sequence[str]) -> None:
    for path in paths:
        try:
            os.makedirs(path, exist_ok=True)
        except OSError as trouble:
            raise FormatRefused(f"{path} can not be made: {trouble.strerror}; name a folder that can") from trouble


def _read_all(paths: Sequence[str], files: FileSystem) -> tuple[dict[int, DriveFormat], dict[int, str]]:
    """The identities found, and the reasons against drives that have none and are not blank."""
    formats: dict[int, DriveFormat] = {}
    reasons: dict[int, str] = {}
    for number, path in enumerate(paths):
        try:
            found = read_format(path, files)
            if found is not None:
                formats[number] = found
            elif not is_blank(path, files):
                reasons[number] = "there are files of somebody else on it; give liteio a folder of its own"
        except FormatError as damage:
            reasons[number] = f"its format.json is damaged ({damage}); empty the drive to have it rebuilt"
        except FileNotFoundError:
            reasons[number] = "the folder is not there; mount the drive, or make an empty folder to have it rebuilt"
        except OSError as trouble:
            reasons[number] = f"it can not be read ({trouble.strerror}) by uid {os.geteuid()}"
    return formats, reasons


def _format_all(paths: Sequence[str], layout: Layout, files: FileSystem, randomness: Randomness) -> DeploymentId:
    """The first format: every drive is prepared before any takes on its identity."""
    deployment_id = new_deployment_id(randomness)
    mounts = _mount_points(paths, layout)
    for number, path in enumerate(paths):
        drive = _identity(number, layout, deployment_id, mounts, randomness)
        try:
            prepare(path, drive, is_authoritative=True, files=files, randomness=randomness)
        except OSError as trouble:
            raise FormatRefused(
                f"{path} can not be formatted: {trouble.strerror}; make it writable by uid {os.geteuid()}"
            ) from trouble
    for path in paths:
        take_on(path, files)
    return deployment_id


def _join(
    paths: Sequence[str],
    layout: Layout,
    formats: dict[int, DriveFormat],
    reasons: dict[int, str],
    files: FileSystem,
    randomness: Randomness,
) -> tuple[DeploymentId, dict[int, str]]:
    """Open an existing deployment: refuse what is foreign or misplaced, format what was replaced."""
    [(deployment_id, _)] = Counter(drive.deployment_id for drive in formats.values()).most_common(1)
    known = next(drive for drive in formats.values() if drive.deployment_id == deployment_id)
    if Layout(known.set_count, known.set_width, known.parity) != layout:
        raise FormatRefused(
            f"the drives were formatted as {known.set_count} set(s) of {known.set_width} drives with parity "
            f"{known.parity}, but {layout.set_count} set(s) of {layout.set_width} with parity {layout.parity} are "
            "asked for; give the same drives and parity as the first time"
        )
    for number, drive in formats.items():
        place = divmod(number, layout.set_width)
        if drive.deployment_id != deployment_id:
            reasons[number] = f"it belongs to another deployment ({drive.deployment_id})"
        elif (drive.set_index, drive.slot) != place:
            reasons[number] = (
                f"it is the drive of set {drive.set_index}, slot {drive.slot}, and stands in the place of set "
                f"{place[0]}, slot {place[1]}; give the drives in their first order"
            )
    blank = [number for number in range(len(paths)) if number not in formats and number not in reasons]
    blank = [number for number in blank if not _resume(number, paths[number], layout, deployment_id, files)]
    for set_index in range(layout.set_count):
        in_set = [number for number in blank if number // layout.set_width == set_index]
        if len(in_set) > layout.parity:
            # More than the set can lose: most likely they are not mounted, and formatting them would hide it.
            reasons |= dict.fromkeys(
                in_set, f"it is empty, and so are {len(in_set)} drives of set {set_index}: mount them"
            )
            continue
        for number in in_set:
            reason = _replace(number, paths, layout, known, files, randomness)
            if reason is not None:
                reasons[number] = reason
    return deployment_id, reasons


def _resume(number: int, path: str, layout: Layout, deployment_id: DeploymentId, files: FileSystem) -> bool:
    """Whether the drive only lacked the last step of the first format, which was cut short. It is done then."""
    pending = read_pending(path, files)
    if pending is None or pending.deployment_id != deployment_id or not has_index(path, files):
        return False
    if (pending.set_index, pending.slot) != divmod(number, layout.set_width):
        return False
    take_on(path, files)
    return True


def _replace(
    number: int, paths: Sequence[str], layout: Layout, known: DriveFormat, files: FileSystem, randomness: Randomness
) -> str | None:
    """Take an empty drive into its slot; the reason when that must not be done."""
    set_index, slot = divmod(number, layout.set_width)
    path = paths[number]
    if known.was_mount_point[set_index][slot] and not os.path.ismount(path):
        return "it was a mount point and nothing is mounted there now; mount the drive"
    try:
        drive = _identity(number, layout, known.deployment_id, known.was_mount_point, randomness)
        prepare(path, drive, is_authoritative=False, files=files, randomness=randomness)
        take_on(path, files)
    except OSError as trouble:
        return f"it is empty and can not be formatted: {trouble.strerror}; make it writable by uid {os.geteuid()}"
    _log.warning("drive %s was empty: formatted for set %s, slot %s, to be rebuilt", path, set_index, slot)
    return None


def _identity(
    number: int,
    layout: Layout,
    deployment_id: DeploymentId,
    mounts: tuple[tuple[bool, ...], ...],
    randomness: Randomness,
) -> DriveFormat:
    set_index, slot = divmod(number, layout.set_width)
    return DriveFormat(
        deployment_id=deployment_id,
        drive_id=new_drive_id(randomness),
        set_index=set_index,
        slot=slot,
        set_count=layout.set_count,
        set_width=layout.set_width,
        parity=layout.parity,
        was_mount_point=mounts,
    )


def _mount_points(paths: Sequence[str], layout: Layout) -> tuple[tuple[bool, ...], ...]:
    flags = [os.path.ismount(path) for path in paths]
    width = layout.set_width
    return tuple(tuple(flags[start : start + width]) for start in range(0, len(flags), width))


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
