"""Listing keys and versions: one page over all sets, merged from live pages of their drives and decided by the read
rule.

What the asked drives show alike is taken as it is; only what they differ on costs a read of its own. Nothing is
remembered between pages: a listing goes on behind a key, whoever answers it.
"""

import asyncio
from bisect import bisect_right
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from typing import Final

import msgspec

from liteio_base.deadline import Deadline
from liteio_contracts.storage import KeyName, ListMode, ListQuery
from liteio_formats.record import Kind, Record, RecordError, decode_record
from liteio_objects.drive_set import DriveSet
from liteio_objects.page_merge import Candidate, Position
from liteio_objects.set_listing import RESOLVES_MAX, KeyResolver, ListContext, SetListing

__all__ = ["KeyResolver", "LatestPage", "VersionRow", "VersionsPage", "list_latest", "list_versions"]

_KEY: Final = attrgetter("key")
_VALUE: Final = Kind.VALUE  # An attribute of an enum costs as much as a call.
_PLACE: Final = itemgetter(0)
_SPARE: Final = 16  # keys spread over sets unevenly: so many more than its share are asked of each


@dataclass(frozen=True, slots=True)
class LatestPage:
    """`records` by key, in key order. `last_key`: the last key or prefix given, b"" when there is none."""

    records: Mapping[bytes, Record]
    prefixes: tuple[bytes, ...]
    is_truncated: bool
    last_key: bytes


@dataclass(frozen=True, slots=True)
class VersionRow:
    """A value or a delete marker. `is_latest`: the newest there is of its key."""

    record: Record
    is_latest: bool

    @property
    def key(self) -> bytes:
        return self.record.key


@dataclass(frozen=True, slots=True)
class VersionsPage:
    """`last_row`: the page's last item, None when that is a prefix or there is none."""

    items: tuple[VersionRow, ...]
    prefixes: tuple[bytes, ...]
    is_truncated: bool
    last_key: bytes
    last_row: VersionRow | None


async def list_latest(
    sets: Sequence[DriveSet], resolver: KeyResolver, query: ListQuery, *, deadline: Deadline
) -> LatestPage:
    """The first `query.limit` keys with a live latest version, and common prefixes that hold one, over all sets.

    Raises ReadQuorumLost when a set has fewer than N-W+1 authoritative drives that answer, or a key can not be decided.
    """
    listing = _LatestListing(sets, resolver, msgspec.structs.replace(query, mode=ListMode.LATEST), deadline)
    if (sure := await listing.sure_page()) is not None:
        return sure
    found, is_truncated = await listing.page()
    records = {item.key: item.record for item in found if item.record is not None}
    return LatestPage(records, _prefixes(found), is_truncated, found[-1].key if found else b"")


async def list_versions(
    sets: Sequence[DriveSet], resolver: KeyResolver, query: ListQuery, *, deadline: Deadline
) -> VersionsPage:
    """The first `query.limit` versions and delete markers, newest first within a key, and common prefixes that hold
    one.

    Raises as `list_latest`.
    """
    query = msgspec.structs.replace(query, mode=ListMode.VERSIONS)
    listing = _VersionsListing(sets, resolver, query, deadline)
    found, is_truncated = await listing.page()
    heads = await listing.heads(found)
    rows = [VersionRow(item.record, is_head) for item, is_head in zip(found, heads, strict=True) if item.record]
    last_row = rows[-1] if rows and found[-1].record is not None else None
    return VersionsPage(tuple(rows), _prefixes(found), is_truncated, found[-1].key if found else b"", last_row)


class _Item(msgspec.Struct, frozen=True, gc=False):
    """A decided item: a record, or a common prefix."""

    key: bytes
    record: Record | None = None


def _prefixes(found: Iterable[_Item]) -> tuple[bytes, ...]:
    return tuple(item.key for item in found if item.record is None)


