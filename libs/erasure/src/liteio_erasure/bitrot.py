"""The keyed hash of every shard block: HighwayHash-256, so that rot, misdirection and staleness all show.

The key is the block's address, so a block that is intact but stands in the wrong place, belongs to another part or is
left over from older data fails like a flipped bit does. It is not a secret, and this is no defence against an attacker.
Key layout and output: docs/formats/shard.md, "Block hashes". The one module that calls the hash: a faster kernel goes
here. Cost: 0.8-1.4 ns a byte and 1-2 µs a call. The interpreter's lock is free while many bytes are hashed, and kept
while few are: to get it back from busy threads takes up to ten times as long as 2 KiB (a GET of 4 KiB: 126 µs of
processor time on the event loop against 66 µs).
"""

import ctypes
import struct
from collections.abc import Callable
from typing import Any, Final

from highwayhash import _highwayhash, highwayhash_256

from liteio_base.check import check
from liteio_base.ids import DataId
from liteio_base.limits import INLINE_SHARD_BYTES_MAX

HASH_BYTES: Final = 32
_SCHEME: Final = 1  # reaches the disk: a change of hash or key layout takes the next number
_ADDRESS: Final = struct.Struct("<IHHQ")
_DATA_ID_BYTES: Final = 16
_KEY_BYTES: Final = _DATA_ID_BYTES + _ADDRESS.size
_Sum: Final = ctypes.c_char * HASH_BYTES


def _keeping_the_lock() -> Callable[[bytes, bytes], bytes]:
    """`highwayhash_256` as the package has it in C, called so that the interpreter's lock is kept; itself where its
    library does not show it."""
    try:
        compute: Any = ctypes.PyDLL(_highwayhash.__file__).HighwayHash256
    except (OSError, AttributeError):
        return highwayhash_256  # type: ignore[no-any-return]  # the package has no types
    compute.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, _Sum)
    compute.restype = None

    def hash_few(key: bytes, data: bytes) -> bytes:
        made = _Sum()
        compute(data, len(data), key, made)
        return made.raw

    return hash_few


_hash_few: Final = _keeping_the_lock()


def hash_block(shard: bytes, data_id: DataId, part_number: int, shard_index: int, block_number: int) -> bytes:
    """The 32-byte hash of one shard block at its address. Parts count from 1, shards and blocks from 0."""
    key = bytes.fromhex(data_id) + _ADDRESS.pack(part_number, shard_index, _SCHEME, block_number)
    check(len(key) == _KEY_BYTES, "a data id is 32 hex digits")
    if len(shard) <= INLINE_SHARD_BYTES_MAX:
        return _hash_few(key, shard)
    return highwayhash_256(key, shard)  # type: ignore[no-any-return]  # the package has no types


def verify_block(
    shard: bytes, expected: bytes, data_id: DataId, part_number: int, shard_index: int, block_number: int
) -> bool:
    """Whether `shard` is what was written at this address, `expected` being the hash stored for it."""
    return hash_block(shard, data_id, part_number, shard_index, block_number) == expected
