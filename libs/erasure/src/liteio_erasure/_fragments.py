"""The 80-byte header that liberasurecode puts before every fragment: stripped before storing, made again to decode.

Storing it would cost 80 bytes a shard block and tie the format on disk to one library's version; the keyed hash
(`bitrot.py`) and the record already say all it says. Only three of its fields depend on the fragment; the rest is taken
from a fragment that the library itself just made, so an upgraded library finds its own version number there.
Source: liberasurecode `erasurecode.h`, `fragment_header_t` (packed, native byte order):
offset 0 index u32, 4 fragment payload size u32, 12 block length u64, 59 magic, 67 CRC-32 of bytes 0 to 58.
"""

import struct
import zlib
from collections.abc import Sequence
from typing import Final

from liteio_erasure.errors import CodecError

HEADER_BYTES: Final = 80
_PAYLOAD_SIZE_AT: Final = 4
_BLOCK_LENGTH_AT: Final = 12
_METADATA_BYTES: Final = 59
_CHECKSUM_AT: Final = 67
_U32: Final = struct.Struct("=I")
_U64: Final = struct.Struct("=Q")


def make_header(template: bytes, shard_bytes: int, block_length: int) -> bytes:
    """A copy of `template` (a header of the same index) for a fragment of another size."""
    header = bytearray(template)
    _U32.pack_into(header, _PAYLOAD_SIZE_AT, shard_bytes)
    _U64.pack_into(header, _BLOCK_LENGTH_AT, block_length)
    _U32.pack_into(header, _CHECKSUM_AT, zlib.crc32(header[:_METADATA_BYTES]))
    return bytes(header)


def learn_templates(
    short: Sequence[bytes], longer: Sequence[bytes], shard_bytes: int, block_length: int
) -> list[bytes]:
    """Header templates from the fragments of a short block, proven on those of a `longer` one.

    `shard_bytes` and `block_length` describe the longer block. Raises CodecError if the library's header is not the one
    this module knows: better no start than a store that can not decode when a drive is lost.
    """
    templates = [fragment[:HEADER_BYTES] for fragment in short]
    for template, fragment in zip(templates, longer, strict=True):
        if make_header(template, shard_bytes, block_length) != fragment[:HEADER_BYTES]:
            raise CodecError(
                "this liberasurecode writes a fragment header that liteio does not know; install the pinned pyeclib"
            )
    return templates
