"""Buckets in the index: local numbers, standing, exact usage. Kept as a side effect of the rows that come and go."""

from typing import Final, NamedTuple

import msgspec

from liteio_base.ids import BucketId
from liteio_contracts.storage import BucketUsage
from liteio_contracts.storage_errors import RecordCorrupt
from liteio_drives.index_schema import Standing
from liteio_drives.index_sql import Sql
from liteio_drives.record_view import decode_held
from liteio_formats.bodies import BucketBody, BucketState, decode_bucket_body
from liteio_formats.record import Record, Space

LATEST_TIME: Final = 2**63 - 1


class Delta(NamedTuple):
    """A change of a bucket's counters."""

    objects: int = 0
    versions: int = 0
    delete_markers: int = 0
    size_bytes: int = 0


class BucketTable:
    """The `buckets` table. Every method reads or writes inside the caller's transaction; nothing is remembered."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql
        self._execute = sql.execute
        self._pending: list[tuple[int, Delta]] = []

    def number_of(self, bucket_id: BucketId) -> int | None:
        row = self._execute("SELECT number FROM buckets WHERE bucket_id = ?", (bucket_id,)).fetchone()
        return row[0] if row else None

    def find_or_add(self, bucket_id: BucketId) -> int:
        """The index's own small integer for a bucket; one that it did not know is UNKNOWN until its record comes."""
        number = self.number_of(bucket_id)
        if number is None:
            self._execute("INSERT INTO buckets(bucket_id) VALUES (?)", (bucket_id,))
            number = self._sql.last_rowid()
        return number

    def add(self, number: int, delta: Delta) -> None:
        """Counted when `flush` writes it: many commits of a transaction change the same few counters."""
        self._pending.append((number, delta))

    def pending(self) -> int:
        return len(self._pending)

    def forget_pending(self, kept: int) -> None:
        """Take back what was added since there were `kept`: its savepoint was rolled back."""
        del self._pending[kept:]

    def flush(self) -> None:
        """Before the transaction ends."""
        sums: dict[int, tuple[int, int, int, int]] = {}
        for number, (objects, versions, delete_markers, size_bytes) in self._pending:
            sum_of = sums.get(number, (0, 0, 0, 0))
            sums[number] = (
                sum_of[0] + objects,
                sum_of[1] + versions,
                sum_of[2] + delete_markers,
                sum_of[3] + size_bytes,
            )
        self._pending.clear()
        for number, sum_of in sums.items():
            self._execute(
                "UPDATE buckets SET objects = objects + ?, versions = versions + ?,"
                " delete_markers = delete_markers + ?, size_bytes = size_bytes + ? WHERE number = ?",
                (*sum_of, number),
            )

    def sums(self) -> tuple[int, int]:
        """Versions of objects, delete markers included, and the bytes of these objects."""
        statement = "SELECT ifnull(sum(versions + delete_markers), 0), ifnull(sum(size_bytes), 0) FROM buckets"
        row: tuple[int, int] = self._execute(statement).fetchone()
        return row

    def holds_objects(self, bucket_id: BucketId) -> bool:
        row = self._execute(
            "SELECT number, versions + delete_markers FROM buckets WHERE bucket_id = ?", (bucket_id,)
        ).fetchone()
        if row is None:
            return False
        number, stored = row
        waiting = sum(delta.versions + delta.delete_markers for at, delta in self._pending if at == number)
        return bool(stored + waiting)

    def usage(self, bucket_id: BucketId) -> BucketUsage:
        row = self._execute(
            "SELECT number, objects, versions, delete_markers, size_bytes FROM buckets WHERE bucket_id = ?",
            (bucket_id,),
        ).fetchone()
        if not row:
            return BucketUsage()
        number, objects, versions, delete_markers, size_bytes = row
        unsettled = self._execute(
            "SELECT count(*) FROM unsettled WHERE space = ? AND bucket = ?", (Space.OBJECT, number)
        ).get
        return BucketUsage(objects, versions, delete_markers, size_bytes, unsettled)

    def settle_standing(self, number: int, key: bytes) -> None:
        """Derive again what the records of the bucket named `key` say of every incarnation that they mention.

        The newest configuration number held counts, settled or not: a drive that accepted CLOSING refuses writes from
        that moment on.
        """
        tombstone = self._execute(
            "SELECT max(time) FROM tombstones WHERE space = ? AND bucket = ? AND key = ?", (Space.BUCKET, number, key)
        ).get
        rows = self._execute(
            "SELECT time, encoded FROM records WHERE space = ? AND bucket = ? AND key = ?", (Space.BUCKET, number, key)
        ).fetchall()
        newest: dict[BucketId, tuple[int, Standing]] = {}
        for time, encoded in rows:
            body = bucket_body_of(decode_held(encoded))
            standing = Standing.CLOSING if body.state is BucketState.CLOSING else Standing.OPEN
            if tombstone is not None and time < tombstone:
                standing = Standing.GONE
            newest[body.bucket_id] = max(newest.get(body.bucket_id, (-1, standing)), (body.number, standing))
        for bucket_id, (config, standing) in newest.items():
            self.set_standing(bucket_id, config, standing)

    def set_standing(self, bucket_id: BucketId, config: int, standing: Standing) -> None:
        self._execute(
            "INSERT INTO buckets(bucket_id, config, standing) VALUES (?1, ?2, ?3)"
            " ON CONFLICT(bucket_id) DO UPDATE SET config = ?2, standing = ?3",
            (bucket_id, config, standing),
        )

    def incarnations_named(self, number: int, key: bytes, until: int = LATEST_TIME) -> set[BucketId]:
        """The bucket ids that the held records of the bucket named `key` mention, tombstones included, up to a time."""
        rows = self._execute(
            "SELECT encoded FROM records WHERE space = ?1 AND bucket = ?2 AND key = ?3 AND time <= ?4"
            " UNION ALL"
            " SELECT encoded FROM tombstones WHERE space = ?1 AND bucket = ?2 AND key = ?3 AND time <= ?4",
            (Space.BUCKET, number, key, until),
        ).fetchall()
        records = [decode_held(encoded) for (encoded,) in rows]
        return {bucket_body_of(record).bucket_id for record in records if record.body}

    def incarnations_shown(self, number: int, key: bytes) -> set[BucketId]:
        """Those that a record names which no tombstone hides."""
        rows = self._execute(
            "SELECT encoded FROM records r WHERE space = ?1 AND bucket = ?2 AND key = ?3 AND NOT EXISTS (SELECT 1"
            " FROM tombstones t WHERE t.space = ?1 AND t.bucket = ?2 AND t.key = ?3 AND t.time > r.time)",
            (Space.BUCKET, number, key),
        ).fetchall()
        return {bucket_body_of(decode_held(encoded)).bucket_id for (encoded,) in rows}


def bucket_body_of(record: Record) -> BucketBody:
    """Raises RecordCorrupt when a bucket's record carries no bucket body."""
    try:
        return decode_bucket_body(record.body)
    except msgspec.DecodeError as problem:
        raise RecordCorrupt(f"not a bucket's body: {problem}", key=record.key) from problem
