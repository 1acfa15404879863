"""Digests over ranges of keys (liteio_contracts.range_digest), taken in steps so that other reads pass in between.

A step is a few statements that each give one row: SQLite joins the digests of a thousand records itself, without the
interpreter's lock. A million records take a second or two, in steps of a millisecond or two.
"""

from typing import Final, NamedTuple

from liteio_base.ids import BucketId
from liteio_contracts.range_digest import DIGEST_BYTES, RangeHasher
from liteio_contracts.storage import RANGES_MAX, DigestQuery, KeyName, RangeDigest
from liteio_drives.index_sql import BEHIND_ALL_KEYS, Sql
from liteio_drives.record_view import version_text
from liteio_formats.record import DIGEST_OFFSET, Space

STEP_ROWS: Final = 1024
_SEGMENT_ROWS: Final = 16  # what looking at one bucket costs, in rows
BEFORE_ALL_KEYS: Final = 0  # SQLite sorts every blob behind every number

_DIGEST: Final = f"hex(substr(encoded, {DIGEST_OFFSET + 1}, {DIGEST_BYTES})) AS digest"
_JOINED: Final = "count(*), ifnull(group_concat(digest, ''), '')"
_RANGE: Final = "space = ?1 AND bucket = ?2 AND key > ?3 AND key <= ?4"
_NEWEST_FIRST: Final = "ORDER BY key, created DESC, version DESC, time DESC"
_RECORDS: Final = (
    f"SELECT {_JOINED}, count(payload), max(key) FROM (SELECT {_DIGEST}, payload, key FROM records"
    f" NOT INDEXED WHERE {_RANGE} {_NEWEST_FIRST} LIMIT ?5)"
)
_COUNT_OF_KEY: Final = "SELECT count(*) FROM records WHERE space = ? AND bucket = ? AND key = ?"
_IS_TOLD: Final = (
    "(time > ?5 OR EXISTS (SELECT 1 FROM unsettled u WHERE u.space = ?1 AND u.bucket = ?2"
    " AND u.key = tombstones.key AND u.version = tombstones.version AND u.time = tombstones.time))"
)
_TOMBSTONES: Final = (
    f"SELECT {_JOINED} FROM (SELECT {_DIGEST} FROM tombstones NOT INDEXED WHERE {_RANGE}"
    f" AND {_IS_TOLD} ORDER BY key, version, time DESC)"
)
_MARKS: Final = f"SELECT key, version, time FROM unsettled WHERE {_RANGE} ORDER BY key, version, time"
_RECORD_ROWS: Final = (
    f"SELECT key, {_DIGEST}, payload IS NOT NULL FROM records NOT INDEXED WHERE {_RANGE} {_NEWEST_FIRST} LIMIT ?5"
)
_TOMBSTONE_ROWS: Final = (
    f"SELECT key, {_DIGEST} FROM tombstones NOT INDEXED WHERE {_RANGE} AND {_IS_TOLD} ORDER BY key, version, time DESC"
)


class _Segment(NamedTuple):
    """What is left of one space of one bucket: keys behind `low`, up to `high`."""

    space: Space
    bucket_id: BucketId
    number: int
    low: bytes | int
    high: bytes

    def at(self, key: bytes) -> KeyName:
        return KeyName(self.space, self.bucket_id, key)


