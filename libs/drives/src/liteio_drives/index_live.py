"""Which rows listings show first: the live ones, and when they have an index of their own.

Rows that are not live lie between those that are: older versions, delete markers. `records_live` spares a listing to
walk over them. A bucket that never had a version other than null holds but a few such rows, those that wait for their
confirm, so its listings read `records` itself and its writes do not pay for a second index. With its first version or
delete marker a bucket gets the index: new rows go in at once, those from before a bounded number at a time.
"""

from collections.abc import Callable
from typing import Final

from liteio_drives.index_rows import IN_LIVE_INDEX, OUT_OF_LIVE_INDEX, KeyAt
from liteio_drives.index_sql import Sql
from liteio_formats.record import Space

_LATER_KEYS: Final = "space = ? AND bucket = ? AND key > ?"


class LiveIndex:
    """Inside the caller's transaction. `on_begin` hears when rows are left to be taken up."""

    def __init__(self, sql: Sql, on_begin: Callable[[], None]) -> None:
        self._execute = sql.execute
        self._on_begin = on_begin

    def begin(self, at: KeyAt) -> None:
        """The key's bucket gets the index, unless it has it."""
        changed = self._execute(
            "UPDATE buckets SET has_live_index = 1 WHERE number = ? AND has_live_index = 0 RETURNING number",
            (at.bucket,),
        )
        if changed.fetchall():
            self._execute("INSERT INTO live_fills VALUES (?, x'')", (at.bucket,))
            self._on_begin()

    def fill(self, rows_max: int) -> bool:
        """Take up rows from before, about `rows_max` of them. Returns whether there are more."""
        found = self._execute("SELECT bucket, after FROM live_fills LIMIT 1").fetchone()
        if found is None:
            return False
        bucket, after = found
        last = self._execute(
            f"SELECT key FROM records WHERE {_LATER_KEYS} ORDER BY key LIMIT 1 OFFSET ?",
            (Space.OBJECT, bucket, after, rows_max - 1),
        ).get
        until, limit = ("", ()) if last is None else (" AND key <= ?", (last,))
        self._execute(
            f"UPDATE records SET live = {IN_LIVE_INDEX} WHERE {_LATER_KEYS}{until} AND live = {OUT_OF_LIVE_INDEX}",
            (Space.OBJECT, bucket, after, *limit),
        )
        if last is None:
            self._execute("DELETE FROM live_fills WHERE bucket = ?", (bucket,))
        else:
            self._execute("UPDATE live_fills SET after = ? WHERE bucket = ?", (last, bucket))
        return True
