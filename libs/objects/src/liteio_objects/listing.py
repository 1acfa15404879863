"""Listing keys and versions: one page over all sets, merged from live pages of their drives and decided by the read
rule.

What the asked drives show alike is taken as it is; only what they differ on costs a read of its own. Nothing is
remembered between pages: a listing goes on behind a key, whoever answers it.
"""

import asyncio
import heapq
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Final

import msgspec

from liteio_base.deadline import Deadline
from liteio_contracts.storage import KeyName, ListMode, ListQuery
from liteio_formats.record import Kind, Record, RecordError, decode_record
from liteio_objects.drive_set import DriveSet
from liteio_objects.page_merge import Candidate, Position
from liteio_objects.set_listing import RESOLVES_MAX, FoundCandidate, KeyResolver, ListContext, SetListing

__all__ = ["KeyResolver", "LatestPage", "VersionRow", "VersionsPage", "list_latest", "list_versions"]

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


class _Met(msgspec.Struct, frozen=True, gc=False):
    """What stands at one position: one candidate, or a prefix's candidates in several sets."""

    position: Position
    shown: Sequence[tuple[FoundCandidate, SetListing]]

    @property
    def candidate(self) -> Candidate:
        return self.shown[0][0].candidate


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

    async def decide_prefixes(self, met: Iterable[_Met]) -> list[Position]:
        """The positions of those prefixes that are there: sure in one set, or found to hold something."""
        prefixes = [each for each in met if each.candidate.is_prefix]
        holds = await asyncio.gather(*(self._holds_any(each) for each in prefixes))
        return [each.position for each, is_there in zip(prefixes, holds, strict=True) if is_there]

    async def _holds_any(self, met: _Met) -> bool:
        if any(found.candidate.entry is not None for found, _ in met.shown):
            return True
        inside = msgspec.structs.replace(self.query, prefix=met.candidate.key, delimiter=b"", limit=1)
        sets = [listing.drive_set for _, listing in met.shown]
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
        def stream(listing: SetListing) -> Iterable[tuple[Position, FoundCandidate, SetListing]]:
            for found in listing.waiting:
                yield found.candidate.position, found, listing

        merged = heapq.merge(*(stream(listing) for listing in self._sets), key=lambda each: each[0])
        met: list[_Met] = []
        for position, group in islice(groupby(merged, key=lambda each: each[0]), count):
            if horizon is not None and position > horizon:
                break
            met.append(_Met(position, [(found, listing) for _, found, listing in group]))
        for each in met:
            for _, listing in each.shown:
                listing.waiting.popleft()
        return met


def _decoded(candidate: Candidate) -> Record | None:
    """The record of a candidate that is sure; None when it is to be decided, damaged records included."""
    if candidate.entry is None:
        return None
    try:
        return decode_record(candidate.entry.encoded)
    except RecordError:
        return None


class _LatestListing(_Listing):
    async def decide(self, met: Sequence[_Met]) -> list[_Item]:
        there = set(await self.decide_prefixes(met))
        keys = [each for each in met if not each.candidate.is_prefix]
        records = {each.position: _decoded(each.candidate) for each in keys}
        unsure = [position for position, record in records.items() if record is None]
        decided = await asyncio.gather(*(self.context.latest(self.name(position[0])) for position in unsure))
        records.update(zip(unsure, decided, strict=True))
        found: list[_Item] = []
        for each in met:
            record = records.get(each.position)
            if each.position in there or (record is not None and record.kind is Kind.VALUE):
                found.append(_Item(each.candidate.key, record))
        return found


class _VersionsListing(_Listing):
    async def decide(self, met: Sequence[_Met]) -> list[_Item]:
        there = set(await self.decide_prefixes(met))
        records: dict[Position, Record | None] = {}
        unsure: dict[bytes, list[_Met]] = {}
        for each in met:
            if each.candidate.is_prefix:
                continue
            records[each.position] = record = each.shown[0][0].record or _decoded(each.candidate)
            if record is None:
                unsure.setdefault(each.candidate.key, []).append(each)
        decided = await asyncio.gather(*(self._decide_key(key, rows) for key, rows in unsure.items()))
        for found in decided:
            records.update(found)
        return [
            _Item(each.candidate.key, records.get(each.position))
            for each in met
            if each.position in there or records.get(each.position) is not None
        ]

    async def _decide_key(self, key: bytes, rows: Sequence[_Met]) -> dict[Position, Record]:
        """The committed records of these versions, at their positions. A version whose committed record was created at
        another time stands elsewhere in the listing, not here."""
        version_ids = sorted({each.candidate.version_id for each in rows})
        records = {
            (record.version_id, record.created): record
            for record in await self.context.versions(self.name(key), version_ids)
        }
        found: dict[Position, Record] = {}
        for each in rows:
            record = records.get((each.candidate.version_id, each.candidate.created))
            if record is not None:
                found[each.position] = record
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
