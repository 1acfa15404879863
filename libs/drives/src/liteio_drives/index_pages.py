"""LIST pages. A page costs what it returns: dead keys are not in the index that is scanned, a common prefix is one
seek, and only keys with unsettled marks are looked at one by one.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from typing import Any, Final

from liteio_contracts.storage import Entry, ListItem, ListMode, ListPage, ListQuery
from liteio_drives.index_buckets import BucketTable
from liteio_drives.index_changes import Meta
from liteio_drives.index_reads import KeyReads, Mark
from liteio_drives.index_rows import KIND_OF, KeyAt
from liteio_drives.index_sql import Sql, after_prefix
from liteio_drives.limits import REPRESENTATIVES_MAX
from liteio_drives.record_view import NULL_BYTES, version_bytes
from liteio_formats.record import Kind, Space, digest_of

_RANGE: Final = "space = ? AND bucket = ? AND key >= ? AND key < ?"
_ROW: Final = "created, version, time, kind, encoded, key"
_LIVE: Final = f"SELECT {_ROW} FROM records INDEXED BY records_live WHERE {_RANGE} AND live = 1 ORDER BY key"
# The same without the index, which costs a seek a row: where rows that are not live are none, or few (index_live).
_AMONG_ALL: Final = f"SELECT {_ROW} FROM records NOT INDEXED WHERE {_RANGE} AND live > 0 ORDER BY key"
_IS_MOSTLY_LIVE: Final = (
    "SELECT has_live_index = 0 OR (versions = objects AND delete_markers = 0)"
    " OR EXISTS (SELECT 1 FROM live_fills f WHERE f.bucket = number) FROM buckets WHERE number = ?"
)
_VERSIONS: Final = f"SELECT {_ROW} FROM records WHERE {_RANGE} ORDER BY key, created DESC, version DESC, time DESC"
_REST_OF_KEY: Final = (
    f"SELECT {_ROW} FROM records WHERE space = ?1 AND bucket = ?2 AND key = ?3"
    " AND (created < ?4 OR (created = ?4 AND version < ?5)) ORDER BY created DESC, version DESC, time DESC"
)
_OF_KEY: Final = (
    f"SELECT {_ROW} FROM records WHERE space = ? AND bucket = ? AND key = ?"
    " ORDER BY created DESC, version DESC, time DESC"
)
_MARKED_KEYS: Final = f"SELECT DISTINCT key FROM unsettled WHERE {_RANGE} ORDER BY key"

Source = Callable[[bytes], Iterator[ListItem]]


class PageReads:
    """Inside the caller's read transaction."""

    def __init__(self, sql: Sql, keys: KeyReads) -> None:
        self._sql = sql
        self._execute = sql.execute
        self._buckets = BucketTable(sql)
        self._keys = keys

    def list_page(self, query: ListQuery, meta: Meta) -> ListPage:
        number = self._buckets.number_of(query.bucket_id)
        if number is None:
            return ListPage(meta.generation, meta.is_authoritative, (), False, meta.is_unchecked)
        page = _Page(self._sql, self._keys, query, number)
        try:
            items, is_truncated = page.collect()
        finally:
            page.close()
        return ListPage(meta.generation, meta.is_authoritative, tuple(items), is_truncated, meta.is_unchecked)


