"""One key, several gateways, a seed: writers, readers and maintenance meet on it in a simulation, and what its clients
were told must have an order. Narrower than tests/sim, which works on many keys with everything at once: here nearly
every operation meets another one.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.faults.registry import FaultFound

from liteio_base.byte_span import ByteSpan
from liteio_base.deadline import Deadline
from liteio_base.ids import DeploymentId
from liteio_contracts.locks import LockAPI
from liteio_contracts.object_errors import (
    ConditionalConflict,
    ObjectMissing,
    OperationTimeout,
    PreconditionFailed,
    QuorumLost,
)
from liteio_contracts.object_layer import CreateBucket, DeleteObject, PutObject, ReadObject, WriteCondition
from liteio_contracts.storage import KeyName
from liteio_erasure.code import CodeParams
from liteio_formats.record import Space
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.maintenance import Upkeep, UpkeepTimes
from liteio_objects.store_map import StoreMap
from liteio_testkit.drive_census import take_census
from liteio_testkit.history import Action, Ledger
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.memory_locks import LyingLocks, MemoryLocks
from liteio_testkit.sim import Sim, run_sim
from liteio_testkit.sim_clock import SimClock
from liteio_testkit.sim_network import CALM, LinkPlan
from liteio_testkit.store_bench import PlainBody, read_all

BUCKET: Final = "bucket"
KEY: Final = "key"
HOUR: Final = 3600.0
_DEPLOYMENT: Final = DeploymentId("fa17" * 8)
_LARGE_BYTES: Final = 2 * 64 * 1024 + 1000  # too much for the record: shard files
_WORDS: Final = 9


@dataclass(frozen=True, slots=True)
class Meeting:
    """What meets. `skews`: how far each gateway's wall clock is off, one gateway an entry. `trouble` runs beside the
    clients until they are done. `weights`: of PUT, DELETE, GET, If-None-Match, If-Match."""

    skews: Sequence[float] = (0.0, 0.0)
    drive_skews: Sequence[float] = (0.0,) * 4
    plan: LinkPlan = CALM
    has_honest_locks: bool = False
    clients: int = 4
    operations: int = 6
    weights: tuple[int, int, int, int, int] = (8, 4, 8, 2, 2)
    pause_seconds: float = 0.02
    is_new_key: bool = False  # else it was written before, and each writer reads it before it writes
    trouble: Callable[["Scene"], Awaitable[None]] | None = None


@dataclass
class Scene:
    """A meeting that goes on. `seen` counts what is worth telling."""

    sim: Sim
    meeting: Meeting
    ledger: Ledger = field(default_factory=Ledger)
    seen: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        sim, meeting = self.sim, self.meeting
        self.draw = sim.randomness.fork("scene")
        self.drive_clocks = [sim.clock_with(skew_seconds=skew) for skew in meeting.drive_skews]
        self.drives = [
            MemoryDrive(slot, clock, self.draw.fork(f"drive {slot}"), garbage_grace_seconds=0.0)
            for slot, clock in enumerate(self.drive_clocks)
        ]
        self.locks: LockAPI = MemoryLocks() if meeting.has_honest_locks else LyingLocks()
        self.clocks: list[SimClock] = [sim.clock_with(skew_seconds=skew) for skew in meeting.skews]
        self.stores = [self._store(number) for number in range(len(self.clocks))]

    def _store(self, number: int) -> Store:
        links = [self.sim.network.link(f"gw{number}", drive) for drive in self.drives]
        drive_set = DriveSet(tuple(links), CodeParams.for_set(len(links), None), 0)
        randomness = self.draw.fork(f"gateway {number}")
        return Store(StoreMap(_DEPLOYMENT, [drive_set]), self.clocks[number], randomness, self.locks)

    def deadline(self, seconds: float = 8.0) -> Deadline:
        return Deadline.after(seconds, self.sim.clock)

    def count(self, what: str, times: int = 1) -> None:
        self.seen[what] = self.seen.get(what, 0) + times

    async def run(self) -> None:
        """Raises FaultFound, and whatever the store should not have raised."""
        await self.stores[0].create_bucket(CreateBucket(BUCKET, "owner"), deadline=self.deadline())
        bucket = await self.stores[0].bucket(BUCKET, deadline=self.deadline())
        self.name = KeyName(Space.OBJECT, bucket.bucket_id, KEY.encode())
        if not self.meeting.is_new_key:
            await self._put(self.stores[0], "first", "first", 0)
            await self.stores[0].engine.tasks.drain(60.0)
        self.sim.network.plan = self.meeting.plan
        trouble = asyncio.ensure_future(self._trouble())
        async with asyncio.TaskGroup() as group:
            for number in range(self.meeting.clients):
                group.create_task(self._work(number))
        trouble.cancel()
        await asyncio.gather(trouble, return_exceptions=True)
        if trouble.done() and not trouble.cancelled():
            trouble.result()
        await self._judge()

    async def _trouble(self) -> None:
        if self.meeting.trouble is not None:
            await self.meeting.trouble(self)

    # -- clients

    async def _work(self, client: int) -> None:
        draw = self.draw.fork(f"client {client}")
        works = (self._put, self._delete, self._get, self._put_if_absent, self._put_if_match)
        for number in range(self.meeting.operations):
            await self.sim.clock.sleep(draw.uniform(0.0, self.meeting.pause_seconds))
            at = draw.below(sum(self.meeting.weights))
            chosen = next(work for place, work in enumerate(works) if at < sum(self.meeting.weights[: place + 1]))
            size = _LARGE_BYTES if draw.chance(0.15) else 0
            value = f"{client}.{number}"
            store = self.stores[draw.below(len(self.stores))]
            await chosen(store, f"c{client}", value, size)

    def _body(self, value: str, size: int) -> PlainBody:
        return PlainBody(value.encode().ljust(max(size, _WORDS)))

    async def _put(self, store: Store, client: str, value: str, size: int) -> None:
        call = self.ledger.begin(client, KEY, Action.PUT, value=value)
        try:
            await store.put(PutObject(BUCKET, KEY), self._body(value, size), deadline=self.deadline())
            call.done()
        except (OperationTimeout, ConditionalConflict):
            call.failed()
        except QuorumLost:
            pass

    async def _put_if_absent(self, store: Store, client: str, value: str, size: int) -> None:
        call = self.ledger.begin(client, KEY, Action.PUT_IF_ABSENT, value=value)
        request = PutObject(BUCKET, KEY, condition=WriteCondition(if_absent=True))
        try:
            await store.put(request, self._body(value, size), deadline=self.deadline())
            call.done()
        except PreconditionFailed:
            call.refused()
        except (OperationTimeout, ConditionalConflict):
            call.failed()
        except QuorumLost:
            pass

    async def _put_if_match(self, store: Store, client: str, value: str, size: int) -> None:
        """Of what a read gave just before."""
        try:
            before = await self._read(store)
        except (QuorumLost, OperationTimeout):
            return
        if before is None:
            return
        expected, etag = before
        call = self.ledger.begin(client, KEY, Action.PUT_IF_MATCH, value=value, expected=expected)
        request = PutObject(BUCKET, KEY, condition=WriteCondition(if_etag=etag))
        try:
            await store.put(request, self._body(value, size), deadline=self.deadline())
            call.done()
        except (PreconditionFailed, ObjectMissing):
            call.refused()
        except (OperationTimeout, ConditionalConflict):
            call.failed()
        except QuorumLost:
            pass

    async def _delete(self, store: Store, client: str, value: str, size: int) -> None:
        call = self.ledger.begin(client, KEY, Action.DELETE)
        try:
            await store.delete(DeleteObject(BUCKET, KEY), deadline=self.deadline())
            call.done()
        except (OperationTimeout, ConditionalConflict):
            call.failed()
        except QuorumLost:
            pass

    async def _get(self, store: Store, client: str, value: str, size: int) -> None:
        call = self.ledger.begin(client, KEY, Action.READ)
        try:
            found = await self._read(store)
            call.done(None if found is None else found[0])
        except (QuorumLost, OperationTimeout):
            pass

    async def _read(self, store: Store, seconds: float = 8.0) -> tuple[str, str] | None:
        """The value and its ETag. Raises FaultFound for bytes that nobody wrote."""
        try:
            reader = await store.open(ReadObject(BUCKET, KEY), deadline=self.deadline(seconds))
        except ObjectMissing:
            return None
        content = await read_all(reader, ByteSpan(0, reader.info.size_bytes))
        if content != content.rstrip(b" ").ljust(len(content)):
            raise FaultFound(f"bytes that nobody wrote: {content[:40]!r}")
        return content.decode().rstrip(), reader.info.etag

    # -- the end

    async def _judge(self) -> None:
        network = self.sim.network
        network.mend_all()
        network.plan = CALM
        for drive in self.drives:
            drive.set_offline(False)
            drive.set_full(False)
        for store in self.stores:
            await store.close(60.0)
        await network.drain()
        await self.sim.clock.sleep(4 * HOUR)
        upkeep = Upkeep(self.stores[-1], UpkeepTimes())
        for _ in range(3):
            for work in (upkeep.settle_left_over, upkeep.rebuild_drives, upkeep.scan, upkeep.collect_garbage):
                await work()
        for number, store in enumerate(self.stores):
            call = self.ledger.begin(f"last {number}", KEY, Action.READ)
            found = await self._read(store, 60.0)
            call.done(None if found is None else found[0])
        for problem in self.ledger.check():
            raise FaultFound(problem)
        await self._check_drives(is_there=found is not None)
        for what, times in self.ledger.counts.items():
            self.count(what, times)

    async def _check_drives(self, *, is_there: bool) -> None:
        """All drives hold the same, settled, with shards that verify; files that nothing names are gone."""
        held = [
            {(row.version_id, row.time, row.digest, row.is_settled) for row in drive.held(self.name).records}
            for drive in self.drives
        ]
        if any(rows != held[0] for rows in held) or any(not row[3] for rows in held for row in rows):
            raise FaultFound(f"drives differ: {held}")
        named = {
            part.data_id
            for drive in self.drives
            for row in drive.held(self.name).rows
            for part in row.record.parts
            if not row.record.is_inline
        }
        orphans = [ref for drive in self.drives for ref in drive.shard_files if ref.data_id not in named]
        if orphans:
            raise FaultFound(f"shard files that nothing names: {orphans}")
        for version_id in {row[0] for row in held[0]}:
            census = await take_census(self.drives, self.name, version_id, deadline=self.deadline(60.0))
            if is_there and not census.is_whole:
                raise FaultFound(f"not whole: {census}")


def run_meetings(meeting_of: Callable[[Sim], Meeting], first: int, count: int) -> dict[str, int]:
    """Seeds `first` and so on. What was seen in all of them. Raises FaultFound with the seed, among others."""
    total: dict[str, int] = {}
    for seed in range(first, first + count):

        async def main(sim: Sim) -> dict[str, int]:
            scene = Scene(sim, meeting_of(sim))
            await scene.run()
            return scene.seen

        try:
            seen = run_sim(main, seed, seconds_max=30 * 24 * HOUR)
        except Exception as problem:
            problem.__notes__ = [note[-2000:] for note in getattr(problem, "__notes__", ())]
            raise FaultFound(f"seed {seed}: {problem!r}: {problem}") from problem
        for what, times in seen.items():
            total[what] = total.get(what, 0) + times
    return total
