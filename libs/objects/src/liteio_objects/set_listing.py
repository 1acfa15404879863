"""`SetListing`: the candidates of one set of drives, page by page, read live from enough witnesses (read_rule)."""

import asyncio
import zlib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, Protocol

import msgspec

from liteio_base.deadline import Deadline
from liteio_base.ids import VersionId
from liteio_contracts.object_errors import ReadQuorumLost
from liteio_contracts.storage import KeyAnswer, KeyName, KeyQuery, ListPage, ListQuery
from liteio_contracts.storage_errors import StorageError
from liteio_formats.record import Record
from liteio_objects.asking import ask_some
from liteio_objects.drive_set import Answers, DriveSet, ask, errors, values
from liteio_objects.key_reading import READ_SECONDS
from liteio_objects.page_merge import (
    Candidate,
    MergedPage,
    Position,
    behind,
    merge_pages,
    position_of,
    row_position,
    start_of,
    sure_page,
)
from liteio_objects.read_rule import is_witnessed

RESOLVES_MAX: Final = 16  # keys that one listing asks about at the same time
POSITION: Final = attrgetter("position")


class KeyResolver(Protocol):
    """The read rule, for keys on which the drives of a page differ."""

    async def resolve_latest(self, name: KeyName, *, deadline: Deadline) -> Record | None:
        """The key's newest committed record, a value or a delete marker; None when it is surely absent. Raises
        ReadQuorumLost."""

    async def resolve_versions(
        self, name: KeyName, version_ids: Sequence[VersionId], *, deadline: Deadline
    ) -> list[Record]:
        """The committed records of those of these versions that are there. Raises ReadQuorumLost."""


@dataclass(frozen=True, slots=True)
class ListContext:
    """What every step of one listing needs."""

    resolver: KeyResolver
    deadline: Deadline
    resolving: asyncio.Semaphore

    async def latest(self, name: KeyName) -> Record | None:
        async with self.resolving:
            return await self.resolver.resolve_latest(name, deadline=self.deadline)

    async def versions(self, name: KeyName, version_ids: Sequence[VersionId]) -> list[Record]:
        async with self.resolving:
            return await self.resolver.resolve_versions(name, version_ids, deadline=self.deadline)


