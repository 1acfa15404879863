"""What a drive holds of one key, as an immutable value with pure transitions: the heart of MemoryDrive.

This is the drive's half of docs/protocols/commit.md in its plainest form. LocalDrive does the same in SQL.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from liteio_base.ids import HybridTime, VersionId
from liteio_contracts.storage import CasScope, Entry, Fence, KeyQuery, RowCommit, VersionRef
from liteio_contracts.storage_errors import Fenced, Superseded
from liteio_formats.record import Kind, Record, digest_of


@dataclass(frozen=True, slots=True)
class HeldRow:
    """A row or a tombstone. `stored_ns`: when it was added, on the drive's wall clock."""

    record: Record
    encoded: bytes
    is_settled: bool
    stored_ns: int
    shard_index: int = 0
    payload: bytes | None = None
    payload_hash: bytes = b""

    @property
    def version_id(self) -> VersionId:
        return self.record.version_id

    @property
    def created(self) -> HybridTime:
        return self.record.created

    @property
    def time(self) -> HybridTime:
        return self.record.time

    @property
    def digest(self) -> bytes:
        return digest_of(self.encoded)

    @property
    def place(self) -> tuple[int, str, int]:
        """Ascending is oldest first: creation, then version id, then the time of the record."""
        return (self.created, self.version_id, self.time)

    def is_at(self, version_id: VersionId, time: HybridTime) -> bool:
        return self.version_id == version_id and self.time == time

    def entry(self, *, wants_payload: bool = False) -> Entry:
        record = self.record
        shown = (self.payload, self.payload_hash) if wants_payload and self.payload is not None else (None, b"")
        return Entry(
            record.version_id,
            record.created,
            record.time,
            record.kind,
            self.is_settled,
            self.digest,
            self.encoded,
            *shown,
        )


@dataclass(frozen=True, slots=True)
class HeldFence:
    version_id: VersionId
    time: HybridTime
    base: HybridTime
    stored_ns: int


