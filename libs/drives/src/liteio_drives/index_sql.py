"""One connection's statements: a shared cursor, so that no statement stays half read behind a transaction's end, and
rows that are written and read many at a time.

apsw lets go of the interpreter's lock at every step of every statement, and gets it back when other threads are
willing: with several drives in a process that costs more than most steps do. So what many rows need is one statement
(`Bulk`), and what many rows say is one row (`packed`).
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, Protocol, cast

import apsw
import msgspec

_CHUNK_ROWS: Final = (64, 32, *range(16, 0, -1))
_decode_rows: Final = msgspec.json.Decoder(list[list[Any]]).decode


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
    """A statement over many rows: what stands before the rows, the place holders of one, what stands behind."""

    __slots__ = ("_texts",)

    def __init__(self, before: str, row: str, behind: str = "") -> None:
        self._texts: Final = {size: f"{before} {','.join([row] * size)}{behind}" for size in _CHUNK_ROWS}

    def chunks(self, rows: Sequence[Sequence[Any]]) -> Iterator[tuple[str, list[Any]]]:
        """Statements of a few fixed sizes, so that each is prepared once, with their bindings."""
        start, left = 0, len(rows)
        while left:
            size = left if left in self._texts else next(size for size in _CHUNK_ROWS if size <= left)
            yield self._texts[size], list(chain.from_iterable(rows[start : start + size]))
            start, left = start + size, left - size


class Sql:
    """`execute` runs a statement on the connection's one cursor, which ends the statement before it: read a result to
    its end, or as far as it is of use, before the next call. `scan` gives a cursor of its own, to be closed.

    `later` leaves a row to be written together with others of its kind, before any other statement is run: nobody can
    see that it was not written at once. Kinds come in no certain order: leave nothing that changes what is left.
    """

    __slots__ = ("_db", "_run", "_waiting", "last_rowid", "left")

    def __init__(self, db: apsw.Connection) -> None:
        self._db: Final = db
        self._run: Final[Callable[..., Cursor]] = cast(Cursor, db.cursor()).execute
        self.last_rowid: Final[Callable[[], int]] = db.last_insert_rowid
        self._waiting: Final[dict[Bulk, list[Sequence[Any]]]] = {}
        self.left = 0  # how many rows were ever left for later

    def execute(self, statement: str, bindings: Sequence[Any] = ()) -> Cursor:
        if self._waiting:
            self._write_waiting()
        return self._run(statement, bindings)

    def later(self, bulk: Bulk, row: Sequence[Any]) -> None:
        self.left += 1
        rows = self._waiting.get(bulk)
        if rows is None:
            self._waiting[bulk] = [row]
        else:
            rows.append(row)

    def forget_waiting(self) -> None:
        """Before a transaction is rolled back."""
        self._waiting.clear()

    def select(self, bulk: Bulk, rows: Sequence[Sequence[Any]]) -> Iterator[list[Any]]:
        """What a packed query tells about all of these rows."""
        for text, bindings in bulk.chunks(rows):
            yield from unpacked(*self.execute(text, bindings).fetchall()[0])

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


def packed(columns: Sequence[str], blobs: Sequence[str]) -> str:
    """The columns of a SELECT that gives all its rows as one, for `unpacked`: a JSON array of arrays with `columns` and
    the lengths of `blobs`, and behind it, blob column by blob column, the blobs of all rows joined."""
    values = ", ".join([*columns, *(f"length({blob})" for blob in blobs)])
    joined = "".join(f", CAST(group_concat({blob}, '') AS BLOB)" for blob in blobs)
    return f"json_group_array(json_array({values})){joined}"


def unpacked(values: str, *joined: bytes | None) -> Iterator[list[Any]]:
    """The rows of a packed SELECT: its columns, then its blobs; None where they are NULL."""
    starts = [0] * len(joined)
    for row in _decode_rows(values):
        first = len(row) - len(joined)
        for index, blobs in enumerate(joined):
            length = row[first + index]
            if length is not None:
                start = starts[index]
                starts[index] = start + length
                row[first + index] = blobs[start : start + length] if length and blobs is not None else b""
        yield row


BEHIND_ALL_KEYS: Final = b"\xff" * 4096  # longer than any key, upload keys with every byte escaped included


def after_prefix(prefix: bytes) -> bytes:
    """The first key behind every key with this prefix. BEHIND_ALL_KEYS when it is empty or nothing but 0xff."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else BEHIND_ALL_KEYS