class SetListing:
    """`waiting` holds the candidates up to `covered` that were not taken yet; `covered` None: to the end."""

    def __init__(self, drive_set: DriveSet, query: ListQuery, context: ListContext) -> None:
        self.drive_set = drive_set
        self.waiting: list[Candidate] = []
        self.covered: Position | None = None
        self._query: ListQuery | None = query
        self._peeked: dict[int, ListPage] | None = None
        self._context = context
        self._order = _rotated(drive_set, query)

    @property
    def is_exhausted(self) -> bool:
        """No more pages: `waiting` is all that is left."""
        return self._query is None

    def drop(self, last: Position) -> None:
        """Up to `last`, the waiting candidates were taken."""
        del self.waiting[: bisect_right(self.waiting, last, key=POSITION)]

    async def peek(self, limit: int) -> ListPage | None:
        """The first page, of at most `limit` items, when the drives leave no doubt about it. `read_on` with the same
        limit begins with it, whether or not. Raises ReadQuorumLost."""
        if self._query is None:
            return None
        self._peeked = await self._ask(msgspec.structs.replace(self._query, limit=limit), set())
        return sure_page(list(self._peeked.values()))

    async def read_on(self, limit: int) -> None:
        """Read the next page, of at most `limit` items a drive. Raises ReadQuorumLost."""
        if self._query is None:
            return
        query = msgspec.structs.replace(self._query, limit=limit)
        failed: set[int] = set()
        while True:
            pages, self._peeked = self._peeked or await self._ask(query, failed), None
            merged = merge_pages(pages, query.mode, self.drive_set.code.write_quorum)
            veiled = await self._read_veiled(query, pages, merged)
            if not errors(veiled):
                break
            failed.update(slot for slot, answer in veiled.items() if isinstance(answer, StorageError))
        self.waiting.extend(await self._unveiled(query, merged, values(veiled)))
        self.covered = None if merged.last is None else position_of(merged.last, query.mode)
        self._query = None if merged.last is None else behind(query, merged.last)

    async def _ask(self, query: ListQuery, failed: set[int]) -> dict[int, ListPage]:
        code, deadline = self.drive_set.code, self._deadline()
        slots = [slot for slot in self.drive_set.quick_slots(self._order) if slot not in failed]
        answers: Answers[ListPage] = {}
        pages: dict[int, ListPage] = {}
        needed = code.read_quorum
        while True:
            told = await ask_some(
                self.drive_set,
                [slot for slot in slots if slot not in answers],
                lambda drive: drive.list_page(query, deadline=deadline),
                _is_witness,
                needed - len(pages),
                deadline=deadline,
                pace=self.drive_set.paces.listings,
            )
            answers |= told
            pages = {slot: page for slot, page in values(answers).items() if _is_witness(page)}
            if is_witnessed(pages.values(), code):
                return pages
            if len(pages) < needed or needed > code.m:
                raise ReadQuorumLost(needed=needed, got=len(pages), causes=errors(answers))
            needed = code.m + 1  # Some are unchecked.

    def _deadline(self) -> Deadline:
        return self._context.deadline.sooner(READ_SECONDS)

    # --- rows under unsettled tombstones ------------------------------------------------------------------------------

    async def _read_veiled(
        self, query: ListQuery, pages: Mapping[int, ListPage], merged: MergedPage
    ) -> Answers[list[tuple[bytes, KeyAnswer]]]:
        """Ask each drive that veils keys for their unsettled tombstones. It must be that very drive: only it may be the
        one of those asked that holds a committed row which it does not show."""
        keys = {slot: set(found) for slot, found in merged.veiled.items()}
        if start_of(query) is not None:  # What a drive shows of this key may all have been on the page before.
            for slot in pages:
                keys.setdefault(slot, set()).add(query.after)
        if not keys:
            return {}

        async def read(slot: int) -> list[tuple[bytes, KeyAnswer]]:
            drive, found = self.drive_set.drives[slot], []
            for key in sorted(keys[slot]):
                name = KeyName(query.space, query.bucket_id, key)
                found.append((key, await drive.read_key(KeyQuery(name), deadline=self._deadline())))
            return found

        answers = await asyncio.gather(*(ask(read(slot)) for slot in keys))
        return dict(zip(keys, answers, strict=True))

    async def _unveiled(
        self, query: ListQuery, merged: MergedPage, answers: Mapping[int, list[tuple[bytes, KeyAnswer]]]
    ) -> list[Candidate]:
        """The candidates, with those decided by the read rule whose version has an unsettled tombstone somewhere."""
        versions: dict[bytes, set[VersionId]] = {}
        for key, answer in (each for found in answers.values() for each in found):
            for entry in answer.entries:
                if entry.is_tombstone:
                    versions.setdefault(key, set()).add(entry.version_id)
        if not versions:
            return merged.candidates
        decided = await asyncio.gather(
            *(
                self._context.versions(KeyName(query.space, query.bucket_id, key), sorted(version_ids))
                for key, version_ids in versions.items()
            )
        )
        start, end = start_of(query), None if merged.last is None else position_of(merged.last, query.mode)
        found = [
            candidate
            for candidate in merged.candidates
            if candidate.is_prefix or candidate.version_id not in versions.get(candidate.key, ())
        ]
        for record in (record for records in decided for record in records):
            position = row_position(record.key, record.created, record.version_id)
            if (start is None or position > start) and (end is None or position <= end):
                found.append(Candidate(position, False, record.version_id, record=record))
        return sorted(found, key=POSITION)


def _is_witness(page: ListPage) -> bool:
    """Whether the page counts: a drive that is not whole does not, nor one that says there is more but not where."""
    return page.is_authoritative and (bool(page.items) or not page.is_truncated)


def _rotated(drive_set: DriveSet, query: ListQuery) -> list[int]:
    """All slots, beginning at one that depends on the query: listings are spread over the drives."""
    first = zlib.crc32(query.bucket_id.encode() + query.prefix + query.after) % len(drive_set.drives)
    return [*drive_set.slots[first:], *drive_set.slots[:first]]
