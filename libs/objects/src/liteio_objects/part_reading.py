"""`PartShards`: blocks of one part, read from K good shards of it, whichever drives have them.

The drives that answer fast and hold data shards are asked first. Another is asked for each that fails at once, and for
each that is late after the hedge. What is read is verified block by block; a shard that is wrong in one block is used
for others only when nothing better is left.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple, TypeVar

from liteio_base.check import check
from liteio_contracts.object_errors import ReadQuorumLost
from liteio_contracts.storage import ShardReader, StorageAPI
from liteio_contracts.storage_errors import DriveTimeout, DriveUnavailable, ShardCorrupt, ShardMissing, StorageError
from liteio_erasure.code import CodeParams
from liteio_erasure.framing import BlockRun, ShardLayout
from liteio_formats.record import PartEntry, Record
from liteio_objects.asking import first_done
from liteio_objects.drive_set import DriveSet, timed
from liteio_objects.pace import Pace, Paces
from liteio_objects.shard_coding import PartAddress, ShardRun, bad_places
from liteio_objects.shard_io import ShardIO

T = TypeVar("T")


class BadShard(NamedTuple):
    """A shard that is missing or wrong on its drive: something to heal."""

    slot: int
    shard_index: int
    part_number: int
    problem: StorageError


ShardAlarm = Callable[[BadShard], None]


def no_alarm(bad: BadShard) -> None:
    """For readers that leave bad shards to the scanner."""


class ShardsGone(ReadQuorumLost):
    """Too few shards could be opened, and some are not there any more: the object was probably replaced or deleted
    since its record was read. The read should begin again with the record of now."""


@dataclass(frozen=True, slots=True)
class ShardSources:
    """Where the shards of a record may be read.

    holders: the slots seen holding the record, asked first; None when that is not known.
    excluded: shard indexes that must not be used.
    late_slots: drives that were late or failed while this object was read; filled in by the reading of its parts.
    """

    drive_set: DriveSet
    record: Record
    holders: Collection[int] | None = None
    excluded: Collection[int] = ()
    late_slots: set[int] = field(default_factory=set)

    def lanes(self) -> list["_Lane"]:
        """Best first: drives that hold the record and are neither slow nor late, data shards before parity."""
        late = self.drive_set.paces.late(asyncio.get_running_loop().time())
        lanes = [
            _Lane(index, self.drive_set.drives[slot])
            for index, slot in enumerate(self.record.order)
            if index not in self.excluded
        ]
        return sorted(lanes, key=partial(self._reluctance, {*late, *self.late_slots}))

    def _reluctance(self, late: Collection[int], lane: "_Lane") -> tuple[bool, bool, bool, int]:
        slot = lane.drive.slot
        is_doubtful = self.holders is not None and slot not in self.holders
        return is_doubtful, lane.drive.is_likely_slow, slot in late, lane.index


@dataclass(slots=True, eq=False)
class _Lane:
    """One drive's shard of the part. `position`: the block that its open reader gives next."""

    index: int
    drive: StorageAPI
    reader: ShardReader | None = None
    first_block: int = 0
    position: int = 0
    is_demoted: bool = False  # was late or wrong: used again only when nothing better is left

    def detach(self) -> ShardReader | None:
        reader, self.reader = self.reader, None
        return reader


@dataclass(slots=True)
class _Fetched:
    """One lane's shards of the range in hand. `bad`: places that did not verify, None before they were looked at."""

    run: ShardRun
    bad: frozenset[int] | None = None

    def may_have(self, place: int) -> bool:
        return self.bad is None or place not in self.bad


