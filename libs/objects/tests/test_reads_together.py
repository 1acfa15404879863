"""Which drives are asked for a record alone: several reads in a row the same ones, in the long run all as often."""

from collections import Counter

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_contracts.object_layer import ReadObject
from liteio_contracts.storage import KeyAnswer, KeyQuery
from liteio_erasure.code import CodeParams
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.store_map import StoreMap
from liteio_testkit.intercepted_drive import InterceptedDrive
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.memory_locks import MemoryLocks
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.store_bench import DEPLOYMENT, StoreBench

WIDTH = 6
KEYS = [f"key {number}" for number in range(24)]


class AskedDrive(InterceptedDrive):
    """Remembers who is asked, in `asked`, which all drives share."""

    asked: list[int]
    is_likely_slow = False

    async def read_key(self, query: KeyQuery, *, deadline: Deadline) -> KeyAnswer:
        self.asked.append(self.slot)
        return await super().read_key(query, deadline=deadline)


async def bench_of_asked() -> tuple[StoreBench, list[AskedDrive], list[int]]:
    """The objects of KEYS on 4+2 drives: a read asks four of them."""
    clock, randomness, asked = SystemClock(), SeededRandomness("reads together"), list[int]()
    memory = [MemoryDrive(slot, clock, randomness.fork(f"drive {slot}")) for slot in range(WIDTH)]
    drives = [AskedDrive(drive) for drive in memory]
    for drive in drives:
        drive.asked = asked
    drive_set = DriveSet(tuple(drives), CodeParams.for_set(WIDTH, 2), 0)
    store = Store(StoreMap(DEPLOYMENT, [drive_set]), clock, randomness, MemoryLocks())
    bench = StoreBench(store, memory, clock)
    await bench.make_bucket()
    for key in KEYS:
        await bench.put(key, b"x")
    await bench.settle()
    asked.clear()
    return bench, drives, asked


async def head(bench: StoreBench, key: str) -> None:
    await bench.store.head(ReadObject("photos", key), deadline=bench.deadline)


async def test_reads_in_a_row_ask_the_same_drives() -> None:
    bench, _, asked = await bench_of_asked()
    for key in KEYS[:12]:
        await head(bench, key)
    quartets = {frozenset(asked[at : at + 4]) for at in range(0, len(asked), 4)}
    assert len(asked) == 4 * 12
    assert len(quartets) <= 2  # one, or two where the turn goes on to the next


async def test_in_the_long_run_all_drives_are_asked_as_often() -> None:
    bench, _, asked = await bench_of_asked()
    for number in range(960):
        await head(bench, KEYS[number % len(KEYS)])
    times = Counter(asked)
    assert sum(times.values()) == 4 * 960
    assert set(times.values()) == {4 * 960 // WIDTH}


async def test_a_drive_that_is_likely_slow_is_left_out() -> None:
    bench, drives, asked = await bench_of_asked()
    drives[2].is_likely_slow = True
    for number in range(240):
        await head(bench, KEYS[number % len(KEYS)])
    assert 2 not in asked


async def test_a_read_with_its_payload_asks_the_drives_of_the_data_shards() -> None:
    bench, _, asked = await bench_of_asked()
    info = await bench.store.bucket("photos", deadline=bench.deadline)
    for key in KEYS:
        asked.clear()
        assert await bench.get(key) == b"x"
        order = bench.store.engine.store_map.place(info.bucket_id, key.encode()).order
        assert set(asked) == set(order[:4])