_Met = tuple[Position, int, Candidate]
"""A candidate, where it stands, and the number of the set that shows it. A prefix may be met in several sets."""


class _Listing:
    """Takes candidates in order and decides them until the page is full. Subclasses decide keys and versions."""

    def __init__(self, sets: Sequence[DriveSet], resolver: KeyResolver, query: ListQuery, deadline: Deadline) -> None:
        self.query = query
        self.context = ListContext(resolver, deadline, asyncio.Semaphore(RESOLVES_MAX))
        self._sets = [SetListing(drive_set, query, self.context) for drive_set in sets]

    async def page(self) -> tuple[list[_Item], bool]:
        """At most `limit` items, and whether there is at least one more."""
        limit = self.query.limit
        found: list[_Item] = []
        while limit and len(found) <= limit and (met := await self._take(limit + 1 - len(found))):
            found += await self.decide(met)
        return found[:limit], len(found) > limit

    async def decide(self, met: Sequence[_Met]) -> list[_Item]:
        """What of these positions is there."""
        raise NotImplementedError

    def name(self, key: bytes) -> KeyName:
        return KeyName(self.query.space, self.query.bucket_id, key)

    async def decide_prefixes(self, met: Iterable[_Met]) -> list[_Item]:
        """Those prefixes that are there: sure in one set, or found to hold something."""
        shown: dict[bytes, list[_Met]] = {}
        for each in met:
            if each[2].is_prefix:
                shown.setdefault(each[2].key, []).append(each)
        if not shown:
            return []
        holds = await asyncio.gather(*(self._holds_any(prefix, found) for prefix, found in shown.items()))
        return [_Item(prefix) for prefix, is_there in zip(shown, holds, strict=True) if is_there]

    async def _holds_any(self, prefix: bytes, met: Iterable[_Met]) -> bool:
        if any(candidate.entry is not None for _, _, candidate in met):
            return True
        inside = msgspec.structs.replace(self.query, prefix=prefix, delimiter=b"", limit=1)
        sets = [self._sets[number].drive_set for _, number, _ in met]
        async with self.context.resolving:
            probe = type(self)(sets, self.context.resolver, inside, self.context.deadline)
            return bool((await probe.page())[0])

    async def _take(self, count: int) -> list[_Met]:
        """The candidates of at most the next `count` positions; none at the end of the listing."""
        while True:
            share = count if len(self._sets) == 1 else min(count, count * 5 // (4 * len(self._sets)) + _SPARE)
            await asyncio.gather(*(each.read_on(share) for each in self._sets if not each.waiting))
            unread = (each.covered for each in self._sets if not each.is_exhausted)
            horizon = min((covered for covered in unread if covered is not None), default=None)
            met = self._merge(count, horizon)
            if met or all(each.is_exhausted and not each.waiting for each in self._sets):
                return met

    def _merge(self, count: int, horizon: Position | None) -> list[_Met]:
        met = [
            (candidate.position, number, candidate)
            for number, listing in enumerate(self._sets)
            for candidate in listing.waiting
        ]
        if not met:
            return []
        met.sort(key=_PLACE)  # Runs that are in order already: one comparison a candidate.
        last = met[min(count, len(met)) - 1][0]
        if horizon is not None:
            last = min(last, horizon)
        for listing in self._sets:
            listing.drop(last)
        return met[: bisect_right(met, last, key=_PLACE)]


def _decoded(candidate: Candidate) -> Record | None:
    """The record of a candidate that is sure; None when it is to be decided, damaged records included."""
    if candidate.entry is None:
        return None
    try:
        return decode_record(candidate.entry.encoded)
    except RecordError:
        return None


class _LatestListing(_Listing):
    async def sure_page(self) -> LatestPage | None:
        """The page of a single set whose drives leave no doubt: nothing is weighed, and records are all it costs. None
        when `page` must tell."""
        limit = self.query.limit
        if len(self._sets) > 1 or not limit:
            return None
        shown = await self._sets[0].peek(limit + 1)
        if shown is None or (shown.is_truncated and len(shown.items) <= limit):
            return None
        items, prefixes = shown.items[:limit], []
        records: dict[bytes, Record] = {}
        try:
            for item in items:
                if item.is_prefix:
                    prefixes.append(item.key)
                elif item.entry is None or (record := decode_record(item.entry.encoded)).kind is not _VALUE:
                    return None
                else:
                    records[item.key] = record
        except RecordError:  # One of the drives may have a better one.
            return None
        return LatestPage(records, tuple(prefixes), len(shown.items) > limit, items[-1].key if items else b"")

    async def decide(self, met: Sequence[_Met]) -> list[_Item]:
        keys = [candidate for _, _, candidate in met if not candidate.is_prefix]
        records = {candidate.key: _decoded(candidate) for candidate in keys}
        if len(records) < len(keys):  # Two sets show the same key: it lives in one of them.
            shown = Counter(candidate.key for candidate in keys)
            records.update((key, None) for key, count in shown.items() if count > 1)
        unsure = [key for key, record in records.items() if record is None]
        decided = await asyncio.gather(*(self.context.latest(self.name(key)) for key in unsure))
        records.update(zip(unsure, decided, strict=True))
        found = [_Item(key, record) for key, record in records.items() if record and record.kind is Kind.VALUE]
        prefixes = await self.decide_prefixes(met)
        return sorted(found + prefixes, key=_KEY) if prefixes else found


class _VersionsListing(_Listing):
    async def decide(self, met: Sequence[_Met]) -> list[_Item]:
        records: dict[Position, Record | None] = {}
        unsure: dict[bytes, list[Candidate]] = {}
        in_two_sets = self._keys_in_two_sets(met)
        for position, _, candidate in met:
            if candidate.is_prefix:
                continue
            record = None if candidate.key in in_two_sets else candidate.record or _decoded(candidate)
            records[position] = record
            if record is None:
                unsure.setdefault(candidate.key, []).append(candidate)
        decided = await asyncio.gather(*(self._decide_key(key, rows) for key, rows in unsure.items()))
        for found in decided:
            records.update(found)
        items = [_Item(position[0], record) for position, record in records.items() if record is not None]
        prefixes = await self.decide_prefixes(met)
        return sorted(items + prefixes, key=_KEY) if prefixes else items

    def _keys_in_two_sets(self, met: Sequence[_Met]) -> Collection[bytes]:
        """Keys that live in one of the sets that show them, which the read rule tells."""
        if len(self._sets) == 1:
            return ()
        first: dict[bytes, int] = {}
        return {
            candidate.key
            for _, number, candidate in met
            if not candidate.is_prefix and first.setdefault(candidate.key, number) != number
        }

    async def _decide_key(self, key: bytes, rows: Sequence[Candidate]) -> dict[Position, Record]:
        """The committed records of these versions, at their positions. A version whose committed record was created at
        another time stands elsewhere in the listing, not here."""
        version_ids = sorted({row.version_id for row in rows})
        records = {
            (record.version_id, record.created): record
            for record in await self.context.versions(self.name(key), version_ids)
        }
        found: dict[Position, Record] = {}
        for row in rows:
            record = records.get((row.version_id, row.created))
            if record is not None:
                found[row.position] = record
        return found

    async def heads(self, found: Sequence[_Item]) -> list[bool]:
        """Which of the items are the latest of their key: the first of each, but for the key in whose midst the
        listing began, of which the read rule tells."""
        heads: list[bool] = []
        key_before: bytes | None = None
        for item in found:
            if item.record is None:
                heads.append(False)
                continue
            is_first = item.key != key_before
            key_before = item.key
            if is_first and self.query.after_created is not None and item.key == self.query.after:
                latest = await self.context.latest(self.name(item.key))
                is_first = latest is not None and latest.version_id == item.record.version_id
            heads.append(is_first)
        return heads
