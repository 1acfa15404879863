"""Frames: how a body that is a stream is cut into messages. Bytes in, frames out; no I/O.

    length (u32, big-endian, of what follows `kind`) | kind (u8) | payload

Every kind has its own greatest length, checked before a byte of the payload is kept. Docs: docs/protocols/drive.md.
"""

import struct
from enum import IntEnum
from typing import Final, NamedTuple

from liteio_base.limits import KIB
from liteio_drives.remote.limits import (
    BLOCK_FRAME_BYTES_MAX,
    HASH_BYTES,
    MAC_BYTES,
    OPEN_BYTES_MAX,
    REPLY_BYTES_MAX,
    STREAM_BLOCKS_MAX,
)

_HEADER: Final = struct.Struct(">IB")
HEADER_BYTES: Final = _HEADER.size


class FrameKind(IntEnum):
    """The numbers travel on the wire."""

    REPLY = 1  # answer to one call, or the good end of a write stream
    OPEN = 2  # first of a write stream: which shard
    OPENED = 3  # its answer: the drive takes blocks
    BLOCK = 4  # one shard block, as read
    END = 5  # last of a stream: what came before it, counted and hashed
    ABORT = 6  # instead of END: forget what came
    HEAD = 7  # first of a read stream: the stored hashes
    ERROR = 8  # instead of anything: a StorageError
    HASHED_BLOCK = 9  # one shard block to write: its hash (32 bytes), then its bytes


_SEALED_BYTES_MAX: Final = REPLY_BYTES_MAX + MAC_BYTES
_BYTES_MAX: Final[dict[int, int]] = {
    FrameKind.REPLY: _SEALED_BYTES_MAX,
    FrameKind.OPEN: OPEN_BYTES_MAX,
    FrameKind.OPENED: KIB,
    FrameKind.BLOCK: BLOCK_FRAME_BYTES_MAX,
    FrameKind.HASHED_BLOCK: HASH_BYTES + BLOCK_FRAME_BYTES_MAX,
    FrameKind.END: KIB,
    FrameKind.ABORT: 0,
    FrameKind.HEAD: STREAM_BLOCKS_MAX * (HASH_BYTES + 2) + KIB,
    FrameKind.ERROR: 64 * KIB,
}


class Frame(NamedTuple):
    kind: FrameKind
    payload: bytes


class FrameError(ValueError):
    """These bytes are no frames of this protocol."""


def encode_frame(kind: FrameKind, *parts: bytes) -> bytes:
    """One frame; its payload is the parts, joined. Raises FrameError when it is longer than its kind may be."""
    length = sum(map(len, parts))
    if length > _BYTES_MAX[kind]:
        raise FrameError(f"a {kind.name} frame of {length} bytes is too long")
    return b"".join((_HEADER.pack(length, kind), *parts))


class FrameDecoder:
    """Cuts a stream of byte chunks into frames. Holds at most one unfinished frame and the last chunk.

    A frame that is refused poisons the decoder: a stream out of step never finds back.
    """

    __slots__ = ("_due", "_has_failed", "_held")

    def __init__(self, *, first: FrameKind | None = None) -> None:
        """`first`: the only kind that the stream may begin with; another's payload is not kept either."""
        self._held = bytearray()
        self._has_failed = False
        self._due = first

    def receive(self, chunk: bytes | memoryview) -> list[Frame]:
        """Take the next bytes; give the frames that are whole now. Raises FrameError."""
        if self._has_failed:
            raise FrameError("the stream was refused before")
        held = self._held
        held += chunk
        frames: list[Frame] = []
        start = 0
        with memoryview(held) as view:
            while len(view) - start >= HEADER_BYTES:
                kind, length = self._read_header(view, start)
                end = start + HEADER_BYTES + length
                if len(view) < end:
                    break
                frames.append(Frame(kind, bytes(view[start + HEADER_BYTES : end])))
                self._due = None
                start = end
        del held[:start]
        return frames

    @property
    def is_between_frames(self) -> bool:
        """False while a frame has begun and not ended: a stream that ends here was cut."""
        return not self._held

    def _read_header(self, view: memoryview, start: int) -> tuple[FrameKind, int]:
        length, kind = _HEADER.unpack_from(view, start)
        if length > _BYTES_MAX.get(kind, -1) or self._due not in (None, kind):
            self._has_failed = True
            raise FrameError(f"no frame of kind {kind} and {length} bytes")
        return FrameKind(kind), length