class DigestWalk:
    """One query under way. `advance` does one step, inside the caller's read transaction; others may come between."""

    def __init__(self, query: DigestQuery) -> None:
        self._query = query
        self._at = query.after  # what is up to here is done
        self._bounds = list(reversed(query.bounds))
        self._hasher = RangeHasher()
        self._records = 0  # in the range under way
        self.ranges: list[RangeDigest] = []
        self.is_done = False

    @property
    def has_answer(self) -> bool:
        """There is nothing more to do, or no room for more ranges."""
        return self.is_done or len(self.ranges) >= RANGES_MAX

    def advance(self, sql: Sql) -> None:
        """About STEP_ROWS rows, of one key at the least."""
        budget = STEP_ROWS
        while budget > 0 and not self.has_answer:
            segment = self._next_segment(sql)
            if segment is None:
                self._end()
            elif self._query.rows == 1 and not self._query.bounds:
                budget -= _SEGMENT_ROWS + self._take_keys(sql, segment)
            else:
                budget -= _SEGMENT_ROWS + self._take(sql, segment)

    @property
    def _target(self) -> KeyName | None:
        """Where the range under way ends at the latest."""
        return self._bounds[-1] if self._bounds else self._query.until

    def _next_segment(self, sql: Sql) -> _Segment | None:
        """The first bucket at or behind the position that begins before the target; ranges that end before it begins
        are closed."""
        while True:
            found = find_bucket(sql, self._at)
            if found is None:
                return None
            space, bucket_id, number = found
            target = self._target
            if target is None or (space, bucket_id) < target[:2]:
                high = BEHIND_ALL_KEYS
            elif (space, bucket_id) == target[:2]:
                high = target.key
            elif self._bounds:
                self._close(self._bounds.pop())
                continue
            else:
                return None
            at = self._at
            low = at.key if at is not None and (space, bucket_id) == at[:2] else BEFORE_ALL_KEYS
            return _Segment(space, bucket_id, number, low, high)

    def _take(self, sql: Sql, segment: _Segment) -> int:
        """One piece of a segment into the range under way. Returns how many records."""
        wanted = STEP_ROWS
        if not self._query.bounds:
            wanted = min(wanted, self._query.rows - self._records)
        keys = (segment.space, segment.number, segment.low, segment.high)
        count, digests, shards, last = sql.execute(_RECORDS, (*keys, wanted)).fetchone()
        is_cut = count == wanted
        if is_cut:
            keys = (segment.space, segment.number, segment.low, last)
            if sql.execute(_COUNT_OF_KEY, (segment.space, segment.number, last)).get > 1:
                # The limit may have cut through the key's versions.
                count, digests, shards, _ = sql.execute(_RECORDS, (*keys, -1)).fetchone()
        self._hasher.add_records(count, digests, shards)
        self._hasher.add_tombstones(*sql.execute(_TOMBSTONES, (*keys, self._query.tombstones_after)).fetchone())
        for key, version, time in sql.execute(_MARKS, keys).fetchall():
            self._hasher.add_mark(segment.at(key), version_text(version), time)
        self._records += count
        self._reach(segment.at(last if is_cut else segment.high))
        return int(count)

    def _reach(self, place: KeyName) -> None:
        """Everything up to `place` is in; the range ends here when it is one of the bounds, or full."""
        self._at = place
        if self._bounds and place == self._bounds[-1]:
            self._close(self._bounds.pop())
        elif place == self._query.until:
            self._end()
        elif not self._query.bounds and self._records >= self._query.rows:
            self._close(place)

    def _take_keys(self, sql: Sql, segment: _Segment) -> int:
        """A range for each key of a piece of a segment. Returns how many records and tombstones."""
        keys = (segment.space, segment.number, segment.low, segment.high)
        rows = sql.execute(_RECORD_ROWS, (*keys, STEP_ROWS)).fetchall()
        is_cut = len(rows) == STEP_ROWS
        if is_cut:  # The limit may have cut through the last key's versions.
            keys = (segment.space, segment.number, segment.low, rows[-1][0])
            rows = sql.execute(_RECORD_ROWS, (*keys, -1)).fetchall()
        hashers: dict[bytes, RangeHasher] = {}
        for key, digest, has_shard in rows:
            hashers.setdefault(key, RangeHasher()).add_records(1, digest, has_shard)
        tombstones = sql.execute(_TOMBSTONE_ROWS, (*keys, self._query.tombstones_after)).fetchall()
        for key, digest in tombstones:
            hashers.setdefault(key, RangeHasher()).add_tombstones(1, digest)
        for key, version, time in sql.execute(_MARKS, keys).fetchall():
            hashers.setdefault(key, RangeHasher()).add_mark(segment.at(key), version_text(version), time)
        self.ranges += [hashers[key].finish(segment.at(key)) for key in sorted(hashers)]
        self._at = segment.at(keys[3])
        if self.ranges and self.ranges[-1].until == self._query.until:
            self.is_done = True
        elif self._at == self._query.until:
            self._end()
        return len(rows) + len(tombstones)

    def _close(self, until: KeyName | None) -> None:
        self.ranges.append(self._hasher.finish(until))
        self._hasher, self._records = RangeHasher(), 0

    def _end(self) -> None:
        """The rest of the bounds, behind which nothing is, and the last range."""
        while self._bounds:
            self._close(self._bounds.pop())
        self._close(self._query.until)
        self.is_done = True


def find_bucket(sql: Sql, at: KeyName | None) -> tuple[Space, BucketId, int] | None:
    """The first space and bucket with names behind `at`, and the bucket's number."""
    space, bucket_id, key = at if at is not None else KeyName(Space.OBJECT, BucketId(""), b"")
    compare = ">" if key == BEHIND_ALL_KEYS else ">="
    while True:
        row = sql.execute(
            f"SELECT bucket_id, number FROM buckets WHERE bucket_id {compare} ? ORDER BY bucket_id LIMIT 1",
            (bucket_id,),
        ).fetchone()
        if row is not None:
            return Space(space), row[0], row[1]
        if space == max(Space):
            return None
        space, bucket_id, compare = Space(space + 1), BucketId(""), ">="
