"""format.json: which deployment, which set and which slot a drive belongs to. docs/formats/format-json.md.

It is text so that an admin can read it with anything, and it carries a checksum so that a flipped bit is damage and not
another identity.
"""

import hashlib
from typing import Final

import msgspec

from liteio_base.ids import DeploymentId, DriveId

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


class FormatError(ValueError):
    """These bytes are no format.json that this version can read."""


class _File(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    format: str
    version: int
    drive: DriveFormat
    checksum: str


class _Envelope(msgspec.Struct, frozen=True):
    format: str
    version: int


_file_decoder: Final = msgspec.json.Decoder(_File)
_envelope_decoder: Final = msgspec.json.Decoder(_Envelope)


def encode_format(drive: DriveFormat) -> bytes:
    """Indented JSON with a line end."""
    file = _File(format=FORMAT_NAME, version=FORMAT_VERSION, drive=drive, checksum=_checksum_of(drive))
    return msgspec.json.format(msgspec.json.encode(file), indent=2) + b"\n"


def decode_format(encoded: bytes) -> DriveFormat:
    """Check and decode. Raises FormatError."""
    try:
        envelope = _envelope_decoder.decode(encoded)
        if envelope.format != FORMAT_NAME:
            raise FormatError(f"written by {envelope.format!r}, not by {FORMAT_NAME!r}")
        if envelope.version != FORMAT_VERSION:
            raise FormatError(f"format {envelope.version} is not known here (this version reads {FORMAT_VERSION})")
        file = _file_decoder.decode(encoded)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise FormatError(f"not a format.json: {problem}") from problem
    if file.checksum != _checksum_of(file.drive):
        raise FormatError("the checksum does not match the content")
    _check_layout(file.drive)
    return file.drive


def _check_layout(drive: DriveFormat) -> None:
    is_inside = 0 <= drive.set_index < drive.set_count and 0 <= drive.slot < drive.set_width
    flags = drive.was_mount_point
    if not is_inside or len(flags) != drive.set_count or any(len(row) != drive.set_width for row in flags):
        raise FormatError("the slot and the layout contradict one another")


def _checksum_of(drive: DriveFormat) -> str:
    return hashlib.blake2b(msgspec.json.encode(drive, order="deterministic"), digest_size=16).hexdigest()
