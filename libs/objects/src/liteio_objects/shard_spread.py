"""`ShardSpread`: the shard files of one part, being written on several drives at once.

Each drive has a lane: a task that creates the file and writes what its queue holds. A queue holds one run while another
is being written, so memory is bounded and a drive that stops does not stop the others for longer than the grace: then
it is dropped, and the write goes on without it while enough lanes are left.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

from liteio_base.check import check
from liteio_contracts.object_errors import ObjectError, StoreFull, WriteQuorumLost
from liteio_contracts.storage_errors import DriveFull, DriveTimeout, StorageError
from liteio_objects.drive_set import LOOK_SECONDS, DriveSet, timed
from liteio_objects.shard_coding import PartAddress, ShardRun
from liteio_objects.shard_io import ShardIO

RUNS_BEHIND_MAX: Final = 1  # runs a drive may have unfinished when it is given the next


@dataclass(frozen=True, slots=True)
class SpreadPlan:
    """What is to be written where. `slots` of the set, by shard index; at least `needed` of their drives must take all
    of it."""

    drive_set: DriveSet
    address: PartAddress
    slots: Mapping[int, int]
    needed: int
    size_hint: int  # expected bytes of one shard file, 0 when unknown


class ShardSpread:
    """Use: `send` runs in order, then `finish`; `give_up` in every other case. One of the two ends all lanes."""

    def __init__(self, plan: SpreadPlan, io: ShardIO) -> None:
        self._plan, self._io = plan, io
        self._news = asyncio.Event()  # some lane got on or failed
        self._lanes = {index: _Lane(index, slot, plan, io, self._news) for index, slot in plan.slots.items()}
        self._living = dict(self._lanes)
        self._began = asyncio.get_running_loop().time()
        self._waited_seconds = 0.0  # for drives that lagged while enough others were ready

    async def send(self, runs: Mapping[int, ShardRun] | Sequence[ShardRun]) -> None:
        """Queue the next run of every shard index, once no living lane is too far behind.

        Raises WriteQuorumLost or StoreFull when fewer than `needed` lanes are left.
        """
        await self._wait_until(lambda lane: lane.runs_behind <= (0 if self._io.crowd.is_dense else RUNS_BEHIND_MAX))
        for index, lane in self._living.items():
            lane.send(runs[index])

    async def finish(self, part_size_bytes: int) -> None:
        """Close all files and wait until they are durable. Raises as `send`; all lanes are ended when it does."""
        for lane in self._living.values():
            lane.end(part_size_bytes)
        await self._wait_until(lambda lane: lane.is_closed)

    async def give_up(self) -> None:
        """Abort every lane that is not finished. Waits a little for it; what is left goes on in the background."""
        tasks = [lane.task for lane in self._lanes.values()]
        for lane in self._living.values():
            lane.cancel()
        self._living.clear()
        await asyncio.wait(tasks, timeout=self._io.slow_grace_seconds)

    @property
    def failed(self) -> frozenset[int]:
        """The shard indexes whose files are not there, or can not be relied on."""
        return frozenset(self._lanes.keys() - self._living.keys())

    @property
    def troubles(self) -> tuple[StorageError, ...]:
        return tuple(lane.trouble for lane in self._lanes.values() if lane.trouble is not None)

    async def _wait_until(self, is_there: Callable[["_Lane"], bool]) -> None:
        """Wait until every living lane has come so far, dropping those that fail or lag."""
        loop = asyncio.get_running_loop()
        began = quiet_since = loop.time()
        enough_since: float | None = None
        lagging_before = len(self._lanes) + 1
        while True:
            self._news.clear()
            self._bury_failed()
            lagging = [lane for lane in self._living.values() if not is_there(lane)]
            now = loop.time()
            if not lagging:
                break
            if len(lagging) < lagging_before:
                quiet_since, lagging_before = now, len(lagging)
            if enough_since is None and len(self._living) - len(lagging) >= self._plan.needed:
                enough_since = now
            ends = quiet_since + self._io.call_seconds
            if enough_since is not None:
                if now >= enough_since + LOOK_SECONDS:
                    for lane in lagging:
                        lane.watch()
                ends = min(ends, enough_since + self._patience(lagging, now, enough_since - began))
            if now >= ends:
                self._drop(lagging)
            else:
                await self._wait_for_news(min(ends - now, LOOK_SECONDS))
        if enough_since is not None:
            self._waited_seconds += now - enough_since

    def _patience(self, lagging: Sequence["_Lane"], now: float, took_seconds: float) -> float:
        """How long to wait for the rest when enough drives are ready, which took them so long.

        While runs are sent, all such waits together may take the grace and half of the time since the beginning: a
        drive that is a little slower than the others is kept, one that would slow the upload down many times is not.
        At the end it is the whole grace again: a whole object is worth that. Drives that are slow may take as long
        again as the others: so they are seen when they are slow no longer.
        """
        if all(lane.is_slow for lane in lagging):
            return max(self._io.slow_grace_seconds, took_seconds)
        if any(lane.is_ending for lane in lagging):
            return self._io.grace_seconds
        left = self._io.grace_seconds + (now - self._began) / 2 - self._waited_seconds
        return max(self._io.slow_grace_seconds, left)

    async def _wait_for_news(self, seconds: float) -> None:
        alarm = asyncio.get_running_loop().call_later(seconds, self._news.set)
        try:
            await self._news.wait()
        finally:
            alarm.cancel()

    def _drop(self, lagging: Sequence["_Lane"]) -> None:
        for lane in lagging:
            lane.trouble = DriveTimeout("the drive lags behind", slot=lane.slot)
            lane.cancel()
            self._io.retire(lane.ended())
            del self._living[lane.index]
        self._check_enough()

    def _bury_failed(self) -> None:
        failed = [lane for lane in self._living.values() if lane.task.done() and not lane.is_closed]
        for lane in failed:
            del self._living[lane.index]
        for lane in failed:
            lane.raise_bug()
        if failed:
            self._check_enough()

    def _check_enough(self) -> None:
        if len(self._living) < self._plan.needed:
            raise self._lost()

    def _lost(self) -> ObjectError:
        full = sum(1 for trouble in self.troubles if isinstance(trouble, DriveFull))
        if full and len(self._living) + full >= self._plan.needed:
            return StoreFull(f"{full} drives refuse new data", causes=self.troubles)
        return WriteQuorumLost(needed=self._plan.needed, got=len(self._living), causes=self.troubles)


class _Lane:
    """One drive's file. Its task ends with the file closed, or aborted."""

    def __init__(self, index: int, slot: int, plan: SpreadPlan, io: ShardIO, news: asyncio.Event) -> None:
        self.index, self.slot = index, slot
        self.is_closed = False
        self.trouble: StorageError | None = None
        self._plan, self._io, self._news = plan, io, news
        self._runs: deque[ShardRun] = deque()
        self._part_size_bytes: int | None = None  # known when no more runs will come
        self._more = asyncio.Event()
        self._is_writing = False
        self._step_began = asyncio.get_running_loop().time()  # of writing a run, or of the end
        self._is_watched = False
        self.task = asyncio.ensure_future(self._run())
        self.task.add_done_callback(self._ended)

    @property
    def is_slow(self) -> bool:
        return self._plan.drive_set.is_slow(self.slot)

    @property
    def runs_behind(self) -> int:
        return len(self._runs) + self._is_writing

    @property
    def is_ending(self) -> bool:
        return self._part_size_bytes is not None

    def send(self, run: ShardRun) -> None:
        check(self._part_size_bytes is None, "no run follows the end")
        self._runs.append(run)
        self._more.set()

    def end(self, part_size_bytes: int) -> None:
        self._part_size_bytes = part_size_bytes
        self._more.set()

    def watch(self) -> None:
        """What the drive is not done with yet tells how it is, too."""
        if not self._is_watched:
            self._is_watched = True
            pace = self._plan.drive_set.paces.closes
            pace.begin_waiting(self.task, self.slot, self._step_began)
            self.task.add_done_callback(partial(pace.end_waiting, self.slot))

    def cancel(self) -> None:
        self._runs.clear()
        self.task.cancel()

    async def ended(self) -> None:
        await asyncio.wait({self.task})

    def raise_bug(self) -> None:
        """A lane that ended by anything but a drive's error is a bug, and passes through."""
        self._note_trouble()  # Its own callback may still be waiting for its turn.
        if not self.task.cancelled() and (error := self.task.exception()) is not None and self.trouble is None:
            raise error

    async def _run(self) -> None:
        drive_set = self._plan.drive_set
        writer = await drive_set.drives[self.slot].create_shard(
            self._plan.address.shard(self.index), size_hint=self._plan.size_hint, deadline=self._io.deadline()
        )
        try:
            while (run := await self._next_run()) is not None:
                self._is_writing = True
                self._step_began = asyncio.get_running_loop().time()
                await writer.write(run.shards, run.hashes)
                self._is_writing = False
                del run  # Not kept alive while the next one is waited for.
                self._news.set()
            check(self._part_size_bytes is not None, "the end was announced")
            self._step_began = asyncio.get_running_loop().time()
            with timed(drive_set.paces.closes, self.slot):
                await writer.close(drive_set.code.k, drive_set.code.m, self._part_size_bytes or 0)
            self.is_closed = True
        finally:
            if not self.is_closed:
                await writer.abort()

    async def _next_run(self) -> ShardRun | None:
        while not self._runs:
            if self._part_size_bytes is not None:
                return None
            self._more.clear()
            await self._more.wait()
        return self._runs.popleft()

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._runs.clear()
        self._is_writing = False
        self._note_trouble()
        self._news.set()

    def _note_trouble(self) -> None:
        if not self.task.cancelled() and isinstance(error := self.task.exception(), StorageError):
            self.trouble = error
