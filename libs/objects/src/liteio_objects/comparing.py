"""Finding the keys on which the drives of a set differ, by digests over ranges of their indexes.

One drive cuts its keys into ranges; the others tell digests of the same ranges; only where these differ the ranges are
cut smaller, down to single keys. Costs one pass over each drive's index, no record is read. A drive that is not whole
is to be rebuilt and takes no part; one that fails meanwhile takes none in what is left of the stretch.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec

from liteio_base.deadline import Deadline
from liteio_base.ids import BucketId, HybridTime
from liteio_contracts.object_errors import ReadQuorumLost
from liteio_contracts.storage import DigestAnswer, DigestQuery, KeyName, RangeDigest, StorageAPI
from liteio_contracts.storage_errors import StorageError
from liteio_formats.record import Space
from liteio_objects.drive_set import Answers, DriveSet, ask_drives, values

RANGE_ROWS: Final = 2048
SMALL_ROWS: Final = 64
_CUTS: Final = 32  # of a range that differs
_AT_ONCE: Final = 8  # ranges that are cut smaller


@dataclass(slots=True)
class Compared:
    """What a comparison came to, counted while it goes on. `rows`: on the drive that has most, a range. `failed_slots`:
    drives that did not take part in all of it."""

    rows: int = 0
    ranges: int = 0
    ranges_differing: int = 0
    keys_differing: int = 0
    slots: set[int] = field(default_factory=set)
    failed_slots: set[int] = field(default_factory=set)


class Comparison:
    """Compares what the whole drives of one set hold."""

    def __init__(self, drive_set: DriveSet, deadline: Callable[[], Deadline], tombstones_after: HybridTime) -> None:
        self._drive_set, self._deadline, self._tombstones_after = drive_set, deadline, tombstones_after
        self.seen = Compared()

    async def differing(self, spaces: Sequence[Space]) -> AsyncIterator[list[KeyName]]:
        """The keys on which drives differ, in order, a batch at a time. Some differ only because they were being
        written: look again before anything is done about one. Raises ReadQuorumLost with fewer than W whole drives."""
        for space in spaces:
            after: KeyName | None = KeyName(space, BucketId(""), b"")
            until = KeyName(Space(space + 1), BucketId(""), b"") if space < max(Space) else None
            while after is not None and after != until:
                reached, ranges = await self._compare(after, until, RANGE_ROWS, self._drive_set.slots)
                for start in range(0, len(ranges), _AT_ONCE):
                    found = await asyncio.gather(*map(self._descend, ranges[start : start + _AT_ONCE]))
                    names = [name for names in found for name in names]
                    self.seen.keys_differing += len(names)
                    if names:
                        yield names
                after = reached

    async def _compare(
        self, after: KeyName, until: KeyName | None, rows: int, slots: Sequence[int]
    ) -> tuple[KeyName | None, list["_Differing"]]:
        """A stretch of ranges of about `rows` rows as the first of `slots` cuts them. Returns where it ends, and the
        ranges on which drives differ."""
        leader, cut = await self._cut(after, until, rows, slots)
        bounds = tuple(one.until for one in cut[:-1] if one.until is not None)
        end = cut[-1].until
        query = self._query(after=after, until=end, bounds=bounds)
        told: dict[int, Sequence[RangeDigest]] = {leader: cut}
        others = [slot for slot in slots if slot != leader]
        answers = await ask_drives(self._drive_set, others, lambda drive: self._ask_whole(drive, query))
        told |= {slot: ranges for slot, ranges in values(answers).items() if ranges}
        self._require_enough(len(told), answers)
        self.seen.slots |= told.keys()
        self.seen.failed_slots |= set(slots) - told.keys()
        differing = []
        for number, one in enumerate(cut):
            digests = {slot: ranges[number] for slot, ranges in told.items()}
            self.seen.ranges += 1
            if rows == RANGE_ROWS:
                self.seen.rows += max(each.count for each in digests.values())
            if len({(each.count, each.digest) for each in digests.values()}) > 1:
                start = cut[number - 1].until if number else after
                differing.append(_Differing(start or after, one.until, {slot: digests[slot].count for slot in digests}))
        self.seen.ranges_differing += len(differing)
        return end, differing

    async def _cut(
        self, after: KeyName, until: KeyName | None, rows: int, slots: Sequence[int]
    ) -> tuple[int, Sequence[RangeDigest]]:
        """The first of `slots` that is whole and answers, and its ranges."""
        answers: Answers[DigestAnswer] = {}
        query = self._query(after=after, until=until, rows=rows)
        for slot in slots:
            answers |= await ask_drives(
                self._drive_set, [slot], lambda drive: drive.range_digests(query, deadline=self._deadline())
            )
            answer = values(answers).get(slot)
            if answer is not None and answer.is_authoritative:
                return slot, answer.ranges
        raise self._too_few(0, answers)

    async def _ask_whole(self, drive: StorageAPI, query: DigestQuery) -> Sequence[RangeDigest]:
        """The ranges of `query`, asked on until there are all; none of a drive that is not whole."""
        found: list[RangeDigest] = []
        while True:
            answer = await drive.range_digests(query, deadline=self._deadline())
            if not answer.is_authoritative:
                return ()
            found += answer.ranges
            last = answer.ranges[-1].until
            if last == query.until:
                return found
            bounds = query.bounds[len(answer.ranges) :]
            query = msgspec.structs.replace(query, after=last, bounds=bounds)

    async def _descend(self, one: "_Differing") -> list[KeyName]:
        """The keys of a range on which drives differ."""
        most = max(one.counts, key=lambda slot: one.counts[slot])
        rows = one.counts[most]
        if rows <= 2 * SMALL_ROWS:
            return await self._by_key(one)
        slots = [most, *(slot for slot in one.counts if slot != most)]
        after: KeyName | None = one.after
        names: list[KeyName] = []
        while after is not None and after != one.until:
            size = max(SMALL_ROWS, min(RANGE_ROWS, rows // _CUTS))
            after, smaller = await self._compare(after, one.until, size, slots)
            for each in smaller:
                # A key with more versions than a range may have rows is not cut.
                is_cut = max(each.counts.values()) < rows
                names += await (self._descend(each) if is_cut else self._by_key(each))
        return names

    async def _by_key(self, one: "_Differing") -> list[KeyName]:
        query = self._query(after=one.after, until=one.until, rows=1)
        answers = await ask_drives(self._drive_set, one.counts, lambda drive: self._ask_whole(drive, query))
        told = {slot: ranges for slot, ranges in values(answers).items() if ranges}
        self._require_enough(len(told), answers)
        self.seen.failed_slots |= one.counts.keys() - told.keys()
        held = [{each.until: each.digest for each in ranges if each.count} for ranges in told.values()]
        names = {name for keys in held for name in keys if name is not None}
        return sorted(
            KeyName(Space(name[0]), BucketId(name[1]), name[2])
            for name in names
            if len({keys.get(name) for keys in held}) > 1
        )

    def _query(
        self, *, after: KeyName, until: KeyName | None, bounds: tuple[KeyName, ...] = (), rows: int = RANGE_ROWS
    ) -> DigestQuery:
        return DigestQuery(after=after, until=until, bounds=bounds, rows=rows, tombstones_after=self._tombstones_after)

    def _require_enough(self, told: int, answers: Mapping[int, object]) -> None:
        if told < self._drive_set.code.write_quorum:
            raise self._too_few(told, answers)

    def _too_few(self, told: int, answers: Mapping[int, object]) -> ReadQuorumLost:
        troubles = [answer for answer in answers.values() if isinstance(answer, StorageError)]
        return ReadQuorumLost(
            "too few whole drives to compare",
            needed=self._drive_set.code.write_quorum,
            got=told,
            causes=troubles,
        )


@dataclass(frozen=True, slots=True)
class _Differing:
    """A range on which drives differ, and how much each that was asked holds in it."""

    after: KeyName
    until: KeyName | None
    counts: Mapping[int, int]
