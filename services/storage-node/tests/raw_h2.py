"""HTTP/2 as bytes, for what no client library sends. RFC 9113; header blocks are HPACK literals (RFC 7541, 6.2.2)."""

import struct
from enum import IntEnum
from typing import Final, NamedTuple

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
END_STREAM: Final = 0x1
ACK: Final = 0x1
END_HEADERS: Final = 0x4


class Kind(IntEnum):
    """Frame types."""

    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class H2Frame(NamedTuple):
    kind: int
    flags: int
    stream: int
    payload: bytes


def frame(kind: Kind, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + struct.pack(">BBI", kind, flags, stream) + payload


def header_block(*headers: tuple[bytes, bytes]) -> bytes:
    return b"".join(b"\x00" + _text(name) + _text(value) for name, value in headers)


def request_block(path: str, *more: tuple[bytes, bytes], method: str = "POST") -> bytes:
    return header_block(
        (b":method", method.encode()),
        (b":scheme", b"http"),
        (b":path", path.encode()),
        (b":authority", b"node.example"),
        *more,
    )


def headers_frame(
    stream: int, path: str, *more: tuple[bytes, bytes], method: str = "POST", ends: bool = False
) -> bytes:
    flags = END_HEADERS | (END_STREAM if ends else 0)
    return frame(Kind.HEADERS, flags, stream, request_block(path, *more, method=method))


def data_frame(stream: int, payload: bytes, *, ends: bool = False) -> bytes:
    return frame(Kind.DATA, END_STREAM if ends else 0, stream, payload)


def settings_frame(*pairs: tuple[int, int]) -> bytes:
    return frame(Kind.SETTINGS, 0, 0, b"".join(struct.pack(">HI", number, value) for number, value in pairs))


SETTINGS: Final = settings_frame()


def frames_of(stream: bytes) -> list[H2Frame]:
    """The whole frames at the beginning of `stream`."""
    found, at = [], 0
    while at + 9 <= len(stream):
        length = int.from_bytes(stream[at : at + 3], "big")
        if at + 9 + length > len(stream):
            break
        kind, flags, number = struct.unpack_from(">BBI", stream, at + 3)
        found.append(H2Frame(kind, flags, number & 0x7FFFFFFF, stream[at + 9 : at + 9 + length]))
        at += 9 + length
    return found


def _text(text: bytes) -> bytes:
    """Its length as an integer with a prefix of 7 bits (RFC 7541, 5.1), no Huffman code, then itself."""
    if len(text) < 127:
        return bytes((len(text),)) + text
    left, digits = len(text) - 127, bytearray((127,))
    while left >= 128:
        digits.append(left % 128 + 128)
        left //= 128
    digits.append(left)
    return bytes(digits) + text
