"""One drive's identity on disk: format.json, its folders, its index. liteio_drives.format_set decides about sets."""

import os
from typing import Final

from liteio_base.clock import Randomness
from liteio_base.ids import new_generation
from liteio_contracts.storage_errors import DriveOffline
from liteio_drives.boot_check import BootCheck
from liteio_drives.files import FileSystem, read_file, stage_durably
from liteio_drives.index import INDEX_NAME, create_index
from liteio_drives.index_changes import Meta
from liteio_drives.limits import DATA_FOLDERS
from liteio_drives.shard_folder import DATA_FOLDER
from liteio_formats.checked_json import FormatError
from liteio_formats.format_json import DriveFormat, decode_format, encode_format

SYSTEM_FOLDER: Final = ".liteio.sys"
FORMAT_NAME: Final = "format.json"
LOCK_NAME: Final = "index.lock"
_PENDING_SUFFIX: Final = ".pending"
_DOUBT_NAME: Final = "not-authoritative"


def system_folder(drive_path: str) -> str:
    return os.path.join(drive_path, SYSTEM_FOLDER)


def has_format(drive_path: str) -> bool:
    """Whether the drive has an identity, readable or not."""
    return os.path.exists(_format_path(drive_path))


def read_format(drive_path: str, files: FileSystem) -> DriveFormat | None:
    """The drive's identity; None when it has none. Raises FormatError when it is damaged, OSError."""
    return _read(_format_path(drive_path), files)


def read_pending(drive_path: str, files: FileSystem) -> DriveFormat | None:
    """An identity that was prepared and not yet taken on, because formatting was cut short."""
    try:
        return _read(_format_path(drive_path) + _PENDING_SUFFIX, files)
    except FormatError:
        return None  # cut short while it was written: as good as not there


def is_blank(drive_path: str, files: FileSystem) -> bool:
    """Whether nothing of ours and nothing of anybody's is on the drive (what mkfs leaves and what a format that was cut
    short left does not count).
    """
    names = set(files.names(drive_path)) - {"lost+found"}
    if not names <= {SYSTEM_FOLDER, DATA_FOLDER}:
        return False
    if DATA_FOLDER in names:
        root = os.path.join(drive_path, DATA_FOLDER)
        if any(files.names(os.path.join(root, name)) for name in files.names(root)):
            return False
    if SYSTEM_FOLDER not in names:
        return True
    # An index beside a pending identity is an unfinished format; an index alone is a drive that lost its identity.
    held = set(files.names(system_folder(drive_path)))
    return INDEX_NAME not in held or FORMAT_NAME + _PENDING_SUFFIX in held


def prepare(
    drive_path: str, drive: DriveFormat, *, is_authoritative: bool, files: FileSystem, randomness: Randomness
) -> None:
    """Make everything but the identity, durably. Until `take_on` the drive counts as blank."""
    folder = system_folder(drive_path)
    files.make_folder(folder)
    make_data_folders(drive_path, files)
    stage_durably(files, _format_path(drive_path) + _PENDING_SUFFIX, encode_format(drive))
    renew_index(drive_path, drive, is_authoritative=is_authoritative, files=files, randomness=randomness)
    BootCheck(folder, files).note()  # There is nothing yet that it could have lost.
    files.sync_folder(drive_path)


def make_data_folders(drive_path: str, files: FileSystem) -> None:
    """All 256, which are there for good: a shard's folder is never made while it is written."""
    root = os.path.join(drive_path, DATA_FOLDER)
    files.make_folder(root)
    missing = {f"{number:02x}" for number in range(DATA_FOLDERS)} - set(files.names(root))
    for name in missing:
        files.make_folder(os.path.join(root, name))
    if missing:
        files.sync_folder(root)
        files.sync_folder(drive_path)


def renew_index(
    drive_path: str,
    drive: DriveFormat,
    *,
    is_authoritative: bool,
    files: FileSystem,
    randomness: Randomness,
    vfs: str = "",
) -> None:
    """An empty index with a generation that no writer has ever seen."""
    meta = Meta(drive.drive_id, new_generation(randomness), is_authoritative)
    create_index(system_folder(drive_path), meta, files, vfs=vfs)


def take_on(drive_path: str, files: FileSystem) -> None:
    """Give the prepared identity its name: from here on the drive is formatted."""
    path = _format_path(drive_path)
    files.rename(path + _PENDING_SUFFIX, path)
    files.sync_folder(system_folder(drive_path))


def has_index(drive_path: str, files: FileSystem) -> bool:
    try:
        return files.stat(os.path.join(system_folder(drive_path), INDEX_NAME)).size_bytes > 0
    except FileNotFoundError:
        return False


def doubt(drive_path: str, files: FileSystem) -> None:
    """Note beside the index, which can not be trusted with it, that the drive may have lost writes. Raises OSError."""
    stage_durably(files, _doubt_path(drive_path), b"a sync failed: what was written last may be lost\n")


def is_doubted(drive_path: str, files: FileSystem) -> bool:
    try:
        files.stat(_doubt_path(drive_path))
    except FileNotFoundError:
        return False
    return True


def clear_doubt(drive_path: str, files: FileSystem) -> None:
    """After the index says durably that the drive is not authoritative."""
    files.unlink(_doubt_path(drive_path))
    files.sync_folder(system_folder(drive_path))


def require_slot(drive_path: str, found: DriveFormat | None, slot: int) -> DriveFormat:
    """Raises DriveOffline when the drive is not formatted, or for another slot."""
    if found is None:
        raise DriveOffline("the drive is not formatted", path=drive_path)
    if found.slot != slot:
        raise DriveOffline("the drive belongs to another slot", path=drive_path, slot=found.slot, expected=slot)
    return found


def _read(path: str, files: FileSystem) -> DriveFormat | None:
    try:
        return decode_format(read_file(files, path))
    except (FileNotFoundError, NotADirectoryError):
        return None


def _format_path(drive_path: str) -> str:
    return os.path.join(system_folder(drive_path), FORMAT_NAME)


def _doubt_path(drive_path: str) -> str:
    return os.path.join(system_folder(drive_path), _DOUBT_NAME)
