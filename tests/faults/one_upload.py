"""One multipart upload, several gateways, a seed: it is completed twice, aborted and given parts at the same time."""

import asyncio
import hashlib
from collections.abc import Awaitable, Sequence

from tests.faults.one_key import BUCKET, HOUR, KEY, Meeting, Scene
from tests.faults.registry import FaultFound

from liteio_base.byte_span import ByteSpan
from liteio_contracts.object_errors import (
    ConditionalConflict,
    ObjectError,
    ObjectMissing,
    OperationTimeout,
    PartRejected,
    QuorumLost,
    UploadMissing,
)
from liteio_contracts.object_layer import (
    BodyFacts,
    CompleteUpload,
    CreateBucket,
    CreateUpload,
    NamedPart,
    PartInfo,
    PutPart,
    ReadObject,
    UploadInfo,
    UploadName,
)
from liteio_objects.layer import Store
from liteio_objects.maintenance import Upkeep, UpkeepTimes
from liteio_testkit.sim import Sim, run_sim
from liteio_testkit.sim_network import CALM, LinkPlan
from liteio_testkit.store_bench import PlainBody, read_all

_PART_BYTES = 3000


class UploadRace:
    """`outcomes` are those of each request, by name: "done", "missing", "rejected", "conflict", "failed", "unknown"."""

    def __init__(self, sim: Sim, plan: LinkPlan) -> None:
        self.sim, self.plan = sim, plan
        self.scene = Scene(sim, Meeting(skews=(0.0, 0.0, 0.0)))
        self.draw = sim.randomness.fork("race")
        self.outcomes: list[tuple[str, str]] = []
        self.contents: dict[str, bytes] = {}  # by ETag

    async def run(self) -> None:
        scene = self.scene
        first = scene.stores[0]
        await first.create_bucket(CreateBucket(BUCKET, "owner"), deadline=scene.deadline())
        made = await first.create_upload(CreateUpload(BUCKET, KEY), deadline=scene.deadline())
        self.name = UploadName(BUCKET, KEY, made.upload_id)
        etags = [await self._put_part(first, number, f"{number}") for number in (1, 2)]
        self.sim.network.plan = self.plan
        async with asyncio.TaskGroup() as group:
            group.create_task(self._try("complete", self._complete(self._store(), etags)))
            group.create_task(self._try("complete", self._complete(self._store(), etags)))
            if self.draw.chance(0.6):
                group.create_task(self._try("abort", self._abort(self._store())))
            if self.draw.chance(0.6):
                group.create_task(self._try("part", self._put_part(self._store(), 2, "again")))
        self.sim.network.plan = CALM
        for store in scene.stores:
            await store.close(60.0)
        await self.sim.network.drain()
        await self._judge(etags)

    def _store(self) -> Store:
        return self.scene.stores[self.draw.below(3)]

    async def _try(self, what: str, work: Awaitable[object]) -> None:
        await self.sim.clock.sleep(self.draw.uniform(0.0, 0.01))
        try:
            await work
            outcome = "done"
        except UploadMissing:
            outcome = "missing"
        except PartRejected:
            outcome = "rejected"
        except ConditionalConflict:
            outcome = "conflict"
        except OperationTimeout:
            outcome = "failed"
        except QuorumLost:
            outcome = "unknown"
        self.outcomes.append((what, outcome))

    async def _put_part(self, store: Store, number: int, text: str) -> str:
        content = f"part {text} of {self.sim.seed}".encode().ljust(_PART_BYTES)
        etag = hashlib.md5(content).hexdigest()
        self.contents[etag] = content
        await store.put_part(PutPart(self.name, number), PlainBody(content), deadline=self.scene.deadline())
        return etag

    async def _complete(self, store: Store, etags: Sequence[str]) -> None:
        parts = [NamedPart(number, etag) for number, etag in enumerate(etags, start=1)]
        request = CompleteUpload(self.name, parts, _summarise, part_bytes_min=1)
        await store.complete_upload(request, deadline=self.scene.deadline())

    async def _abort(self, store: Store) -> None:
        await store.abort_upload(self.name, deadline=self.scene.deadline())

    async def _judge(self, etags: Sequence[str]) -> None:
        """The object is whole or absent, and nobody was told otherwise."""
        store, whole = self.scene.stores[-1], b"".join(self.contents[etag] for etag in etags)
        upkeep = Upkeep(store, UpkeepTimes())
        for _ in range(2):
            await self.sim.clock.sleep(2 * HOUR)
            for work in (upkeep.settle_left_over, upkeep.scan, upkeep.collect_garbage):
                await work()
            held = await self._read(store)
            if held not in (None, whole):
                raise FaultFound(f"an object that nobody completed: {held!r}; {self.outcomes}")
            if held is None and ("complete", "done") in self.outcomes:
                raise FaultFound(f"completed, and not there: {self.outcomes}")
            if held is not None and ("abort", "done") in self.outcomes and ("complete", "unknown") not in self.outcomes:
                raise FaultFound(f"aborted, and there: {self.outcomes}")
        if {("complete", "done"), ("abort", "done")} <= set(self.outcomes):
            raise FaultFound(f"both the one and the other: {self.outcomes}")
        try:
            await self._complete(store, etags)
        except (UploadMissing, PartRejected):
            if ("complete", "done") in self.outcomes:
                raise FaultFound(f"completed, and a Complete sent again is refused: {self.outcomes}") from None
        else:
            if await self._read(store) != whole:
                raise FaultFound(f"completed again, and not whole: {self.outcomes}")

    async def _read(self, store: Store) -> bytes | None:
        try:
            reader = await store.open(ReadObject(BUCKET, KEY), deadline=self.scene.deadline(60.0))
        except ObjectMissing:
            return None
        return await read_all(reader, ByteSpan(0, reader.info.size_bytes))


def _summarise(upload: UploadInfo, parts: Sequence[PartInfo]) -> BodyFacts:
    return BodyFacts(f"{hashlib.md5(''.join(part.etag for part in parts).encode()).hexdigest()}-{len(parts)}")


def run_races(first: int, count: int, plan: LinkPlan) -> dict[str, int]:
    """How often each outcome was seen. Raises FaultFound with the seed."""
    seen: dict[str, int] = {}
    for seed in range(first, first + count):

        async def main(sim: Sim) -> list[tuple[str, str]]:
            race = UploadRace(sim, plan)
            await race.run()
            return race.outcomes

        try:
            outcomes = run_sim(main, seed, seconds_max=30 * 24 * HOUR)
        except (FaultFound, ObjectError) as problem:
            raise FaultFound(f"seed {seed}: {problem!r}") from problem
        for what, outcome in outcomes:
            seen[f"{what} {outcome}"] = seen.get(f"{what} {outcome}", 0) + 1
    return seen
