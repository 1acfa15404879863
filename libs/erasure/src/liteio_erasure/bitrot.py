"""The keyed hash of every shard block: HighwayHash-256, so that rot, misdirection and staleness all show.

The key is the block's address, so a block that is intact but stands in the wrong place, belongs to another part or is
left over from older data fails like a flipped bit does. It is not a secret, and this is no defence against an attacker.
Key layout and output: docs/formats/shard.md, "Block hashes". The one module that calls the hash: a faster kernel goes
here. Cost: 0.8-1.4 ns a byte and 3-5 µs a call; the interpreter lock is free while the bytes are hashed.
"""

import struct
from typing import Final

from highwayhash import highwayhash_256

from liteio_base.check import check
from liteio_base.ids import DataId

HASH_BYTES: Final = 32
_SCHEME: Final = 1  # reaches the disk: a change of hash or key layout takes the next number
_ADDRESS: Final = struct.Struct("<IHHQ")
_DATA_ID_BYTES: Final = 16


def hash_block(shard: bytes, data_id: DataId, part_number: int, shard_index: int, block_number: int) -> bytes:
    """The 32-byte hash of one shard block at its address. Parts count from 1, shards and blocks from 0."""
    return highwayhash_256(_block_key(data_id, part_number, shard_index, block_number), shard)  # type: ignore[no-any-return]  # the package has no types


def verify_block(
    shard: bytes, expected: bytes, data_id: DataId, part_number: int, shard_index: int, block_number: int
) -> bool:
    """Whether `shard` is what was written at this address, `expected` being the hash stored for it."""
    return hash_block(shard, data_id, part_number, shard_index, block_number) == expected


def _block_key(data_id: DataId, part_number: int, shard_index: int, block_number: int) -> bytes:
    identity = bytes.fromhex(data_id)
    check(len(identity) == _DATA_ID_BYTES, "a data id is 32 hex digits")
    return identity + _ADDRESS.pack(part_number, shard_index, _SCHEME, block_number)
