"""A drive that answers everything, 200 ms late: clients hardly wait for it, and it is found quick again."""

import asyncio
from dataclasses import dataclass

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_contracts.object_layer import ReadObject
from liteio_contracts.storage import DriveState
from liteio_erasure.code import CodeParams
from liteio_objects.drive_set import DriveSet, ask_status
from liteio_objects.layer import Store
from liteio_objects.pace import MEMORY_SECONDS
from liteio_objects.store_map import StoreMap
from liteio_testkit.intercepted_drive import Answer, Call, InterceptedDrive
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.memory_locks import MemoryLocks
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.store_bench import DEPLOYMENT, StoreBench

WIDTH, SLOW = 4, 2
LATE_SECONDS = 0.2
BIG = bytes(400_000)  # in shard files


class LateDrive(InterceptedDrive):
    def __init__(self, inner: MemoryDrive) -> None:
        super().__init__(inner)
        self.late_seconds = 0.0
        self.calls = 0

    async def intercept(self, operation: str, call: Call[Answer], deadline: Deadline) -> Answer:
        self.calls += 1
        if self.late_seconds:
            await asyncio.sleep(self.late_seconds)
        return await call(deadline)


@dataclass
class Rig:
    bench: StoreBench
    drives: list[LateDrive]
    drive_set: DriveSet

    @property
    def slow(self) -> list[int]:
        return [slot for slot in self.drive_set.slots if self.drive_set.is_slow(slot)]

    async def head(self) -> float:
        return await self._timed(self.bench.store.head(ReadObject("photos", "small"), deadline=self.bench.deadline))

    async def get(self, key: str) -> float:
        return await self._timed(self.bench.get(key))

    async def put(self, key: str, content: bytes = b"x") -> float:
        return await self._timed(self.bench.put(key, content))

    async def _timed(self, work: object) -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        await work  # type: ignore[misc]  # any awaitable
        return loop.time() - began

    async def until(self, slow: list[int], seconds: float = 10.0) -> None:
        async with asyncio.timeout(seconds):
            while self.slow != slow:
                await self.head()
                await asyncio.sleep(0.01)


async def rig() -> Rig:
    """Drives that were seen often."""
    clock, randomness = SystemClock(), SeededRandomness("slow drives")
    memory = [MemoryDrive(slot, clock, randomness.fork(f"drive {slot}")) for slot in range(WIDTH)]
    drives = [LateDrive(drive) for drive in memory]
    drive_set = DriveSet(tuple(drives), CodeParams.for_set(WIDTH, None), 0)
    bench = StoreBench(Store(StoreMap(DEPLOYMENT, [drive_set]), clock, randomness, MemoryLocks()), memory, clock)
    await bench.make_bucket()
    for _ in range(30):
        await bench.put("small", b"x")
        await bench.put("big", BIG)
        await bench.get("big")
    await bench.settle()
    made = Rig(bench, drives, drive_set)
    for _ in range(60):
        await made.head()
    return made


async def test_a_late_drive_is_read_from_last_and_again_when_it_is_quick() -> None:
    made = await rig()
    made.drives[SLOW].late_seconds = LATE_SECONDS
    await made.until([SLOW])
    calls = made.drives[SLOW].calls
    times = sorted([await made.get("big") + await made.head() for _ in range(64)])
    assert times[56] < LATE_SECONDS / 2
    assert made.drives[SLOW].calls - calls < 20  # probes, one at a time
    made.drives[SLOW].late_seconds = 0.0
    await made.until([], seconds=MEMORY_SECONDS - 1)  # not just forgotten


async def test_a_write_does_not_wait_for_a_late_drive() -> None:
    made = await rig()
    made.drives[SLOW].late_seconds = LATE_SECONDS
    for key, content in (("small", b"y"), ("big", BIG)):
        for _ in range(5):
            await made.put(key, content)
        assert made.slow == [SLOW]
        times = sorted([await made.put(key, content) for _ in range(20)])
        assert times[15] < LATE_SECONDS / 2
    await made.bench.store.engine.tasks.drain(10.0)


async def test_its_state_is_slow_with_the_reason() -> None:
    made = await rig()
    deadline = made.bench.deadline
    assert (await ask_status(made.drive_set, SLOW, deadline=deadline)).state is DriveState.ONLINE
    made.drives[SLOW].late_seconds = LATE_SECONDS
    await made.until([SLOW])
    status = await ask_status(made.drive_set, SLOW, deadline=deadline)
    assert status.state is DriveState.SLOW
    assert "to read a key, others of its set" in status.reason
    assert (await ask_status(made.drive_set, 0, deadline=deadline)).state is DriveState.ONLINE


async def test_late_drives_are_waited_for_where_fewer_than_w_others_are_there() -> None:
    made = await rig()
    for drive in made.drives[:2]:
        drive.late_seconds = LATE_SECONDS
    await made.until([0, 1])
    assert await made.put("small", b"z") >= LATE_SECONDS * 0.9  # W is three
