"""What a transaction needs to know of a commit, taken out of its records beforehand, off the committer's thread."""

from functools import lru_cache
from operator import attrgetter
from typing import Final, NamedTuple

import msgspec

from liteio_base.check import check
from liteio_base.ids import NULL_VERSION, BucketId, HybridTime, VersionId, is_version_id
from liteio_contracts.storage import CasScope, Commit, RowCommit
from liteio_contracts.storage_errors import RecordCorrupt
from liteio_formats.record import Kind, Record, RecordError, Space, decode_record, digest_of

NULL_BYTES: Final = b""
_DATA_ID_DIGITS: Final = frozenset("0123456789abcdef")


class NamedFile(NamedTuple):
    """A shard file that a row names, and what must be true of it."""

    data_id: bytes
    part: int
    shard_index: int
    k: int
    m: int
    part_size_bytes: int


class Register(NamedTuple):
    """A version of a key, as those name it who do not know the bucket's number. `version` is the id's bytes, NULL_BYTES
    for the null version."""

    bucket_id: BucketId
    space: Space
    key: bytes
    version: bytes


class RowView(msgspec.Struct, frozen=True, gc=False):
    """One row to add. What the record says comes first, as `_read_once` gives it: it is the same on every drive."""

    record: Record
    register: Register
    space: Space
    version: bytes
    created: HybridTime
    time: HybridTime
    kind: Kind
    size_bytes: int
    is_new_data: bool  # A full drive refuses values of objects, parts and uploads; not deletes, nor a bucket's records.
    digest: bytes
    encoded: bytes
    files: tuple[NamedFile, ...]
    scope: CasScope
    base: HybridTime
    shard_index: int
    payload: bytes | None
    payload_hash: bytes


_IS_NEW_DATA: Final = attrgetter("is_new_data")


class CommitView(msgspec.Struct, frozen=True, gc=False):
    commit: Commit
    rows: tuple[RowView, ...]
    is_new_data: bool


def view_commit(commit: Commit) -> CommitView:
    """Decode and check every record. Raises RecordCorrupt: a drive keeps only what it can read again."""
    rows = tuple(map(_view_row, commit.rows))
    return CommitView(commit, rows, any(map(_IS_NEW_DATA, rows)))


def version_bytes(version_id: VersionId) -> bytes | None:
    """How the index spells a version id; None for text that can not be one of ours."""
    if version_id == NULL_VERSION:
        return NULL_BYTES
    return bytes.fromhex(version_id) if is_version_id(version_id) else None


def version_text(version: bytes) -> VersionId:
    return VersionId(version.hex())


def created_in(version: bytes) -> int:
    """The creation time that a version's bytes carry; not for the null version."""
    return int.from_bytes(version[:8], "big")


def data_id_bytes(data_id: str) -> bytes:
    """Raises ValueError: a data id becomes a file's name, so nothing but 32 hex digits may pass."""
    if len(data_id) != 32 or not _DATA_ID_DIGITS.issuperset(data_id):
        raise ValueError(f"not a data id: {data_id!r}")
    return bytes.fromhex(data_id)


def files_of(record: Record, shard_index: int) -> tuple[NamedFile, ...]:
    """The shard files that a record names on the drive that holds `shard_index` of it; an empty part has none. Raises
    RecordCorrupt.
    """
    if record.is_inline or not record.parts or record.kind is not Kind.VALUE:
        return ()
    try:
        return tuple(
            NamedFile(data_id_bytes(part.data_id), part.number, shard_index, record.k, record.m, part.size_bytes)
            for part in record.parts
            if part.size_bytes
        )
    except ValueError as problem:
        raise RecordCorrupt(str(problem), key=record.key, version_id=record.version_id) from None


def decode_held(encoded: bytes) -> Record:
    """Decode a record that the index holds. Raises RecordCorrupt."""
    try:
        return decode_record(encoded)
    except RecordError as problem:
        raise RecordCorrupt(str(problem)) from problem


def is_readable(encoded: bytes) -> bool:
    """Whether what the index holds is still a record: bits on a disk do turn."""
    try:
        decode_record(encoded)
    except RecordError:
        return False
    return True


_RecordFacts = tuple[Record, Register, Space, bytes, HybridTime, HybridTime, Kind, int, bool, bytes]


@lru_cache(maxsize=128)
def _read_once(encoded: bytes) -> _RecordFacts:
    """A view's first fields. A writer sends the same bytes to every drive of a process."""
    record = decode_held(encoded)
    version = version_bytes(record.version_id)
    if version is None:
        raise RecordCorrupt("not a version id of this store", version_id=record.version_id)
    check(record.time >= 0 and record.created >= 0, "hybrid times are not negative")
    return (
        record,
        Register(record.bucket_id, record.space, record.key, version),
        record.space,
        version,
        record.created,
        record.time,
        record.kind,
        record.size_bytes,
        record.kind is Kind.VALUE and record.space is not Space.BUCKET,
        digest_of(encoded),
    )


def _view_row(row: RowCommit) -> RowView:
    facts = _read_once(row.encoded)
    return RowView(
        *facts,
        row.encoded,
        files_of(facts[0], row.shard_index),
        row.scope,
        row.base,
        row.shard_index,
        row.payload,
        row.payload_hash,
    )
