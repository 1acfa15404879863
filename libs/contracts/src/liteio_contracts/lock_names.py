"""Names of locks: what a lock is on, and back. Every process of a store must make the same ones.

object NUL bucket id NUL key      writers of an object, completing an upload of it included
part NUL part key                 writers of one part
bucket NUL name                   changes of a bucket
"""

from enum import StrEnum
from typing import Final, NamedTuple

from liteio_base.ids import BucketId

_NUL: Final = b"\x00"


class LockKind(StrEnum):
    OBJECT = "object"
    PART = "part"
    BUCKET = "bucket"
    UNKNOWN = "unknown"


class LockSubject(NamedTuple):
    """What a lock is on. `bucket`: an object's bucket by its id, a bucket by its name. `key`: of an object, or a part's
    own; a name of an unknown kind whole."""

    kind: LockKind
    bucket: str
    key: bytes


def object_lock_name(bucket_id: BucketId, key: bytes) -> bytes:
    return _NUL.join((b"object", bucket_id.encode(), key))


def part_lock_name(part_key: bytes) -> bytes:
    return b"part\x00" + part_key


def bucket_lock_name(name: str) -> bytes:
    return b"bucket\x00" + name.encode()


def subject_of(name: bytes) -> LockSubject:
    """What a lock of this name is on; never fails."""
    kind, _, rest = name.partition(_NUL)
    bucket_id, separator, key = rest.partition(_NUL)
    if kind == b"object" and separator:
        return LockSubject(LockKind.OBJECT, bucket_id.decode(errors="replace"), key)
    if kind == b"part":
        return LockSubject(LockKind.PART, "", rest)
    if kind == b"bucket":
        return LockSubject(LockKind.BUCKET, rest.decode(errors="replace"), b"")
    return LockSubject(LockKind.UNKNOWN, "", name)
