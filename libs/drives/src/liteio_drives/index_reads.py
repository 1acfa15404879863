"""What a drive answers about keys, and about itself. Read only; everything of one call is from one moment."""

from collections.abc import Iterator, Sequence
from typing import Any, Final

from liteio_base.ids import BucketId, HybridTime, VersionId
from liteio_contracts.storage import (
    Entry,
    Fence,
    KeyAnswer,
    KeyName,
    KeyQuery,
    OutboxRow,
    VersionRef,
)
from liteio_drives.index_buckets import BucketTable
from liteio_drives.index_changes import Meta
from liteio_drives.index_payloads import whole_payload
from liteio_drives.index_rows import KIND_OF, KeyAt
from liteio_drives.index_sql import Sql
from liteio_drives.record_view import NULL_BYTES, created_in, version_bytes, version_text
from liteio_formats.record import Kind, Space, digest_of

Mark = tuple[bytes, int]  # version, time

_OF_KEY: Final = "space = ? AND bucket = ? AND key = ?"
_ROW: Final = "created, version, time, kind, encoded, payload_hash, payload_head, payload"
_NEWEST_FIRST: Final = "ORDER BY created DESC, version DESC, time DESC"
_ROWS: Final = f"SELECT {_ROW} FROM records WHERE {_OF_KEY} {_NEWEST_FIRST}"
_TOP: Final = f"SELECT created, version, stray FROM records WHERE {_OF_KEY} {_NEWEST_FIRST} LIMIT 1"
_BY_CREATION: Final = f"SELECT {_ROW} FROM records WHERE {_OF_KEY} AND created = ? AND version = ? {_NEWEST_FIRST}"
_STRAYS: Final = (
    f"SELECT {_ROW} FROM records INDEXED BY records_stray WHERE {_OF_KEY} AND stray = 1 AND version = ? {_NEWEST_FIRST}"
)
_MARKS: Final = f"SELECT version, time, is_tombstone FROM unsettled WHERE {_OF_KEY}"
# One statement for what every answer needs; its bindings are a KeyName's fields.
_SURVEY: Final = (
    "SELECT number, ifnull((SELECT t.time FROM tombstones t INDEXED BY tombstones_by_time"
    " WHERE t.space = ?1 AND t.bucket = b.number AND t.key = ?3 ORDER BY t.time DESC LIMIT 1), 0),"
    " EXISTS (SELECT 1 FROM unsettled u WHERE u.space = ?1 AND u.bucket = b.number AND u.key = ?3)"
    " FROM buckets b WHERE bucket_id = ?2"
)
_NO_MARKS: Final[dict[Mark, bool]] = {}

Row = tuple[int, bytes, int, int, bytes, bytes | None, bytes | None, int | None]  # the columns of _ROW


def entry_of(row: Sequence[Any], is_settled: bool, payload: bytes | None = None) -> Entry:
    """An Entry of the first six columns of _ROW."""
    created, version, time, kind, encoded, payload_hash = row[:6]
    return Entry(
        version.hex(),
        created,
        time,
        KIND_OF[kind],
        is_settled,
        digest_of(encoded),
        encoded,
        payload,
        payload_hash or b"",
    )


def _answer(meta: Meta, head_time: int, entries: tuple[Entry, ...] = (), fences: tuple[Fence, ...] = ()) -> KeyAnswer:
    is_whole, number = meta.is_authoritative, meta.topology_number
    return KeyAnswer(meta.generation, is_whole, HybridTime(head_time), entries, fences, number, meta.is_unchecked)


