"""Rows, tombstones and marks of one key, as statements. What they mean together is decided in index_changes.

A *register* is all that one version id of a key holds: rows and tombstones. A tombstone *hides* the older rows of its
register at once. A key's *head* is its newest row that is not hidden; `live` marks a head that is a VALUE, and only
that row of the key. index_live tells which of them have an index.

A row is *stray* when the creation time that its version id carries does not lead to it: null rows that share their key
with other versions, and ids that carry another time. Strays have a small index of their own; the usual rows need none.
Either no row of a key is stray and they are all of the null version, or every null row of the key is.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from liteio_drives.index_payloads import payload_head_bytes
from liteio_drives.index_sql import Bulk, Sql, packed
from liteio_drives.record_view import NULL_BYTES, Register, RowView, created_in
from liteio_formats.record import Kind

KIND_OF: Final = tuple(Kind)
# What `live` says of a row that is; 0 when it is not.
IN_LIVE_INDEX: Final = 1
OUT_OF_LIVE_INDEX: Final = 2


class KeyAt(NamedTuple):
    """A key by the bucket's local number: the first three bindings of nearly every statement."""

    space: int
    bucket: int
    key: bytes


class Held(NamedTuple):
    """A row without its fat columns."""

    created: int
    version: bytes
    time: int
    kind: int
    live: int
    stray: int
    size_bytes: int
    shard_index: int
    names_files: int
    payload: int | None  # its number in `payloads`
    digest: bytes

    @property
    def order(self) -> tuple[int, bytes, int]:
        """Greater is newer: the order of the table."""
        return self.created, self.version, self.time


Tombstones = list[tuple[int, bytes]]
"""Time and digest of a register's tombstones, newest first."""


class Survey(NamedTuple):
    """What one statement tells about a key before anything is done to it."""

    number: int  # the bucket's, 0 when the drive does not know it
    config: int
    standing: int
    tombstone_time: int  # the newest, in any version; 0 when there is none
    has_fences: bool  # of the version asked for
    has_live_index: bool  # the bucket


class Outlook(NamedTuple):
    """A key as a change of one of its versions finds it."""

    survey: Survey
    newest: list[Held]  # of the key's rows, hidden or not; fewer than OUTLOOK_ROWS are all that it has
    tombstones: Tombstones  # of the version asked for


OUTLOOK_ROWS: Final = 3  # a version that was replaced, its replacement, and one to see whether there are more

