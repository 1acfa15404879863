"""One connection's statements: a shared cursor, so that no statement stays half read behind a transaction's end, and
rows that are written many at a time."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol, cast

import apsw

_CHUNK_ROWS: Final = (16, 4, 1)


class Cursor(Protocol):
    """apsw's cursor, without the union of all column types: what a column holds is known by its statement."""

    def execute(self, statement: str, bindings: Sequence[Any] = ()) -> "Cursor": ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...
    def close(self, force: bool = False) -> None: ...
    def __iter__(self) -> Iterator[Any]: ...

    @property
    def get(self) -> Any:
        """The one value of the one row, None when there is no row."""


class Bulk:
    """A statement over any number of rows: what stands before the rows, the place holders of one, what stands behind.

    One statement for many rows costs a fraction of as many statements, mostly because apsw lets go of the interpreter's
    lock at every statement, and gets it back when other threads are willing (docs/architecture.md, "Speed").
    """

    __slots__ = ("_texts",)

    def __init__(self, before: str, row: str, behind: str = "") -> None:
        self._texts: Final = {size: f"{before} {','.join([row] * size)}{behind}" for size in _CHUNK_ROWS}

    def chunks(self, rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, list[Any]]]:
        """Statements of a few fixed sizes, so that each is prepared once, with their bindings."""
        start = 0
        for size in _CHUNK_ROWS:
            while len(rows) - start >= size:
                yield self._texts[size], [value for row in rows[start : start + size] for value in row]
                start += size


class Sql:
    """`execute` runs a statement on the connection's one cursor, which ends the statement before it: read a result to
    its end, or as far as it is of use, before the next call. `scan` gives a cursor of its own, to be closed.

    `later` leaves a row to be written together with others of its kind, before any other statement is run: nobody can
    see that it was not written at once. Kinds come in no certain order: leave nothing that changes what is left.
    """

    __slots__ = ("_db", "_run", "_waiting", "last_rowid")

    def __init__(self, db: apsw.Connection) -> None:
        self._db: Final = db
        self._run: Final[Callable[..., Cursor]] = cast(Cursor, db.cursor()).execute
        self.last_rowid: Final[Callable[[], int]] = db.last_insert_rowid
        self._waiting: Final[dict[Bulk, list[Sequence[Any]]]] = {}

    def execute(self, statement: str, bindings: Sequence[Any] = ()) -> Cursor:
        if self._waiting:
            self._write_waiting()
        return self._run(statement, bindings)

    def later(self, bulk: Bulk, row: Sequence[Any]) -> None:
        self._waiting.setdefault(bulk, []).append(row)

    def waiting(self) -> int:
        """How many rows are left to be written."""
        return sum(map(len, self._waiting.values())) if self._waiting else 0

    def forget_waiting(self) -> None:
        """Before a transaction is rolled back."""
        self._waiting.clear()

    def select(self, bulk: Bulk, rows: Sequence[Sequence[Any]]) -> list[Any]:
        """What a query tells about all of these rows."""
        return [found for text, bindings in bulk.chunks(rows) for found in self.execute(text, bindings).fetchall()]

    def scan(self) -> Cursor:
        if self._waiting:
            self._write_waiting()
        return cast(Cursor, self._db.cursor())

    def _write_waiting(self) -> None:
        waiting = dict(self._waiting)
        self._waiting.clear()
        for bulk, rows in waiting.items():
            for text, bindings in bulk.chunks(rows):
                self._run(text, bindings)


BEHIND_ALL_KEYS: Final = b"\xff" * 4096  # longer than any key, upload keys with every byte escaped included


def after_prefix(prefix: bytes) -> bytes:
    """The first key behind every key with this prefix. BEHIND_ALL_KEYS when it is empty or nothing but 0xff."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else BEHIND_ALL_KEYS
