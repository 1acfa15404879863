"""Rows, tombstones and marks of one key, as statements. What they mean together is decided in index_changes.

A *register* is all that one version id of a key holds: rows and tombstones. A tombstone *hides* the older rows of its
register at once. A key's *head* is its newest row that is not hidden; `live` marks a head that is a VALUE, and only
that row of the key.

A row is *stray* when the creation time that its version id carries does not lead to it: null rows that share their key
with other versions, and ids that carry another time. Strays have a small index of their own; the usual rows need none.
Either no row of a key is stray and they are all of the null version, or every null row of the key is.
"""

from typing import Final, NamedTuple

from liteio_base.ids import BucketId
from liteio_drives.index_sql import Sql
from liteio_drives.record_view import NULL_BYTES, RowView, created_in
from liteio_formats.record import Kind

KIND_OF: Final = tuple(Kind)


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
    digest: bytes

    @property
    def order(self) -> tuple[int, bytes, int]:
        """Greater is newer: the order of the table."""
        return self.created, self.version, self.time


class Survey(NamedTuple):
    """What one statement tells about a key before anything is done to it."""

    number: int  # the bucket's, 0 when the drive does not know it
    config: int
    standing: int
    tombstone_time: int  # the newest, in any version; 0 when there is none
    has_fences: bool  # of the version asked for


class Removed(NamedTuple):
    """What a removed row leaves to be taken care of. `encoded` only when it names shard files."""

    live: int
    shard_index: int
    encoded: bytes | None


# The last: liteio_formats.record.digest_of, in SQL.
_HELD: Final = "created, version, time, kind, live, stray, size_bytes, substr(encoded, 6, 16)"
_OF_KEY: Final = "space = ? AND bucket = ? AND key = ?"
_NEWEST_FIRST: Final = "ORDER BY created DESC, version DESC, time DESC"
_SURVEY: Final = (
    "SELECT number, config, standing, ifnull((SELECT t.time FROM tombstones t INDEXED BY tombstones_by_time"
    " WHERE t.space = ?2 AND t.bucket = b.number AND t.key = ?3 ORDER BY t.time DESC LIMIT 1), 0),"
    " EXISTS (SELECT 1 FROM fences f WHERE f.space = ?2 AND f.bucket = b.number AND f.key = ?3 AND f.version = ?4)"
    " FROM buckets b WHERE bucket_id = ?1"
)
_UNKNOWN: Final = Survey(0, 0, 0, 0, False)
_NEWEST_TWO: Final = f"SELECT {_HELD} FROM records WHERE {_OF_KEY} {_NEWEST_FIRST} LIMIT 2"
_ALL: Final = f"SELECT {_HELD} FROM records WHERE {_OF_KEY} {_NEWEST_FIRST}"
_BY_CREATION: Final = f"SELECT {_HELD} FROM records WHERE {_OF_KEY} AND created = ? AND version = ? ORDER BY time DESC"
_STRAYS: Final = f"SELECT {_HELD} FROM records INDEXED BY records_stray WHERE {_OF_KEY} AND stray = 1 AND version = ?"
_LIVE: Final = f"SELECT {_HELD} FROM records INDEXED BY records_live WHERE {_OF_KEY} AND live = 1 LIMIT 1"
_ROW: Final = f"{_OF_KEY} AND created = ? AND version = ? AND time = ?"


