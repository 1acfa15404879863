"""format.json: which deployment, which set and which slot a drive belongs to. docs/formats/format-json.md.

It is text so that an admin can read it with anything, and it carries a checksum so that a flipped bit is damage and not
another identity.
"""

from typing import Final

import msgspec

from liteio_base.ids import DeploymentId, DriveId
from liteio_formats.checked_json import FormatError, decode_checked, encode_checked

FORMAT_NAME: Final = "liteio"
FORMAT_VERSION: Final = 1


class DriveFormat(msgspec.Struct, frozen=True, kw_only=True):
    """A formatted drive's identity and the layout that it was formatted into.

    slot: place within the set. was_mount_point: by set, by slot: whether the drive was a mount point when it was
    formatted; an empty folder in such a slot that lies on its parent's device is an unmounted drive.
    """

    deployment_id: DeploymentId
    drive_id: DriveId
    set_index: int
    slot: int
    set_count: int
    set_width: int
    parity: int
    was_mount_point: tuple[tuple[bool, ...], ...]
    pool: int = 0


def encode_format(drive: DriveFormat) -> bytes:
    """Indented JSON with a line end."""
    return encode_checked(FORMAT_NAME, FORMAT_VERSION, "drive", drive)


def decode_format(encoded: bytes) -> DriveFormat:
    """Check and decode. Raises FormatError."""
    drive = decode_checked(encoded, FORMAT_NAME, FORMAT_VERSION, "drive", DriveFormat)
    _check_layout(drive)
    return drive


def _check_layout(drive: DriveFormat) -> None:
    is_inside = 0 <= drive.set_index < drive.set_count and 0 <= drive.slot < drive.set_width
    flags = drive.was_mount_point
    if not is_inside or len(flags) != drive.set_count or any(len(row) != drive.set_width for row in flags):
        raise FormatError("the slot and the layout contradict one another")
