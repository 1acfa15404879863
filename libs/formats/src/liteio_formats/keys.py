"""Keys of the spaces that are not objects': uploads sorted by object key, parts sorted by number."""

from typing import Final

from liteio_base.ids import UploadId

_TERMINATOR: Final = b"\x00\x00"
_ESCAPED_NUL: Final = b"\x00\xff"
_PART_DIGITS: Final = 5


def upload_key(object_key: bytes, upload_id: UploadId) -> bytes:
    """Sorts by (object key, upload id): NUL in the object key becomes 00 FF, 00 00 ends it, the id follows."""
    return upload_prefix(object_key) + _TERMINATOR + upload_id.encode()


def upload_prefix(object_key_prefix: bytes) -> bytes:
    """What every upload key of an object key with this prefix starts with."""
    return object_key_prefix.replace(b"\x00", _ESCAPED_NUL)


def split_upload_key(key: bytes) -> tuple[bytes, UploadId]:
    """Object key and upload id. Raises ValueError when `key` was not made by `upload_key`."""
    escaped, terminator, upload_id = key.rpartition(_TERMINATOR)
    if not terminator:
        raise ValueError(f"not an upload key: {key!r}")
    return escaped.replace(_ESCAPED_NUL, b"\x00"), UploadId(upload_id.decode())


def part_key(upload_id: UploadId, number: int) -> bytes:
    """Sorts by (upload id, part number)."""
    return part_prefix(upload_id) + f"{number:0{_PART_DIGITS}d}".encode()


def part_prefix(upload_id: UploadId) -> bytes:
    return upload_id.encode() + b"/"


def part_number_of(key: bytes) -> int:
    return int(key[-_PART_DIGITS:])