_DIGEST: Final = "substr(r.encoded, 6, 16)"  # liteio_formats.record.digest_of, in SQL
_HELD: Final = (
    "r.created, r.version, r.time, r.kind, r.live, r.stray, r.size_bytes, r.shard_index, r.names_files, r.payload,"
    f" {_DIGEST}"
)
_OF_KEY: Final = "space = ? AND bucket = ? AND key = ?"
_NEWEST_FIRST: Final = "ORDER BY created DESC, version DESC, time DESC"
_TOMBSTONE_TIME: Final = (
    "ifnull((SELECT t.time FROM tombstones t INDEXED BY tombstones_by_time"
    " WHERE t.space = a.space AND t.bucket = b.number AND t.key = a.key ORDER BY t.time DESC LIMIT 1), 0)"
)
_HAS_FENCES: Final = (
    "EXISTS (SELECT 1 FROM fences f WHERE f.space = a.space AND f.bucket = b.number AND f.key = a.key"
    " AND f.version = a.version)"
)
_OLDEST_OF_INTEREST: Final = (
    "ifnull((SELECT s.created FROM records s WHERE s.space = a.space AND s.bucket = b.number AND s.key = a.key"
    f" ORDER BY created DESC, version DESC, time DESC LIMIT 1 OFFSET {OUTLOOK_ROWS - 1}), 0)"
)
# One row of the answer for each of the newest rows of a key, one with nulls for a key without; none for a bucket that
# the drive does not know.
_OUTLOOK_COLUMNS: Final = (
    *("place", "number", "config", "standing", "tombstone_time", "has_fences", "has_live_index"),
    *("created", "time", "kind", "live", "stray", "size_bytes", "shard_index", "names_files", "payload"),
)
_OUTLOOK: Final = Bulk(
    "WITH a(place, bucket_id, space, key, version) AS (VALUES",
    "(?,?,?,?,?)",
    f") SELECT {packed(_OUTLOOK_COLUMNS, ('version', 'digest'))} FROM (SELECT a.place, b.number, b.config, b.standing,"
    f" {_TOMBSTONE_TIME} AS tombstone_time, {_HAS_FENCES} AS has_fences, b.has_live_index,"
    " r.created, r.time, r.kind, r.live, r.stray, r.size_bytes, r.shard_index, r.names_files, r.payload, r.version,"
    f" {_DIGEST} AS digest"
    " FROM a CROSS JOIN buckets b ON b.bucket_id = a.bucket_id LEFT JOIN records r"
    f" ON r.space = a.space AND r.bucket = b.number AND r.key = a.key AND r.created >= {_OLDEST_OF_INTEREST})",
)
_UNKNOWN: Final = Outlook(Survey(0, 0, 0, 0, False, False), [], [])
_TOMBSTONES: Final = Bulk(
    "WITH a(place, space, bucket, key, version) AS (VALUES",
    "(?,?,?,?,?)",
    f") SELECT {packed(('place', 'time'), ('digest',))} FROM"
    " (SELECT a.place, t.time, substr(t.encoded, 6, 16) AS digest FROM a CROSS JOIN tombstones t"
    " ON t.space = a.space AND t.bucket = a.bucket AND t.key = a.key AND t.version = a.version)",
)
# The places of those whose tombstone is held, and whose row is as it was.
_REMOVALS: Final = Bulk(
    "WITH a(place, space, bucket, key, version, time, created, row_time, payload) AS (VALUES",
    "(?,?,?,?,?,?,?,?,?)",
    f") SELECT {packed(('place',), ())} FROM (SELECT a.place FROM a CROSS JOIN tombstones t"
    " ON t.space = a.space AND t.bucket = a.bucket AND t.key = a.key AND t.version = a.version AND t.time = a.time"
    " CROSS JOIN records r ON r.space = a.space AND r.bucket = a.bucket AND r.key = a.key AND r.created = a.created"
    " AND r.version = a.version AND r.time = a.row_time AND r.payload IS a.payload)",
)
_ALL: Final = f"SELECT {_HELD} FROM records r WHERE {_OF_KEY} {_NEWEST_FIRST}"
_BY_CREATION: Final = (
    f"SELECT {_HELD} FROM records r WHERE {_OF_KEY} AND created = ? AND version = ? ORDER BY time DESC"
)
_STRAYS: Final = f"SELECT {_HELD} FROM records r INDEXED BY records_stray WHERE {_OF_KEY} AND stray = 1 AND version = ?"
_LIVE: Final = f"SELECT {_HELD} FROM records r INDEXED BY records_live WHERE {_OF_KEY} AND live = 1 LIMIT 1"
# Only in a bucket whose live rows are not all in the index; there a key has few rows.
_LIVE_ELSEWHERE: Final = (
    f"SELECT {_HELD} FROM records r WHERE {_OF_KEY} AND live = {OUT_OF_LIVE_INDEX} AND EXISTS (SELECT 1 FROM buckets b"
    " WHERE b.number = r.bucket AND (b.has_live_index = 0 OR EXISTS (SELECT 1 FROM live_fills f WHERE f.bucket ="
    " b.number))) LIMIT 1"
)
_ROW: Final = f"{_OF_KEY} AND created = ? AND version = ? AND time = ?"
_ADD_ROW: Final = Bulk("INSERT INTO records VALUES", "(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)")
_ADD_PAYLOAD: Final = Bulk("INSERT INTO payloads(id, payload) VALUES", "(?,?)")
_ADD_TOMBSTONE: Final = Bulk("INSERT INTO tombstones VALUES", "(?,?,?,?,?,?,?,?)")
_ADD_MARK: Final = Bulk("INSERT INTO unsettled VALUES", "(?,?,?,?,?,?,?)")
_CLEAR_MARK: Final = Bulk(
    "DELETE FROM unsettled WHERE (space, bucket, key, version, time) IN (VALUES", "(?,?,?,?,?)", ")"
)
_IN_ROWS: Final = "WHERE (space, bucket, key, created, version, time) IN (VALUES", "(?,?,?,?,?,?)", ")"
_REMOVE_ROW: Final = Bulk(f"DELETE FROM records {_IN_ROWS[0]}", *_IN_ROWS[1:])
_SET_LIVE: Final = Bulk(f"UPDATE records SET live = 1 {_IN_ROWS[0]}", *_IN_ROWS[1:])
_SET_NOT_LIVE: Final = Bulk(f"UPDATE records SET live = 0 {_IN_ROWS[0]}", *_IN_ROWS[1:])
_REMOVE_PAYLOAD: Final = Bulk("DELETE FROM payloads WHERE id IN (VALUES", "(?)", ")")


