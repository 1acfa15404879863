"""Ranges of keys that are to go: the parts of an upload that ended, everything of a bucket that was deleted.

A purge is written down with the transaction that decides it and done a bounded number of rows at a time, so that a
bucket with a million tombstones does not hold the drive's writers up.
"""

from collections.abc import Callable
from typing import Final

from liteio_drives.index_data import DataTable
from liteio_drives.index_sql import BEHIND_ALL_KEYS, Sql, after_prefix
from liteio_drives.record_view import decode_held, files_of
from liteio_formats.record import Space

_RANGE: Final = "space = ? AND bucket = ? AND key >= ? AND key < ?"
_SIDE_TABLES: Final = ("tombstones", "unsettled", "fences")


class PurgeTable:
    """Inside the caller's transaction. `on_add` hears of every purge that is written down."""

    def __init__(self, sql: Sql, data: DataTable, on_add: Callable[[], None]) -> None:
        self._execute = sql.execute
        self._data, self._on_add = data, on_add

    def add_prefix(self, space: Space, bucket: int, prefix: bytes) -> None:
        self._add(space, bucket, prefix, after_prefix(prefix), drops_bucket=False)

    def add_bucket(self, bucket: int) -> None:
        for space in Space:
            self._add(space, bucket, b"", BEHIND_ALL_KEYS, drops_bucket=space is max(Space))

    def run(self, rows_max: int, now_ns: int) -> bool:
        """Remove up to about `rows_max` rows. Returns whether there is more to do."""
        while rows_max > 0:
            purge = self._execute(
                "SELECT id, drops_bucket, space, bucket, low, high FROM purges ORDER BY id LIMIT 1"
            ).fetchone()
            if purge is None:
                return False
            number, drops_bucket, *limits = purge
            removed = self._remove_records(limits, rows_max, now_ns)
            rows_max -= removed
            for table in _SIDE_TABLES:
                if rows_max > 0:
                    rows_max -= self._remove_from(table, limits, rows_max)
            if rows_max > 0:
                self._execute("DELETE FROM purges WHERE id = ?", (number,))
                if drops_bucket:
                    self._execute("DELETE FROM buckets WHERE number = ?", (limits[1],))
        return True

    def _add(self, space: Space, bucket: int, low: bytes, high: bytes, *, drops_bucket: bool) -> None:
        self._execute(
            "INSERT INTO purges(space, bucket, low, high, drops_bucket) VALUES (?,?,?,?,?)",
            (space, bucket, low, high, drops_bucket),
        )
        self._on_add()

    def _remove_records(self, limits: list[object], rows_max: int, now_ns: int) -> int:
        rows = self._execute(
            "SELECT key, created, version, time, payload, shard_index, CASE names_files WHEN 1 THEN encoded END"
            f" FROM records WHERE {_RANGE} ORDER BY key LIMIT ?",
            (*limits, rows_max),
        ).fetchall()
        for key, created, version, time, payload, shard_index, encoded in rows:
            self._execute(
                "DELETE FROM records WHERE space = ? AND bucket = ? AND key = ?"
                " AND created = ? AND version = ? AND time = ?",
                (limits[0], limits[1], key, created, version, time),
            )
            if payload is not None:
                self._execute("DELETE FROM payloads WHERE id = ?", (payload,))
            if encoded is not None:
                for file in files_of(decode_held(encoded), shard_index):
                    self._data.drop_name(file, now_ns)
        return len(rows)

    def _remove_from(self, table: str, limits: list[object], rows_max: int) -> int:
        """Whole keys at a time: a key's own few rows may take the count a little over."""
        keys = self._execute(
            f"SELECT key FROM {table} WHERE {_RANGE} ORDER BY key LIMIT ?", (*limits, rows_max)
        ).fetchall()
        if keys:
            self._execute(
                f"DELETE FROM {table} WHERE space = ? AND bucket = ? AND key BETWEEN ? AND ?",
                (limits[0], limits[1], keys[0][0], keys[-1][0]),
            )
        return len(keys)
