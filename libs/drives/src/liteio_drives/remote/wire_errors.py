"""StorageErrors on the wire: code, message and fields; back as the very class."""

from typing import Any, Final

import msgspec

from liteio_contracts.storage import ShardRef, VersionRef
from liteio_contracts.storage_errors import StorageError, rebuild_error

_TEXT_MAX: Final = 1000
_FIELD_BYTES_MAX: Final = 4096
_RESERVED: Final = frozenset(("self", "message"))  # parameters of StorageError itself


class WireError(msgspec.Struct, frozen=True, array_like=True):
    code: str
    message: str
    fields: dict[str, Any] = {}


def to_wire(error: StorageError) -> WireError:
    """Fields that msgpack can not carry, or that are long, travel as text."""
    fields = {name: _plain(value) for name, value in error.fields.items()}
    return WireError(error.code, error.message[:_TEXT_MAX], fields)


def from_wire(wire: WireError) -> StorageError:
    fields = {name: _typed(name, value) for name, value in wire.fields.items() if name not in _RESERVED}
    return rebuild_error(wire.code, wire.message, fields)


def _plain(value: Any) -> Any:
    try:
        if len(msgspec.msgpack.encode(value)) <= _FIELD_BYTES_MAX:
            return value
    except (TypeError, OverflowError):
        pass
    return repr(value)[:_TEXT_MAX]


def _typed(name: str, value: Any) -> Any:
    """A `ref` is a struct of the contract; everything else comes back as msgpack has it."""
    if name != "ref":
        return value
    for kind in (ShardRef, VersionRef):
        try:
            return msgspec.convert(value, kind)
        except msgspec.ValidationError:
            continue
    return value
