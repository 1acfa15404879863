"""Which shard files rows name, and which files nobody names any more."""

from collections.abc import Sequence
from typing import NamedTuple

from liteio_drives.index_sql import Sql
from liteio_drives.record_view import NamedFile


class FileName(NamedTuple):
    """A shard file by the bytes of its data id and its part number."""

    data_id: bytes
    part: int


class DataTable:
    """`data_refs` counts the rows that name a file, `garbage` the files whose last row went. A file is in one of them,
    or staged and in neither. Inside the caller's transaction.
    """

    def __init__(self, sql: Sql) -> None:
        self._execute = sql.execute

    def is_unknown(self, file: FileName) -> bool:
        """Whether the file is in neither table: staged, or left over."""
        found = self._execute(
            "SELECT 1 FROM data_refs WHERE data_id = ?1 AND part = ?2"
            " UNION ALL SELECT 1 FROM garbage WHERE data_id = ?1 AND part = ?2",
            file,
        )
        return found.fetchone() is None

    def add_name(self, file: NamedFile) -> None:
        self._execute(
            "INSERT INTO data_refs VALUES (?, ?, 1) ON CONFLICT DO UPDATE SET names = names + 1", (file[0], file[1])
        )
        self._execute("DELETE FROM garbage WHERE data_id = ? AND part = ?", (file[0], file[1]))

    def drop_name(self, file: NamedFile, now_ns: int) -> None:
        """One row fewer names it; the last one makes it garbage."""
        name = (file.data_id, file.part)
        left = self._execute(
            "UPDATE data_refs SET names = names - 1 WHERE data_id = ? AND part = ? RETURNING names", name
        ).get
        if left is not None and left <= 0:
            self._execute("DELETE FROM data_refs WHERE data_id = ? AND part = ?", name)
            self._execute("INSERT OR REPLACE INTO garbage VALUES (?, ?, ?)", (*name, now_ns))

    def garbage(self, *, before_ns: int, now_ns: int, limit: int) -> Sequence[FileName]:
        """What was dropped before that, or at a time that is still to come: the clock was stepped back since."""
        rows = self._execute(
            "SELECT data_id, part FROM garbage WHERE since_ns <= ? OR since_ns > ? LIMIT ?", (before_ns, now_ns, limit)
        )
        return [FileName(*row) for row in rows.fetchall()]

    def forget_garbage(self, file: FileName) -> None:
        self._execute("DELETE FROM garbage WHERE data_id = ? AND part = ?", file)