@dataclass(slots=True)
class PartShards:
    """The blocks `run` of `part`, in order. `open` first, then `read` to the end; `close` in every case."""

    sources: ShardSources
    part: PartEntry
    run: BlockRun
    io: ShardIO
    alarm: ShardAlarm
    _lanes: list[_Lane] = field(init=False)
    _layout: ShardLayout = field(init=False)
    _address: PartAddress = field(init=False)
    _troubles: dict[int, StorageError] = field(init=False, default_factory=dict)
    _reported: set[int] = field(init=False, default_factory=set)
    _next_block: int = field(init=False)

    def __post_init__(self) -> None:
        record = self.sources.record
        self._layout = ShardLayout(CodeParams.of(record.k, record.m), self.part.size_bytes)
        self._address = PartAddress(self.part.data_id, self.part.number)
        self._lanes = self.sources.lanes()
        self._next_block = self.run.first

    @property
    def code(self) -> CodeParams:
        return self._layout.code

    @property
    def _paces(self) -> Paces:
        return self.sources.drive_set.paces

    @property
    def blocks_left(self) -> int:
        return self.run.end - self._next_block

    async def open(self) -> None:
        """Open K shards. Raises ShardsGone when some are missing and too few are left, else ReadQuorumLost."""
        await self._race(self._open, lambda: self.code.k - len(self._open_lanes()), self._paces.opens)
        self._keep_open(self._open_lanes()[: self.code.k])
        self._report()

    async def read(self, count: int, make: Callable[[int, Mapping[int, bytes]], T]) -> list[T]:
        """`make(block length, verified shards by index)` for each of the next `count` blocks, fewer at the end.

        `make` gets K shards, or more when more were at hand, and may run in a worker thread. Raises ReadQuorumLost when
        fewer than K shards of a block are good.
        """
        run = BlockRun(self._next_block, min(count, self.blocks_left))
        fetched: dict[int, _Fetched] = {}
        tried: set[int] = set()
        await self._take_what_is_here(run, fetched, tried)
        while True:
            fetch, missing = partial(self._fetch, run, fetched), partial(self._missing, run, fetched)
            await self._race(fetch, missing, self._paces.fetches, tried=tried)
            blocks = await self.io.compute(self._weight(run), partial(self._assemble, run, fetched, make))
            self._demote_bad(fetched)
            if blocks is not None:
                break
        self._next_block = run.end
        self._report()
        in_step = [lane for lane in self._open_lanes() if lane.position == run.end]
        self._keep_open(in_step[: self.code.k])
        return blocks

    async def close(self) -> None:
        """Close every open shard; a drive that does not answer is left to the background."""
        self._keep_open(())

    # --- racing drives ------------------------------------------------------------------------------------------------

    async def _race(
        self,
        act: Callable[[_Lane], Coroutine[Any, Any, None]],
        missing: Callable[[], int],
        pace: Pace,
        *,
        tried: set[int] | None = None,
    ) -> None:
        """Let lanes act until `missing()` more are needed no longer: as many as that at once, one more for each that
        fails or is late by `pace`. A lane acts once; `tried` remembers that between races."""
        tried = set() if tried is None else tried
        waiting = deque(lane for lane in self._in_preference() if lane.index not in tried)
        running: dict[asyncio.Task[None], _Lane] = {}
        late: set[asyncio.Task[None]] = set()
        loop = asyncio.get_running_loop()
        ends = loop.time() + self.io.call_seconds
        try:
            while (needed := missing()) > 0:
                while waiting and len(running) - len(late) < needed:
                    lane = waiting.popleft()
                    tried.add(lane.index)
                    running[asyncio.ensure_future(act(lane))] = lane
                    pace.hedges += bool(late)
                left = ends - loop.time()
                if not running or left <= 0:
                    raise self._lost(needed)
                done = await first_done(running, min(left, pace.hedge_seconds(loop.time())) if waiting else left)
                if not done:
                    late.update(running)
                for task in done:
                    late.discard(task)
                    self._note(running.pop(task), task)
        finally:
            for task, lane in running.items():
                if task.done():
                    self._note(lane, task)
                else:
                    self._abandon(lane, task)

    def _in_preference(self) -> Iterable[_Lane]:
        """Lanes in step first, then untried ones, then those that were late or wrong before."""
        return sorted(
            self._lanes,
            key=lambda lane: (lane.is_demoted, lane.reader is None or lane.position != self._next_block),
        )

    def _note(self, lane: _Lane, task: "asyncio.Task[None]") -> None:
        """Take down how a lane's act ended. What is no drive's error is a bug and passes through."""
        error = task.exception()
        if isinstance(error, StorageError):
            self._take_down(lane, error)
        elif error is not None:
            raise error

    def _take_down(self, lane: _Lane, error: StorageError) -> None:
        lane.is_demoted = True
        self._troubles[lane.index] = error
        if isinstance(error, DriveUnavailable):
            self.sources.late_slots.add(lane.drive.slot)
        self._let_go((lane,))

    def _abandon(self, lane: _Lane, task: "asyncio.Task[None]") -> None:
        """A late answer is not waited for: its lane is used again only when nothing better is left."""
        lane.is_demoted = True
        self.sources.late_slots.add(lane.drive.slot)
        self._troubles.setdefault(lane.index, DriveTimeout("a shard did not come in time", slot=lane.drive.slot))
        task.cancel()

        async def end() -> None:
            await asyncio.wait({task})
            if not task.cancelled():
                task.exception()  # Seen: it comes too late to matter.
            if (reader := lane.detach()) is not None:
                await _close(reader)

        self.io.retire(end())

    def _lost(self, needed: int) -> ReadQuorumLost:
        causes = tuple(self._troubles.values())
        is_gone = self._next_block == self.run.first and any(isinstance(cause, ShardMissing) for cause in causes)
        kind = ShardsGone if is_gone else ReadQuorumLost
        if not is_gone:
            self._report()
        return kind(needed=self.code.k, got=self.code.k - needed, causes=causes)

    # --- one lane -----------------------------------------------------------------------------------------------------

    async def _open(self, lane: _Lane) -> None:
        await self._open_at(lane, self._next_block)

    async def _open_at(self, lane: _Lane, block: int) -> None:
        shard, deadline = self._address.shard(lane.index), self.io.deadline()
        with timed(self._paces.opens, lane.drive.slot):
            lane.reader = await lane.drive.open_shard(shard, block, self.run.end - block, deadline=deadline)
        lane.first_block = lane.position = block

    async def _take_what_is_here(self, run: BlockRun, fetched: dict[int, _Fetched], tried: set[int]) -> None:
        """From the lanes that have all of it at hand: a race for it would cost more than it does."""
        for lane in self._open_lanes()[: self.code.k]:
            if lane.reader is None or lane.position != run.first or lane.reader.ahead < run.count:
                continue
            tried.add(lane.index)
            try:
                await self._fetch(run, fetched, lane)
            except StorageError as error:
                self._take_down(lane, error)

    async def _fetch(self, run: BlockRun, fetched: dict[int, _Fetched], lane: _Lane) -> None:
        if lane.reader is None or lane.position != run.first:
            self._let_go((lane,))
            await self._open_at(lane, run.first)
        check(lane.reader is not None, "the shard is open")
        reader: ShardReader = lane.reader  # type: ignore[assignment]  # checked
        with timed(self._paces.fetches, lane.drive.slot):
            shards = await reader.read(run.count)
        lane.position += len(shards)
        start = run.first - lane.first_block
        hashes = reader.hashes[start : start + run.count]
        sizes = [self.code.shard_bytes(self._layout.block_length(block)) for block in range(run.first, run.end)]
        if [len(shard) for shard in shards] != sizes or len(hashes) != run.count:
            raise ShardCorrupt("the shard is short", slot=lane.drive.slot, shard_index=lane.index)
        fetched[lane.index] = _Fetched(ShardRun(shards, hashes))

    def _open_lanes(self) -> list[_Lane]:
        """Open lanes: the better ones first, among them data shards first."""
        opened = [lane for lane in self._lanes if lane.reader is not None]
        return sorted(opened, key=lambda lane: (lane.is_demoted, lane.index))

    def _keep_open(self, kept: Collection[_Lane]) -> None:
        self._let_go([lane for lane in self._open_lanes() if lane not in kept])

    def _let_go(self, lanes: Iterable[_Lane]) -> None:
        for lane in lanes:
            if (reader := lane.detach()) is not None:
                self.io.retire(_close(reader))

    # --- verifying ----------------------------------------------------------------------------------------------------

    def _missing(self, run: BlockRun, fetched: Mapping[int, _Fetched]) -> int:
        """How many more lanes must come for every block to have K shards that may be good."""
        fewest = min(sum(1 for lane in fetched.values() if lane.may_have(place)) for place in range(run.count))
        return self.code.k - fewest

    def _weight(self, run: BlockRun) -> int:
        return sum(self._layout.block_length(block) for block in range(run.first, run.end))

    def _assemble(
        self, run: BlockRun, fetched: Mapping[int, _Fetched], make: Callable[[int, Mapping[int, bytes]], T]
    ) -> list[T] | None:
        """Verify what was not yet looked at, then make the blocks; None when too few shards of one are good."""
        unseen = {index: lane.run for index, lane in fetched.items() if lane.bad is None}
        for index, bad in bad_places(self._address, run.first, unseen).items():
            fetched[index].bad = bad
        if self._missing(run, fetched) > 0:
            return None
        return [
            make(
                self._layout.block_length(run.first + place),
                {index: lane.run.shards[place] for index, lane in fetched.items() if lane.may_have(place)},
            )
            for place in range(run.count)
        ]

    def _demote_bad(self, fetched: Mapping[int, _Fetched]) -> None:
        for lane in self._lanes:
            found = fetched.get(lane.index)
            if found is not None and found.bad:
                lane.is_demoted = True
                self._troubles[lane.index] = ShardCorrupt(
                    "a block does not match its hash", slot=lane.drive.slot, shard_index=lane.index
                )

    def _report(self) -> None:
        """Once a lane, and only what is wrong on the drive: one that is away has its own alarms."""
        for lane in self._lanes:
            trouble = self._troubles.get(lane.index)
            if lane.index not in self._reported and isinstance(trouble, ShardMissing | ShardCorrupt):
                self._reported.add(lane.index)
                self.alarm(BadShard(lane.drive.slot, lane.index, self.part.number, trouble))


async def _close(reader: ShardReader) -> None:
    """A drive in trouble keeps no shard open for us: its errors do not matter here."""
    with suppress(StorageError):
        await reader.close()
