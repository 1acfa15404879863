"""Digests over ranges of keys as a MemoryDrive takes them: key by key, as the contract says it."""

from collections.abc import Iterable, Iterator

from liteio_contracts.range_digest import RangeHasher
from liteio_contracts.storage import RANGES_MAX, DigestQuery, KeyName, RangeDigest
from liteio_testkit.held_key import HeldKey, HeldRow


def digest_ranges(held_keys: Iterable[tuple[KeyName, HeldKey]], query: DigestQuery) -> Iterator[RangeDigest]:
    """The ranges of an answer. `held_keys`: behind the query's `after`, in order."""
    inside = [
        (name, held)
        for name, held in held_keys
        if (query.until is None or name <= query.until) and (held.records and _told(held, query))
    ]
    ranges = _cut_at_bounds(inside, query) if query.bounds else _cut_by_rows(inside, query)
    for made, one in enumerate(ranges, start=1):
        yield one
        if made >= RANGES_MAX:
            return


def _cut_at_bounds(inside: list[tuple[KeyName, HeldKey]], query: DigestQuery) -> Iterator[RangeDigest]:
    after = query.after
    for until in (*query.bounds, query.until):
        hasher = RangeHasher()
        for name, held in inside:
            if (after is None or name > after) and (until is None or name <= until):
                _add(hasher, name, held, query)
        yield hasher.finish(until)
        after = until


def _cut_by_rows(inside: list[tuple[KeyName, HeldKey]], query: DigestQuery) -> Iterator[RangeDigest]:
    hasher, records = RangeHasher(), 0
    for name, held in inside:
        _add(hasher, name, held, query)
        records += len(held.rows)
        if records >= query.rows or query.rows == 1:
            yield hasher.finish(name)
            if name == query.until:
                return
            hasher, records = RangeHasher(), 0
    yield hasher.finish(query.until)


def _told(held: HeldKey, query: DigestQuery) -> list[HeldRow]:
    """Rows, and the tombstones that are compared."""
    return [
        *held.rows,
        *(stone for stone in held.tombstones if not stone.is_settled or stone.time > query.tombstones_after),
    ]


def _add(hasher: RangeHasher, name: KeyName, held: HeldKey, query: DigestQuery) -> None:
    for row in held.rows:  # newest created first
        hasher.add_records(1, row.digest.hex().upper(), int(row.payload is not None))
    stones = [row for row in _told(held, query) if row not in held.rows]
    for stone in sorted(stones, key=lambda row: (row.version_id, -row.time)):
        hasher.add_tombstones(1, stone.digest.hex().upper())
    for mark in sorted(held.unsettled, key=lambda row: (row.version_id, row.time)):
        hasher.add_mark(name, mark.version_id, mark.time)
