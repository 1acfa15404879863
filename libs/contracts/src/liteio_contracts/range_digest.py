"""Digests over ranges of keys, by which the drives of a set are compared without reading what they hold.

Equal on all drives when all is well: each record and tombstone (by its own digest), which of them are unsettled, and
how many inline shards there are. What drives may differ in is not part of it: shard indexes, fences, when a mark was
set. The digest does not depend on how a range is cut into steps, so that a drive may work in small ones.

A range's digest is BLAKE2b-128 over three BLAKE2b-128 and a number: of the records' digests in hex, in key order,
newest created first within a key; of the tombstones' digests in hex, by key, version and newest first; of the unsettled
marks, by key, version and time; and the number of inline shards, 8 bytes, little endian.
"""

from hashlib import blake2b
from typing import Final

from liteio_contracts.storage import KeyName, RangeDigest

DIGEST_BYTES: Final = 16


class RangeHasher:
    """Collects what is in one range, piece by piece, in order."""

    __slots__ = ("_marks", "_records", "_tombstones", "count", "shards")

    def __init__(self) -> None:
        self._records = blake2b(digest_size=DIGEST_BYTES)
        self._tombstones = blake2b(digest_size=DIGEST_BYTES)
        self._marks = blake2b(digest_size=DIGEST_BYTES)
        self.count = self.shards = 0

    def add_records(self, count: int, hex_digests: str, shards: int) -> None:
        """`shards`: how many of these records have an inline shard here."""
        self._records.update(hex_digests.encode())
        self.count += count
        self.shards += shards

    def add_tombstones(self, count: int, hex_digests: str) -> None:
        self._tombstones.update(hex_digests.encode())
        self.count += count

    def add_mark(self, name: KeyName, version_id: str, time: int) -> None:
        parts = (b"%d" % name.space, name.bucket_id.encode(), name.key, version_id.encode(), b"%d" % time)
        for part in parts:
            self._marks.update(len(part).to_bytes(4, "little") + part)
        self.count += 1

    def finish(self, until: KeyName | None) -> RangeDigest:
        whole = blake2b(digest_size=DIGEST_BYTES)
        for stream in (self._records, self._tombstones, self._marks):
            whole.update(stream.digest())
        whole.update(self.shards.to_bytes(8, "little"))
        return RangeDigest(until, self.count, whole.digest())
