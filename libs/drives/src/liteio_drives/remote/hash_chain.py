"""The running account of a shard stream, kept alike by both ends."""

import hashlib

from liteio_drives.remote.messages import StreamEnd


class HashChain:
    """Counts the blocks and bytes that went by and hashes their hashes; the bytes are not hashed again."""

    __slots__ = ("_hash", "block_count", "length_bytes")

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=32, person=b"liteio-blocks")
        self.block_count = 0
        self.length_bytes = 0

    def add(self, block_hash: bytes, length_bytes: int) -> None:
        self._hash.update(block_hash)
        self.block_count += 1
        self.length_bytes += length_bytes

    def end(self, k: int = 0, m: int = 0, part_size_bytes: int = 0) -> StreamEnd:
        return StreamEnd(self.block_count, self.length_bytes, self._hash.digest(), k, m, part_size_bytes)

    def matches(self, end: StreamEnd) -> bool:
        return end == self.end(end.k, end.m, end.part_size_bytes)