class RowTable:
    """Inside the caller's transaction."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql
        self._execute = sql.execute
        self._outlooks: dict[Register, Outlook] = {}
        self._still_so: set[Register] = set()
        self._payload_number = 0  # the last one given

    def begin(self, payload_number: int) -> None:
        """A transaction begins: whatever was known may have changed. `payload_number`: the greatest there is."""
        self._outlooks.clear()
        self._still_so.clear()
        self._payload_number = payload_number

    def look_ahead(self, registers: Sequence[Register]) -> None:
        """Look at many keys at once. Each is told to the next who asks, once: no key may come twice, nor anything be
        done to a key by those who do not ask.
        """
        for register, outlook in zip(registers, self._outlooks_of(registers), strict=True):
            if outlook is not _UNKNOWN:
                self._outlooks[register] = outlook

    def look_at_removals(self, removals: Sequence[tuple[Register, int, KeyAt, Held]]) -> None:
        """Look which tombstones of these times and which rows are held, for `is_still_so`; as `look_ahead`."""
        asked = [
            (place, *at, register.version, time, row.created, row.time, row.payload)
            for place, (register, time, at, row) in enumerate(removals)
        ]
        for (place,) in self._sql.select(_REMOVALS, asked):
            self._still_so.add(removals[place][0])

    def is_still_so(self, register: Register) -> bool:
        """Whether both were seen by `look_at_removals` in this transaction. Once."""
        is_so = register in self._still_so
        self._still_so.discard(register)
        return is_so

    def outlook(self, register: Register) -> Outlook:
        return self._outlooks.pop(register, None) or self._outlooks_of((register,))[0]

    def _outlooks_of(self, registers: Sequence[Register]) -> list[Outlook]:
        outlooks = [_UNKNOWN] * len(registers)
        for row in self._sql.select(_OUTLOOK, [(at, *register) for at, register in enumerate(registers)]):
            place, created = row[0], row[7]
            outlook = outlooks[place]
            if outlook is _UNKNOWN:
                outlook = outlooks[place] = Outlook(Survey._make(row[1:7]), [], [])
            if created is not None:
                outlook.newest.append(Held._make((created, row[16], *row[8:16], row[17])))
        buried = [
            (place, register.space, outlook.survey.number, register.key, register.version)
            for place, (register, outlook) in enumerate(zip(registers, outlooks, strict=True))
            if outlook.survey.tombstone_time
        ]
        for place, time, digest in self._sql.select(_TOMBSTONES, buried):
            outlooks[place].tombstones.append((time, digest))
        for outlook in outlooks:
            outlook.tombstones.sort(reverse=True)
            if len(outlook.newest) > 1:
                outlook.newest.sort(key=lambda row: row.order, reverse=True)
                del outlook.newest[OUTLOOK_ROWS:]
        return outlooks

    def all_rows(self, at: KeyAt) -> list[Held]:
        return [Held(*row) for row in self._execute(_ALL, at).fetchall()]

    def of_version(self, at: KeyAt, version: bytes, newest: list[Held]) -> list[Held]:
        """The register's rows, newest time first. `newest`: of the key's Outlook."""
        if not newest:
            return []
        if len(newest) < OUTLOOK_ROWS:
            rows = [row for row in newest if row.version == version]
        elif newest[0].version == NULL_BYTES and not newest[0].stray:
            rows = self.all_rows(at) if version == NULL_BYTES else []
        else:
            found = self._execute(_STRAYS, (*at, version)).fetchall()
            if version != NULL_BYTES:
                found += self._execute(_BY_CREATION, (*at, created_in(version), version)).fetchall()
            rows = [Held(*row) for row in found]
        if len(rows) > 1:
            rows.sort(key=lambda row: row.time, reverse=True)
        return rows

    def live_row(self, at: KeyAt) -> Held | None:
        row = self._execute(_LIVE, at).fetchone() or self._execute(_LIVE_ELSEWHERE, at).fetchone()
        return Held(*row) if row else None

    def tombstones_of(self, at: KeyAt, version: bytes) -> list[tuple[int, bytes]]:
        """(time, digest) of the register's tombstones, newest first."""
        return self._execute(
            f"SELECT time, substr(encoded, 6, 16) FROM tombstones WHERE {_OF_KEY} AND version = ? ORDER BY time DESC",
            (*at, version),
        ).fetchall()

    def visible_head(self, at: KeyAt) -> Held | None:
        """The newest row that no tombstone hides. Costs the rows that are hidden above it."""
        hidden_until: dict[bytes, int] = {}
        for row in self.all_rows(at):
            if row.version not in hidden_until:
                hidden_until[row.version] = self.hidden_until(at, row.version)
            if row.time > hidden_until[row.version]:
                return row
        return None

    def hidden_until(self, at: KeyAt, version: bytes) -> int:
        """The time of the register's newest tombstone, 0 when it has none."""
        tombstones = self.tombstones_of(at, version)
        return tombstones[0][0] if tombstones else 0

    def add_row(self, at: KeyAt, row: RowView, *, live: int, is_stray: bool) -> None:
        head, payload = self._add_payload(row.payload)
        self._sql.later(
            _ADD_ROW,
            (
                *at,
                row.created,
                row.version,
                row.time,
                row.kind,
                live,
                is_stray,
                row.size_bytes,
                row.shard_index,
                bool(row.files),
                payload,
                row.payload_hash or None,
                row.encoded,
                head,
            ),
        )

    def add_tombstone(self, at: KeyAt, row: RowView, now_ns: int) -> None:
        self._sql.later(_ADD_TOMBSTONE, (*at, row.version, row.time, row.created, now_ns, row.encoded))

    def remove_row(self, at: KeyAt, row: Held) -> None:
        """The row with its payload. The caller drops the names of its files and mends the head."""
        self._sql.later(_REMOVE_ROW, (*at, row.created, row.version, row.time))
        if row.payload is not None:
            self._sql.later(_REMOVE_PAYLOAD, (row.payload,))

    def remove_tombstones(self, at: KeyAt, version: bytes, *, before: int) -> None:
        self._execute(f"DELETE FROM tombstones WHERE {_OF_KEY} AND version = ? AND time < ?", (*at, version, before))

    def remove_tombstone(self, at: KeyAt, version: bytes, time: int) -> None:
        self._execute(f"DELETE FROM tombstones WHERE {_OF_KEY} AND version = ? AND time = ?", (*at, version, time))

    def set_live(self, at: KeyAt, row: Held, is_live: bool) -> None:
        self._sql.later(_SET_LIVE if is_live else _SET_NOT_LIVE, (*at, row.created, row.version, row.time))

    def make_null_rows_stray(self, at: KeyAt) -> None:
        """For a key that gets a row of another version."""
        self._execute(f"UPDATE records SET stray = 1 WHERE {_OF_KEY} AND version = x'' AND stray = 0", at)

    def replace_payload(self, at: KeyAt, held: Held, payload: bytes, payload_hash: bytes) -> None:
        """A repair of this drive's shard of an inline object."""
        if held.payload is not None:
            self._sql.later(_REMOVE_PAYLOAD, (held.payload,))
        self._execute(
            f"UPDATE records SET payload_head = ?, payload = ?, payload_hash = ? WHERE {_ROW}",
            (*self._add_payload(payload), payload_hash or None, *at, held.created, held.version, held.time),
        )

    def replace_record(self, at: KeyAt, held: Held, encoded: bytes) -> None:
        """The record's own bytes again, where they can not be read any more."""
        self._execute(
            f"UPDATE records SET encoded = ? WHERE {_ROW}", (encoded, *at, held.created, held.version, held.time)
        )

    def replace_tombstone(self, at: KeyAt, row: RowView) -> None:
        self._execute(
            f"UPDATE tombstones SET encoded = ? WHERE {_OF_KEY} AND version = ? AND time = ?",
            (row.encoded, *at, row.version, row.time),
        )

    def tombstone_bytes(self, at: KeyAt, row: RowView) -> bytes:
        """Of the tombstone that is held of the row's version and time."""
        found: bytes = self._execute(
            f"SELECT encoded FROM tombstones WHERE {_OF_KEY} AND version = ? AND time = ?", (*at, row.version, row.time)
        ).get
        return found

    def _add_payload(self, payload: bytes | None) -> tuple[bytes | None, int | None]:
        """What of it goes into the row, and the number of the rest."""
        if payload is None:
            return None, None
        head_bytes = payload_head_bytes(len(payload))
        self._payload_number += 1
        self._sql.later(_ADD_PAYLOAD, (self._payload_number, payload[head_bytes:] if head_bytes else payload))
        return payload[:head_bytes] or None, self._payload_number

    # Marks and fences.

    def mark(self, at: KeyAt, version: bytes, time: int, *, is_tombstone: bool, now_ns: int) -> None:
        self._sql.later(_ADD_MARK, (*at, version, time, is_tombstone, now_ns))

    def is_marked(self, at: KeyAt, version: bytes, time: int) -> bool:
        found = self._execute(
            f"SELECT 1 FROM unsettled WHERE {_OF_KEY} AND version = ? AND time = ?", (*at, version, time)
        )
        return found.fetchone() is not None

    def clear_mark(self, at: KeyAt, version: bytes, time: int) -> None:
        self._sql.later(_CLEAR_MARK, (*at, version, time))

    def has_fence(self, at: KeyAt, version: bytes, time: int) -> bool:
        found = self._execute(
            f"SELECT 1 FROM fences WHERE {_OF_KEY} AND version = ? AND time = ?", (*at, version, time)
        )
        return found.fetchone() is not None

    def add_fence(self, at: KeyAt, version: bytes, time: int, base: int, now_ns: int) -> None:
        # An earlier fence keeps its base: a confirm that would have lifted the one must not leave the other.
        self._execute(
            "INSERT INTO fences VALUES (?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET since_ns = excluded.since_ns",
            (*at, version, time, base, now_ns),
        )

    def lift_fence(self, at: KeyAt, version: bytes, time: int) -> None:
        self._execute(f"DELETE FROM fences WHERE {_OF_KEY} AND version = ? AND time = ?", (*at, version, time))

    def lift_fences_below(self, at: KeyAt, version: bytes, *, base_below: int) -> None:
        self._execute(f"DELETE FROM fences WHERE {_OF_KEY} AND version = ? AND base < ?", (*at, version, base_below))
