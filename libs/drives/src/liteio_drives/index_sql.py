"""One connection's statements: a shared cursor, so that no statement stays half read behind a transaction's end."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol, cast

import apsw


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


class Sql:
    """`execute` runs a statement on the connection's one cursor, which ends the statement before it: read a result to
    its end, or as far as it is of use, before the next call. `scan` gives a cursor of its own, to be closed.
    """

    __slots__ = ("_db", "execute", "last_rowid")

    def __init__(self, db: apsw.Connection) -> None:
        self._db: Final = db
        self.execute: Final[Callable[..., Cursor]] = cast(Cursor, db.cursor()).execute
        self.last_rowid: Final[Callable[[], int]] = db.last_insert_rowid

    def scan(self) -> Cursor:
        return cast(Cursor, self._db.cursor())


BEHIND_ALL_KEYS: Final = b"\xff" * 4096  # longer than any key, upload keys with every byte escaped included


def after_prefix(prefix: bytes) -> bytes:
    """The first key behind every key with this prefix. BEHIND_ALL_KEYS when it is empty or nothing but 0xff."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes((kept[-1] + 1,)) if kept else BEHIND_ALL_KEYS