class RowTable:
    """Inside the caller's transaction."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql
        self._execute = sql.execute

    def survey(self, bucket_id: BucketId, space: int, key: bytes, version: bytes) -> Survey:
        row = self._execute(_SURVEY, (bucket_id, space, key, version)).fetchone()
        return Survey(*row) if row else _UNKNOWN

    def newest_two(self, at: KeyAt) -> list[Held]:
        """The newest rows, hidden or not: whether there is a second decides what else is to be looked up."""
        return [Held(*row) for row in self._execute(_NEWEST_TWO, at).fetchall()]

    def all_rows(self, at: KeyAt) -> list[Held]:
        return [Held(*row) for row in self._execute(_ALL, at).fetchall()]

    def of_version(self, at: KeyAt, version: bytes, newest: list[Held] | None = None) -> list[Held]:
        """The register's rows, newest time first. `newest`: as `newest_two` gave it, when it was asked already."""
        newest = self.newest_two(at) if newest is None else newest
        if len(newest) < 2:
            return [row for row in newest if row.version == version]
        if newest[0].version == NULL_BYTES and not newest[0].stray:
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
        row = self._execute(_LIVE, at).fetchone()
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

    def add_row(self, at: KeyAt, row: RowView, *, is_live: bool, is_stray: bool) -> None:
        payload_id = None
        if row.payload is not None:
            self._execute("INSERT INTO payloads(payload) VALUES (?)", (row.payload,))
            payload_id = self._sql.last_rowid()
        self._execute(
            "INSERT INTO records VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)",
            (
                *at,
                row.created,
                row.version,
                row.time,
                row.kind,
                is_live,
                is_stray,
                row.size_bytes,
                row.shard_index,
                bool(row.files),
                payload_id,
                row.payload_hash or None,
                row.encoded,
            ),
        )

    def add_tombstone(self, at: KeyAt, row: RowView, now_ns: int) -> None:
        self._execute(
            "INSERT INTO tombstones VALUES (?,?,?,?,?,?,?,?)",
            (*at, row.version, row.time, row.created, now_ns, row.encoded),
        )

    def remove_row(self, at: KeyAt, created: int, version: bytes, time: int) -> Removed:
        """The row with its payload. The caller drops the names of its files and mends the head."""
        live, payload, shard_index, encoded = self._execute(
            "DELETE FROM records WHERE " + _ROW + " RETURNING live, payload, shard_index,"
            " CASE names_files WHEN 1 THEN encoded END",
            (*at, created, version, time),
        ).fetchall()[0]
        if payload is not None:
            self._execute("DELETE FROM payloads WHERE id = ?", (payload,))
        return Removed(live, shard_index, encoded)

    def remove_tombstones(self, at: KeyAt, version: bytes, *, before: int) -> None:
        self._execute(f"DELETE FROM tombstones WHERE {_OF_KEY} AND version = ? AND time < ?", (*at, version, before))

    def remove_tombstone(self, at: KeyAt, version: bytes, time: int) -> None:
        self._execute(f"DELETE FROM tombstones WHERE {_OF_KEY} AND version = ? AND time = ?", (*at, version, time))

    def set_live(self, at: KeyAt, row: Held, is_live: bool) -> None:
        self._execute(f"UPDATE records SET live = ? WHERE {_ROW}", (is_live, *at, row.created, row.version, row.time))

    def make_null_rows_stray(self, at: KeyAt) -> None:
        """For a key that gets a row of another version."""
        self._execute(f"UPDATE records SET stray = 1 WHERE {_OF_KEY} AND version = x'' AND stray = 0", at)

    def replace_payload(self, at: KeyAt, held: Held, payload: bytes, payload_hash: bytes) -> None:
        """A repair of this drive's shard of an inline object."""
        place = (*at, held.created, held.version, held.time)
        number = self._execute(f"SELECT payload FROM records WHERE {_ROW}", place).get
        if number is not None:
            self._execute("DELETE FROM payloads WHERE id = ?", (number,))
        self._execute("INSERT INTO payloads(payload) VALUES (?)", (payload,))
        self._execute(
            f"UPDATE records SET payload = ?, payload_hash = ? WHERE {_ROW}",
            (self._sql.last_rowid(), payload_hash or None, *place),
        )

    # Marks and fences.

    def mark(self, at: KeyAt, version: bytes, time: int, *, is_tombstone: bool, now_ns: int) -> None:
        self._execute("INSERT INTO unsettled VALUES (?,?,?,?,?,?,?)", (*at, version, time, is_tombstone, now_ns))

    def is_marked(self, at: KeyAt, version: bytes, time: int) -> bool:
        found = self._execute(
            f"SELECT 1 FROM unsettled WHERE {_OF_KEY} AND version = ? AND time = ?", (*at, version, time)
        )
        return found.fetchone() is not None

    def clear_marks(self, at: KeyAt, version: bytes, *, until: int) -> None:
        self._execute(f"DELETE FROM unsettled WHERE {_OF_KEY} AND version = ? AND time <= ?", (*at, version, until))

    def clear_mark(self, at: KeyAt, version: bytes, time: int) -> None:
        self._execute(f"DELETE FROM unsettled WHERE {_OF_KEY} AND version = ? AND time = ?", (*at, version, time))

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
