"""The keyed hash of every shard block: HighwayHash-256, so that rot, misdirection and staleness all show.

The key is the block's address, so a block that is intact but stands in the wrong place, belongs to another part or is
left over from older data fails like a flipped bit does. It is not a secret, and this is no defence against an attacker.
Key layout and output: docs/formats/shard.md, "Block hashes". The one module that calls the hash, and the one that says
which kernel computes it: `_highway.c` where it was compiled and the processor has AVX2 (0.3 µs a call and 0.08 ns a
byte, with the interpreter's lock kept), else the package highwayhash-cffi (2 µs and 0.8-1.4 ns, with the lock free).
"""

import struct
from collections.abc import Callable
from typing import Final

from highwayhash import highwayhash_256

from liteio_base.check import check
from liteio_base.ids import DataId

try:
    from liteio_erasure import _highway
except ImportError:  # not compiled here, or a processor without AVX2
    HASH_KERNEL = "highwayhash-cffi"
    hash256: Callable[[bytes, bytes], bytes] = highwayhash_256
else:
    HASH_KERNEL = "avx2"
    hash256 = _highway.hash256

HASH_BYTES: Final = 32
KEEPS_LOCK: Final = HASH_KERNEL == "avx2"
_SCHEME: Final = 1  # reaches the disk: a change of hash or key layout takes the next number
_ADDRESS: Final = struct.Struct("<IHHQ")
_DATA_ID_BYTES: Final = 16
_KEY_BYTES: Final = _DATA_ID_BYTES + _ADDRESS.size


def hash_block(shard: bytes, data_id: DataId, part_number: int, shard_index: int, block_number: int) -> bytes:
    """The 32-byte hash of one shard block at its address. Parts count from 1, shards and blocks from 0."""
    key = bytes.fromhex(data_id) + _ADDRESS.pack(part_number, shard_index, _SCHEME, block_number)
    check(len(key) == _KEY_BYTES, "a data id is 32 hex digits")
    return hash256(key, shard)


def verify_block(
    shard: bytes, expected: bytes, data_id: DataId, part_number: int, shard_index: int, block_number: int
) -> bool:
    """Whether `shard` is what was written at this address, `expected` being the hash stored for it."""
    return hash_block(shard, data_id, part_number, shard_index, block_number) == expected