class KeyReads:
    """Inside the caller's read transaction."""

    def __init__(self, sql: Sql) -> None:
        self._sql = sql
        self._execute = sql.execute
        self._buckets = BucketTable(sql)
        self.has_shown_unsettled = False  # Set here: whoever answers has it synced first, and clears this.

    def read_key(self, query: KeyQuery, meta: Meta) -> KeyAnswer:
        name = query.name
        survey = self._execute(_SURVEY, name).fetchone()
        if survey is None:
            return _answer(meta, 0)
        number, tombstone_time, has_marks = survey
        at = KeyAt(name.space, number, name.key)
        marks = self.marks(at) if has_marks else _NO_MARKS
        if query.version_ids is None:
            return self._read_head(at, query, marks, tombstone_time, meta)
        return self._read_registers(at, query, marks, tombstone_time, meta)

    def _read_head(
        self, at: KeyAt, query: KeyQuery, marks: dict[Mark, bool], tombstone_time: int, meta: Meta
    ) -> KeyAnswer:
        rows: list[Row] = []
        for row in self._execute(_ROWS, at):
            rows.append(row)
            if row[0] < query.below and (row[1], row[2]) not in marks:
                break
        entries = self._entries(rows, marks, query.wants_payload)
        head_time = max(rows[0][0], tombstone_time) if rows else tombstone_time
        for (version, time), is_tombstone in marks.items():
            if is_tombstone:
                entries.extend(self._tombstones(at, version, marks, time=time))
        return _answer(meta, head_time, tuple(entries))

    def _read_registers(
        self, at: KeyAt, query: KeyQuery, marks: dict[Mark, bool], tombstone_time: int, meta: Meta
    ) -> KeyAnswer:
        top = self._execute(_TOP, at).fetchone()
        entries: list[Entry] = []
        fences: list[Fence] = []
        for version_id in query.version_ids or ():
            version = version_bytes(version_id)
            if version is None:
                continue
            if top:
                rows = self._register_rows(at, version, top)
                entries.extend(self._entries(rows, marks, query.wants_payload))
            if tombstone_time:
                entries.extend(self._tombstones(at, version, marks))
            fences.extend(self._fences(at, version, version_id))
        head_time = max(top[0] if top else 0, tombstone_time)
        return _answer(meta, head_time, tuple(entries), tuple(fences))

    def key_versions(self, name: KeyName) -> Sequence[VersionId]:
        number = self._buckets.number_of(name.bucket_id)
        if number is None:
            return ()
        at = KeyAt(name.space, number, name.key)
        rows = self._execute(
            f"SELECT version FROM records WHERE {_OF_KEY} UNION SELECT version FROM tombstones WHERE {_OF_KEY}"
            f" UNION SELECT version FROM fences WHERE {_OF_KEY}",
            (*at, *at, *at),
        ).fetchall()
        return tuple(version_text(version) for (version,) in rows)

    def walk(self, after: KeyName | None, limit: int) -> Sequence[KeyName]:
        """By space, then bucket id, then key. Costs two seeks a key, however many versions it has."""
        buckets = self._execute("SELECT bucket_id, number FROM buckets ORDER BY bucket_id").fetchall()
        found: list[KeyName] = []
        for space in Space:
            for bucket_id, number in buckets:
                place = KeyName(space, bucket_id, b"")
                if after is not None and (space, bucket_id) < (after.space, after.bucket_id):
                    continue
                is_inside = after is not None and (space, bucket_id) == (after.space, after.bucket_id)
                behind = after.key if after is not None and is_inside else None
                for key in self._distinct_keys(space, number, behind):
                    if len(found) >= limit:
                        return found
                    found.append(place._replace(key=key))
        return found

    def unsettled(self, older_than_ns: int, limit: int, now_ns: int) -> Sequence[VersionRef]:
        rows = self._execute(
            "SELECT u.space, b.bucket_id, u.key, u.version, u.time"
            " FROM unsettled u CROSS JOIN buckets b ON b.number = u.bucket"
            " WHERE u.since_ns < ? OR u.since_ns > ? ORDER BY u.since_ns LIMIT ?",
            (older_than_ns, now_ns, limit),
        ).fetchall()
        self.has_shown_unsettled |= bool(rows)
        return tuple(
            VersionRef(KeyName(Space(space), BucketId(bucket_id), key), version_text(version), HybridTime(time))
            for space, bucket_id, key, version, time in rows
        )

    def outbox(self, older_than_ns: int, limit: int, now_ns: int) -> Sequence[OutboxRow]:
        rows = self._execute(
            "SELECT number, queued_ns, payload FROM outbox WHERE queued_ns < ? OR queued_ns > ?"
            " ORDER BY number LIMIT ?",
            (older_than_ns, now_ns, limit),
        ).fetchall()
        self.has_shown_unsettled |= bool(rows)
        return tuple(OutboxRow(*row) for row in rows)

    def count(self, table: str) -> int:
        found: int = self._execute(f"SELECT count(*) FROM {table}").get
        return found

    def marks(self, at: KeyAt) -> dict[Mark, bool]:
        """Unsettled marks of a key: (version, time) → whether it marks a tombstone."""
        rows = self._execute(_MARKS, at).fetchall()
        self.has_shown_unsettled |= bool(rows)
        return {(version, time): bool(is_tombstone) for version, time, is_tombstone in rows}

    def _entries(self, rows: list[Row], marks: dict[Mark, bool], wants_payload: bool) -> list[Entry]:
        return [
            entry_of(row, (row[1], row[2]) not in marks, self._payload(row[6], row[7]) if wants_payload else None)
            for row in rows
        ]

    def _payload(self, head: bytes | None, number: int | None) -> bytes | None:
        if number is None:
            return None
        row = self._execute("SELECT payload FROM payloads WHERE id = ?", (number,)).fetchone()
        return whole_payload(head, row[0] if row else None)

    def _register_rows(self, at: KeyAt, version: bytes, top: tuple[int, bytes, int]) -> list[Row]:
        if top[1] == NULL_BYTES and not top[2]:
            return self._execute(_ROWS, at).fetchall() if version == NULL_BYTES else []
        rows: list[Row] = self._execute(_STRAYS, (*at, version)).fetchall()
        if version != NULL_BYTES:
            rows += self._execute(_BY_CREATION, (*at, created_in(version), version)).fetchall()
        return rows

    def _tombstones(
        self, at: KeyAt, version: bytes, marks: dict[Mark, bool], time: int | None = None
    ) -> Iterator[Entry]:
        rows = self._execute(
            f"SELECT created, time, encoded FROM tombstones WHERE {_OF_KEY} AND version = ? ORDER BY time DESC",
            (*at, version),
        ).fetchall()
        for created, held_time, encoded in rows:
            if time is None or held_time == time:
                is_settled = (version, held_time) not in marks
                yield entry_of((created, version, held_time, Kind.TOMBSTONE, encoded, None), is_settled)

    def _fences(self, at: KeyAt, version: bytes, version_id: VersionId) -> list[Fence]:
        rows = self._execute(f"SELECT time FROM fences WHERE {_OF_KEY} AND version = ?", (*at, version)).fetchall()
        return [Fence(version_id, HybridTime(time)) for (time,) in rows]

    def _distinct_keys(self, space: int, bucket: int, behind: bytes | None) -> Iterator[bytes]:
        compare = ">=" if behind is None else ">"
        key = behind or b""
        while True:
            row = self._execute(
                f"SELECT min(key) FROM (SELECT * FROM (SELECT key FROM records WHERE space = ?1 AND bucket = ?2"
                f" AND key {compare} ?3 ORDER BY key LIMIT 1)"
                f" UNION ALL SELECT * FROM (SELECT key FROM tombstones WHERE space = ?1 AND bucket = ?2"
                f" AND key {compare} ?3 ORDER BY key LIMIT 1))",
                (space, bucket, key),
            ).fetchone()
            if row[0] is None:
                return
            key, compare = row[0], ">"
            yield key
