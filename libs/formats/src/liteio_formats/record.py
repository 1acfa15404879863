"""The object record: what a drive stores for one version of one key. docs/formats/obj-meta.md draws it.

A record has a *common part*, the same bytes on every drive of the set and compared by digest, which is all that this
module knows. What differs
from drive to drive (shard index, hash of an inline payload) stands beside it in the drive's index or in the shard
file's footer.

Objects, multipart uploads, their parts and buckets are all records, told apart by their `Space`, so that one commit
protocol serves them all.
"""

from enum import IntEnum
from hashlib import blake2b
from typing import Final

import msgspec

from liteio_base.ids import BucketId, DataId, Generation, HybridTime, VersionId

MAGIC: Final = b"LIOM"
FORMAT_VERSION: Final = 1
DIGEST_BYTES: Final = 16
_FORMAT: Final = MAGIC + bytes((FORMAT_VERSION,))
DIGEST_OFFSET: Final = len(_FORMAT)
_DIGEST: Final = slice(DIGEST_OFFSET, DIGEST_OFFSET + DIGEST_BYTES)
_HEADER_BYTES: Final = len(_FORMAT) + DIGEST_BYTES


class Space(IntEnum):
    """Which namespace of a bucket a key belongs to. The numbers reach the disk."""

    OBJECT = 0
    UPLOAD = 1
    PART = 2
    BUCKET = 3


class Kind(IntEnum):
    """What a record says of its version. The numbers reach the disk."""

    VALUE = 0
    DELETE_MARKER = 1  # S3's delete marker: a version of its own that hides older ones
    TOMBSTONE = 2  # this very version was removed; never shown to a client


class PartEntry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One run of an object's bytes, coded on its own. An object from one PUT has one part with number 1, or none when
    it is empty.
    """

    number: int
    size_bytes: int
    data_id: DataId
    etag: str  # MD5 in hex of the part's bytes
    checksum: str = ""  # base64 of the part's checksum in the object's algorithm, "" when there is none


class StoredChecksum(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """The checksum that a client declared or asked for, as S3 returns it."""

    algorithm: str  # CRC32, CRC32C, CRC64NVME, SHA1 or SHA256
    kind: str  # FULL_OBJECT or COMPOSITE
    value: str  # base64; with "-N" behind it when COMPOSITE; "" while an upload is open


class Record(msgspec.Struct, frozen=True, array_like=True, kw_only=True, gc=False):
    """The common part. Field order is the format: new fields go last and have defaults, nothing is ever taken out.

    Times: `time` is when this record was committed (it orders the records of one version id); `created` is when its
    version came to be
    (it orders the versions of a key) and is kept when only tags or metadata change. Both are hybrid times.
    """

    space: Space
    bucket_id: BucketId
    key: bytes
    version_id: VersionId
    kind: Kind
    created: HybridTime
    time: HybridTime
    base: HybridTime  # the newest time its writer saw, or the time of the version on which it decided (PROTOCOL R6)
    generations: tuple[Generation, ...]  # by slot; "" for a drive that the writer did not read (PROTOCOL R3)
    modified_ns: int = 0  # Last-Modified
    size_bytes: int = 0
    etag: str = ""
    k: int = 1
    m: int = 0
    order: tuple[int, ...] = ()  # shard i lies on slot order[i]
    parts: tuple[PartEntry, ...] = ()
    is_inline: bool = False  # the one part's shards live in the drives' indexes, not in shard files
    metadata: dict[str, str] = {}
    tags: str = ""  # url-encoded, as x-amz-tagging carries them
    checksum: StoredChecksum | None = None
    body: bytes = b""  # what a bucket or an upload record says, in msgpack of its own shape

    def shard_index_of(self, slot: int) -> int:
        """The index of the shard that the drive at `slot` holds."""
        return self.order.index(slot)


class RecordError(ValueError):
    """These bytes are no record that this version can read."""


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)


def encode_record(record: Record) -> bytes:
    """Magic, format version, digest of what follows, msgpack of the fields. The digest doubles as the record's own
    checksum.
    """
    packed = _encoder.encode(record)
    return b"".join((_FORMAT, blake2b(packed, digest_size=DIGEST_BYTES).digest(), packed))


def digest_of(encoded: bytes) -> bytes:
    """The digest that an encoded record carries, unchecked: two drives hold the same record when these are equal."""
    return encoded[_DIGEST]


def decode_record(encoded: bytes) -> Record:
    """Check and decode. Raises RecordError for other magic, a newer format, a wrong digest or a wrong shape."""
    packed = encoded[_HEADER_BYTES:]
    if encoded[:_HEADER_BYTES] != _FORMAT + blake2b(packed, digest_size=DIGEST_BYTES).digest():
        raise _wrong(encoded)
    try:
        return _decoder.decode(packed)
    except (msgspec.DecodeError, UnicodeDecodeError) as problem:
        raise RecordError(f"the record's fields can not be read: {problem}") from problem


def _wrong(encoded: bytes) -> RecordError:
    if not encoded.startswith(MAGIC) or len(encoded) < _HEADER_BYTES:
        return RecordError("not an object record: the magic is missing")
    if encoded.startswith(_FORMAT):
        return RecordError("the record's digest does not match its bytes")
    return RecordError(f"record format {encoded[len(MAGIC)]} is not known here (this version reads {FORMAT_VERSION})")
