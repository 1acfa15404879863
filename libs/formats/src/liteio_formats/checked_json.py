"""Small records that an admin can read with anything: JSON with a name, a version and a checksum, which makes a flipped
bit damage and not another content.

{"format": NAME, "version": 1, FIELD: {...}, "checksum": BLAKE2b, 16 bytes long, in hex, of FIELD as compact JSON}
"""

import hashlib
from typing import TypeVar

import msgspec

T = TypeVar("T", bound=msgspec.Struct)


class FormatError(ValueError):
    """These bytes are nothing that this version can read."""


def encode_checked(name: str, version: int, field: str, content: msgspec.Struct) -> bytes:
    """Indented JSON with a line end."""
    record = {"format": name, "version": version, field: content, "checksum": _checksum_of(content)}
    return msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n"


def decode_checked(encoded: bytes, name: str, version: int, field: str, kind: type[T]) -> T:
    """Check and decode. Raises FormatError."""
    try:
        members = msgspec.json.decode(encoded, type=dict[str, msgspec.Raw])
        _require_kind(members, name, version)
        if members.keys() != {"format", "version", field, "checksum"}:
            raise FormatError(f"it has the members {', '.join(sorted(members))}")
        content = msgspec.json.decode(members[field], type=kind)
        checksum = msgspec.json.decode(members["checksum"], type=str)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise FormatError(f"not a {name} record: {problem}") from problem
    if checksum != _checksum_of(content):
        raise FormatError("the checksum does not match the content")
    return content


def _require_kind(members: dict[str, msgspec.Raw], name: str, version: int) -> None:
    found_name = msgspec.json.decode(members.get("format", msgspec.Raw(b"null")), type=str | None)
    if found_name != name:
        raise FormatError(f"written by {found_name!r}, not by {name!r}")
    found_version = msgspec.json.decode(members.get("version", msgspec.Raw(b"null")), type=int | None)
    if found_version != version:
        raise FormatError(f"format {found_version} is not known here (this version reads {version})")


def _checksum_of(content: msgspec.Struct) -> str:
    return hashlib.blake2b(msgspec.json.encode(content, order="deterministic"), digest_size=16).hexdigest()
