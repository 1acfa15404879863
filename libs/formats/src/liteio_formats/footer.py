"""The footer of a shard file: what the file is, and each block's hash. docs/formats/shard-footer.md draws it.

A shard file is the shards of a part's blocks one behind the other, zeros up to the next multiple of ALIGNMENT_BYTES,
and the footer, itself a multiple of ALIGNMENT_BYTES long, so that the whole file can be written by direct I/O. The
footer ends in a trailer of fixed size: whoever has the file's last bytes finds the rest.
"""

import hashlib
import struct
from dataclasses import dataclass
from typing import Final

from liteio_base.check import check
from liteio_base.ids import DataId

ALIGNMENT_BYTES: Final = 4096
HASH_BYTES: Final = 32
FORMAT_VERSION: Final = 1
MAGIC: Final = b"LIOF"
TRAILER_MAGIC: Final = b"LIOSHARD"
BLOCKS_MAX: Final = 1 << 20  # a footer above 32 MiB is damage, not a footer

_HEADER: Final = struct.Struct("<4sHBB16sIB3xQIIQII")
_TRAILER: Final = struct.Struct("<32sIHH8s")
TRAILER_BYTES: Final = _TRAILER.size
_CHECKSUM_BYTES: Final = 32


class FooterError(ValueError):
    """These bytes are no footer that this version can read."""


@dataclass(frozen=True, slots=True)
class ShardFooter:
    """What a shard file says of itself.

    part_size_bytes: of the object's part, before coding. block_bytes: of a full block of the part.
    shard_block_bytes: of a full block's shard in this file; every block but the last has it. data_bytes: of all shards.
    hashes: HASH_BYTES each, one a block (liteio_erasure.bitrot makes them).
    """

    data_id: DataId
    part_number: int
    shard_index: int
    k: int
    m: int
    part_size_bytes: int
    block_bytes: int
    shard_block_bytes: int
    data_bytes: int
    hashes: tuple[bytes, ...]

    @property
    def file_bytes(self) -> int:
        """The length of the file that this footer ends."""
        return align_up(self.data_bytes) + footer_bytes(len(self.hashes))


def align_up(length: int) -> int:
    return -(-length // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


def footer_bytes(block_count: int) -> int:
    """How long the footer of a file of `block_count` blocks is."""
    return align_up(_HEADER.size + block_count * HASH_BYTES + TRAILER_BYTES)


def encode_footer(footer: ShardFooter) -> bytes:
    """Header, hashes, zeros, trailer. Length: `footer_bytes(len(footer.hashes))`."""
    check(all(len(one) == HASH_BYTES for one in footer.hashes), "a block's hash has 32 bytes")
    check(len(footer.hashes) <= BLOCKS_MAX, "a shard file has at most BLOCKS_MAX blocks")
    header = _HEADER.pack(
        MAGIC,
        FORMAT_VERSION,
        footer.k,
        footer.m,
        bytes.fromhex(footer.data_id),
        footer.part_number,
        footer.shard_index,
        footer.part_size_bytes,
        footer.block_bytes,
        footer.shard_block_bytes,
        footer.data_bytes,
        len(footer.hashes),
        HASH_BYTES,
    )
    length = footer_bytes(len(footer.hashes))
    content = b"".join((header, *footer.hashes)).ljust(length - TRAILER_BYTES, b"\x00")
    return content + _trailer_of(content, length)


def trailer_says(tail: bytes) -> int:
    """The length of the whole footer, from the last TRAILER_BYTES or more of a file. Raises FooterError."""
    if len(tail) < TRAILER_BYTES:
        raise FooterError("the file is too short to end in a footer")
    _, length, version, _, magic = _TRAILER.unpack(tail[-TRAILER_BYTES:])
    if magic != TRAILER_MAGIC:
        raise FooterError("the trailer's magic is missing")
    if version != FORMAT_VERSION:
        raise FooterError(f"shard format {version} is not known here (this version reads {FORMAT_VERSION})")
    if length % ALIGNMENT_BYTES or not ALIGNMENT_BYTES <= length <= footer_bytes(BLOCKS_MAX):
        raise FooterError(f"no footer is {length} bytes long")
    return int(length)


def decode_footer(encoded: bytes) -> ShardFooter:
    """Check and decode a whole footer. Raises FooterError: other magic, newer format, wrong checksum or length."""
    if trailer_says(encoded) != len(encoded):
        raise FooterError("the footer is not as long as its trailer says")
    content = encoded[:-TRAILER_BYTES]
    if _trailer_of(content, len(encoded)) != encoded[-TRAILER_BYTES:]:
        raise FooterError("the footer's checksum does not match its bytes")
    magic, version, k, m, data_id, part, index, part_size, block, shard_block, data, count, hash_bytes = (
        _HEADER.unpack_from(content)
    )
    if magic != MAGIC or version != FORMAT_VERSION or hash_bytes != HASH_BYTES or footer_bytes(count) != len(encoded):
        raise FooterError("the footer's header does not fit its trailer")
    start = _HEADER.size
    hashes = tuple(content[at : at + HASH_BYTES] for at in range(start, start + count * HASH_BYTES, HASH_BYTES))
    footer = ShardFooter(DataId(data_id.hex()), part, index, k, m, part_size, block, shard_block, data, hashes)
    if not _is_consistent(footer):
        raise FooterError("the footer's lengths contradict one another")
    return footer


def _is_consistent(footer: ShardFooter) -> bool:
    count, each = len(footer.hashes), footer.shard_block_bytes
    if count == 0:
        return footer.data_bytes == 0
    return each > 0 and (count - 1) * each < footer.data_bytes <= count * each


def _trailer_of(content: bytes, length: int) -> bytes:
    # The checksum covers the trailer's own fields too: every bit of the footer is guarded.
    fields = _TRAILER.pack(b"", length, FORMAT_VERSION, 0, TRAILER_MAGIC)[_CHECKSUM_BYTES:]
    hasher = hashlib.blake2b(content, digest_size=_CHECKSUM_BYTES)
    hasher.update(fields)
    return hasher.digest() + fields
