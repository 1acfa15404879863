"""Frames of answers: sealed, so that a client takes no word for the node's that is not."""

import msgspec

from liteio_drives.remote.frames import FrameKind, encode_frame
from liteio_drives.remote.sealing import ExchangeKey
from liteio_drives.remote.wire_errors import to_wire
from liteio_storage_node.errors import wire_error_of


def sealed_frame(kind: FrameKind, payload: bytes, key: ExchangeKey) -> bytes:
    return encode_frame(kind, key.seal_answer(kind, payload), payload)


def error_frame(problem: Exception, key: ExchangeKey) -> bytes:
    """Whatever went wrong, as the StorageError that the caller is to see."""
    return sealed_frame(FrameKind.ERROR, msgspec.msgpack.encode(to_wire(wire_error_of(problem))), key)