@dataclass(frozen=True, slots=True)
class HeldKey:
    """Rows newest created first, tombstones newest first, and fences of one key."""

    rows: tuple[HeldRow, ...] = ()
    tombstones: tuple[HeldRow, ...] = ()
    fences: tuple[HeldFence, ...] = ()

    # -- what is there

    @property
    def is_empty(self) -> bool:
        return not (self.rows or self.tombstones or self.fences)

    @property
    def records(self) -> tuple[HeldRow, ...]:
        return self.rows + self.tombstones

    @property
    def unsettled(self) -> Iterator[HeldRow]:
        return (row for row in self.records if not row.is_settled)

    @property
    def head_time(self) -> HybridTime:
        """The newest created or tombstone time."""
        return max((*(row.created for row in self.rows), *(row.time for row in self.tombstones)), default=HybridTime(0))

    def newest_time_of(self, version_id: VersionId) -> HybridTime:
        return max((row.time for row in self.records if row.version_id == version_id), default=HybridTime(0))

    def find(self, version_id: VersionId, time: HybridTime) -> HeldRow | None:
        return next((row for row in self.records if row.is_at(version_id, time)), None)

    @property
    def visible(self) -> tuple[HeldRow, ...]:
        """Rows that no tombstone hides, newest first. A tombstone hides the older rows of its version at once."""
        return tuple(row for row in self.rows if not self._is_hidden(row))

    def shows(self, version_id: VersionId) -> bool:
        return any(row.version_id == version_id for row in self.visible)

    def _is_hidden(self, row: HeldRow) -> bool:
        return any(stone.version_id == row.version_id and stone.time > row.time for stone in self.tombstones)

    def version_ids(self) -> set[VersionId]:
        return {row.version_id for row in self.records} | {held.version_id for held in self.fences}

    # -- reading

    def answer(self, query: KeyQuery) -> tuple[tuple[Entry, ...], tuple[Fence, ...]]:
        """The entries and fences that KeyQuery asks for."""
        wants = query.wants_payload
        if query.version_ids is None:
            return tuple(row.entry(wants_payload=wants) for row in self._head(query.below)), ()
        asked = set(query.version_ids)
        entries = tuple(row.entry(wants_payload=wants) for row in self.records if row.version_id in asked)
        return entries, tuple(Fence(held.version_id, held.time) for held in self.fences if held.version_id in asked)

    def _head(self, below: HybridTime) -> Iterator[HeldRow]:
        for row in self.rows:
            yield row
            if row.is_settled and row.created < below:
                break
        yield from (stone for stone in self.tombstones if not stone.is_settled)

    # -- transitions

    def check_commit(self, row: RowCommit, record: Record, *, lifts_fences: bool) -> None:
        """Raises Fenced or Superseded when the drive must refuse. The caller has handled what is held already."""
        if not lifts_fences and self._has_fence(record):
            raise Fenced(time=record.time)
        newest = self.newest_time_of(record.version_id)
        if row.scope is CasScope.KEY:
            newest = max(newest, self.head_time)
        # Two records of one version with the same time can not be told apart by VersionRef: the first one stays.
        if newest > row.base or self.find(record.version_id, record.time) is not None:
            raise Superseded(newest=newest)

    def _has_fence(self, record: Record) -> bool:
        return any(held.version_id == record.version_id and held.time == record.time for held in self.fences)

    def with_row(self, added: HeldRow) -> "HeldKey":
        """The row added (a tombstone to the tombstones), and a fence against it lifted."""
        fences = tuple(held for held in self.fences if not added.is_at(held.version_id, held.time))
        if added.record.kind is Kind.TOMBSTONE:
            return replace(self, tombstones=_newest_first((*self.tombstones, added)), fences=fences)
        return replace(self, rows=_newest_first((*self.rows, added)), fences=fences)

    def with_payload(self, given: HeldRow) -> "HeldKey":
        """The inline shard of the row that is held already replaced by that of `given`."""
        rows = (
            replace(row, payload=given.payload, payload_hash=given.payload_hash)
            if row.is_at(given.version_id, given.time)
            else row
            for row in self.rows
        )
        return replace(self, rows=tuple(rows))

    def with_fence(self, added: HeldFence) -> "HeldKey":
        others = (held for held in self.fences if (held.version_id, held.time) != (added.version_id, added.time))
        return replace(self, fences=(*others, added))

    def confirmed(self, ref: VersionRef) -> "HeldKey":
        """PROTOCOL R8. Nothing changes when the drive does not hold `ref`."""
        if self.find(ref.version_id, ref.time) is None:
            return self

        def settle(rows: Sequence[HeldRow]) -> tuple[HeldRow, ...]:
            kept = (row for row in rows if row.version_id != ref.version_id or row.time >= ref.time)
            return tuple(replace(row, is_settled=True) if row.is_at(ref.version_id, ref.time) else row for row in kept)

        fences = tuple(held for held in self.fences if held.version_id != ref.version_id or held.base >= ref.time)
        return HeldKey(settle(self.rows), settle(self.tombstones), fences)

    def rolled_back(self, ref: VersionRef) -> "HeldKey":
        def keep(rows: Sequence[HeldRow]) -> tuple[HeldRow, ...]:
            return tuple(row for row in rows if row.is_settled or not row.is_at(ref.version_id, ref.time))

        return replace(self, rows=keep(self.rows), tombstones=keep(self.tombstones))

    def expired(self, before_ns: int) -> "HeldKey":
        """Without settled tombstones and fences that were stored before `before_ns`. An unsettled tombstone still has
        to be settled and stays.
        """
        stones = tuple(row for row in self.tombstones if not row.is_settled or row.stored_ns >= before_ns)
        return replace(
            self, tombstones=stones, fences=tuple(held for held in self.fences if held.stored_ns >= before_ns)
        )


def _newest_first(rows: Sequence[HeldRow]) -> tuple[HeldRow, ...]:
    return tuple(sorted(rows, key=lambda row: row.place, reverse=True))