class _Page:
    """The collecting of one page. Its cursors end with it."""

    def __init__(self, sql: Sql, keys: KeyReads, query: ListQuery, bucket: int) -> None:
        self._execute = sql.execute
        self._rows = sql.scan()
        self._marked = sql.scan()
        self._keys = keys
        self._query = query
        self._bucket = bucket
        self._high = after_prefix(query.prefix)
        self._low = self._first_key()
        marked = f"SELECT 1 FROM unsettled WHERE {_RANGE} LIMIT 1"
        marks_low = self._low if query.after_created is None else min(self._low, query.after)
        self._has_marks = self._execute(marked, self._range(marks_low)).fetchone() is not None

    def close(self) -> None:
        self._rows.close(True)
        self._marked.close(True)

    def collect(self) -> tuple[list[ListItem], bool]:
        query = self._query
        if query.mode is ListMode.LATEST and not self._has_marks and not query.delimiter:
            return self._collect_plain()
        source: Source = self._latest if query.mode is ListMode.LATEST else self._versions
        return self._collect_items(source)

    def _collect_plain(self) -> tuple[list[ListItem], bool]:
        limit = self._query.limit
        rows = self._execute(self._live + " LIMIT ?", (*self._range(self._low), limit + 1)).fetchall()
        # Spelled out: a call of `_item` a row is a third of the page's time.
        items = [
            ListItem(key, False, Entry(version.hex(), created, time, Kind.VALUE, True, digest_of(encoded), encoded))
            for created, version, time, _, encoded, key in rows[:limit]
        ]
        return items, len(rows) > limit

    @cached_property
    def _live(self) -> str:
        """What finds the live rows of a range."""
        if self._query.space is Space.OBJECT and self._execute(_IS_MOSTLY_LIVE, (self._bucket,)).get:
            return _AMONG_ALL
        return _LIVE

    def _collect_items(self, source: Source) -> tuple[list[ListItem], bool]:
        query, found = self._query, list[ListItem]()
        items = source(self._low)
        while True:
            item = next(items, None)
            if item is None:
                return found, False
            if len(found) >= query.limit:
                return found, True
            end = item.key.find(query.delimiter, len(query.prefix)) if query.delimiter else -1
            if end < 0:
                found.append(item)
                continue
            prefix = item.key[: end + len(query.delimiter)]
            found.append(_representative(prefix, item, items))
            items.close()  # type: ignore[attr-defined]  # sources are generators
            items = source(after_prefix(prefix))

    # Sources: items from a key on, in order. Keys with unsettled marks are merged in and looked at one by one.

    def _latest(self, low: bytes) -> Iterator[ListItem]:
        live = _Ahead(self._rows.execute(self._live, self._range(low)))
        for key in self._marked_keys(low):
            for row in live.before(key):
                yield _item(row)
            for _ in live.of_key(key):
                pass
            yield self._marked_head(key)
        for row in live.rest():
            yield _item(row)

    def _marked_head(self, key: bytes) -> ListItem:
        at = KeyAt(self._query.space, self._bucket, key)
        marks = self._keys.marks(at)
        hidden_until = _hidden_until(marks)
        head = next((row for row in self._execute(_OF_KEY, at) if row[2] > hidden_until.get(row[1], 0)), None)
        if head is None or head[3] != Kind.VALUE:
            return ListItem(key, False, None, True)
        own = (head[1], head[2])
        return _item(head, own not in marks, any(mark != own for mark in marks))

    def _versions(self, low: bytes) -> Iterator[ListItem]:
        query = self._query
        if low == self._low and query.after_created is not None and query.after.startswith(query.prefix):
            version = version_bytes(query.after_version_id) or NULL_BYTES
            place = (query.space, self._bucket, query.after, query.after_created, version)
            yield from self._marked_versions(query.after, iter(self._rows.execute(_REST_OF_KEY, place)), shown=True)
        rows = _Ahead(self._rows.execute(_VERSIONS, self._range(low)))
        for key in self._marked_keys(low):
            for row in rows.before(key):
                yield _item(row)
            yield from self._marked_versions(key, rows.of_key(key), shown=False)
        for row in rows.rest():
            yield _item(row)

    def _marked_versions(self, key: bytes, rows: Iterator[Sequence[Any]], *, shown: bool) -> Iterator[ListItem]:
        """The rows of a key that no tombstone hides, one for each (creation, version), which is what a cursor names."""
        marks = self._keys.marks(KeyAt(self._query.space, self._bucket, key))
        hidden_until = _hidden_until(marks)
        place = None
        for row in rows:
            if row[2] <= hidden_until.get(row[1], 0) or (row[0], row[1]) == place:
                continue
            place, own, shown = (row[0], row[1]), (row[1], row[2]), True
            yield _item(row, own not in marks, any(mark != own for mark in marks))
        if not shown:
            yield ListItem(key, False, None, True)

    def _marked_keys(self, low: bytes) -> Iterator[bytes]:
        if self._has_marks:
            for (key,) in self._marked.execute(_MARKED_KEYS, self._range(low)):
                yield key

    # Bounds.

    def _first_key(self) -> bytes:
        query = self._query
        if query.after < query.prefix or (not query.after and not query.is_after_inclusive):
            # Without a place to go on behind, an empty key of this space would be listed too.
            return query.prefix
        return query.after if query.is_after_inclusive else query.after + b"\x00"

    def _range(self, low: bytes) -> tuple[int, int, bytes, bytes]:
        return self._query.space, self._bucket, low, self._high


def _item(row: Sequence[Any], is_settled: bool = True, is_ambiguous: bool = False) -> ListItem:
    created, version, time, kind, encoded, key = row
    entry = Entry(version.hex(), created, time, KIND_OF[kind], is_settled, digest_of(encoded), encoded)
    return ListItem(key, False, entry, is_ambiguous)


def _representative(prefix: bytes, first: ListItem, rest: Iterator[ListItem]) -> ListItem:
    """The item of a common prefix: the first key under it that is listed for certain, else the first with an entry."""
    best = first
    if not _is_certain(first):
        for item in islice(rest, REPRESENTATIVES_MAX):
            if not item.key.startswith(prefix):
                break
            if _is_certain(item) or best.entry is None:
                best = item
            if _is_certain(best):
                break
    return ListItem(prefix, True, best.entry, best.is_ambiguous)


def _is_certain(item: ListItem) -> bool:
    return item.entry is not None and item.entry.is_settled and not item.is_ambiguous


def _hidden_until(marks: dict[Mark, bool]) -> dict[bytes, int]:
    """By version: the time of its newest unsettled tombstone. Settled ones have no older rows left to hide."""
    found: dict[bytes, int] = {}
    for (version, time), is_tombstone in marks.items():
        if is_tombstone:
            found[version] = max(found.get(version, 0), time)
    return found


class _Ahead:
    """Rows in key order, taken in runs. A row that ends a run is kept for the next one."""

    def __init__(self, rows: Iterable[Sequence[Any]]) -> None:
        self._rows = iter(rows)
        self._kept: Sequence[Any] | None = None

    def rest(self) -> Iterator[Sequence[Any]]:
        if self._kept is not None:
            kept, self._kept = self._kept, None
            yield kept
        for row in self._rows:  # noqa: UP028  # `yield from` would close the cursor when a run ends early
            yield row

    def before(self, key: bytes) -> Iterator[Sequence[Any]]:
        for row in self.rest():
            if row[5] >= key:
                self._kept = row
                return
            yield row

    def of_key(self, key: bytes) -> Iterator[Sequence[Any]]:
        """After `before(key)`."""
        for row in self.rest():
            if row[5] != key:
                self._kept = row
                return
            yield row
