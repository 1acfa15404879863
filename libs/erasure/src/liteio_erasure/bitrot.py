"""The keyed hash of every shard block: HighwayHash-256, so that rot, misdirection and staleness all show.

The key is the block's address, so a block that is intact but stands in the wrong place, belongs to another part or is
left over from older data fails like a flipped bit does. It is not a secret, and this is no defence against an attacker.
Key layout and output: docs/formats/shard.md, "Block hashes". The one module that calls the hash, and the one that says
which kernel computes it: `_highway.c` where it was compiled and the processor has AVX2 (0.1 ns a byte of one block,
half of that of several together, with the interpreter's lock kept), else the package highwayhash-cffi (0.8-1.4 ns, with
the lock free).
"""

import struct
from collections.abc import Callable, Sequence
from typing import Final

from highwayhash import highwayhash_256

from liteio_base.check import check
from liteio_base.ids import DataId

try:
    from liteio_erasure import _highway
except ImportError:  # not compiled here, or a processor without AVX2
    HASH_KERNEL = "highwayhash-cffi"

    def _one_by_one(keys: list[bytes], pieces: list[bytes]) -> list[bytes]:
        return list(map(highwayhash_256, keys, pieces))

    hash256_each: Callable[[list[bytes], list[bytes]], list[bytes]] = _one_by_one
else:
    HASH_KERNEL = "avx2"
    hash256_each = _highway.hash256_each

HASH_BYTES: Final = 32
KEEPS_LOCK: Final = HASH_KERNEL == "avx2"
_SCHEME: Final = 1  # reaches the disk: a change of hash or key layout takes the next number
_ADDRESS: Final = struct.Struct("<IHHQ")
_DATA_ID_BYTES: Final = 16


def hash_blocks(
    shards: Sequence[bytes], data_id: DataId, part_number: int, places: Sequence[tuple[int, int]]
) -> list[bytes]:
    """The 32-byte hashes of shard blocks of one part, each at its place: its shard index and its block number. Parts
    count from 1, shards and blocks from 0. Several together take half as long as one after the other.
    """
    part = bytes.fromhex(data_id)
    check(len(part) == _DATA_ID_BYTES, "a data id is 32 hex digits")
    check(len(shards) == len(places), "every shard block has a place")
    keys = [part + _ADDRESS.pack(part_number, index, _SCHEME, block) for index, block in places]
    return hash256_each(keys, list(shards))


def wrong_blocks(
    shards: Sequence[bytes],
    expected: Sequence[bytes],
    data_id: DataId,
    part_number: int,
    places: Sequence[tuple[int, int]],
) -> list[int]:
    """Which of `shards`, counted from 0, are not what was written at their places, `expected` being the hashes stored
    for them."""
    hashes = hash_blocks(shards, data_id, part_number, places)
    return [number for number, pair in enumerate(zip(hashes, expected, strict=True)) if pair[0] != pair[1]]


def hash_block(shard: bytes, data_id: DataId, part_number: int, shard_index: int, block_number: int) -> bytes:
    """`hash_blocks` of one."""
    return hash_blocks((shard,), data_id, part_number, ((shard_index, block_number),))[0]


def verify_block(
    shard: bytes, expected: bytes, data_id: DataId, part_number: int, shard_index: int, block_number: int
) -> bool:
    """Whether `shard` is what was written at this address, `expected` being the hash stored for it."""
    return not wrong_blocks((shard,), (expected,), data_id, part_number, ((shard_index, block_number),))
