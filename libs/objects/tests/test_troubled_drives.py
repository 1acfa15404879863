"""What the store answers while drives hang, are away, or hold damaged data."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_base.ids import NULL_VERSION, VersionId
from liteio_contracts.object_errors import ObjectMissing, ReadQuorumLost
from liteio_contracts.object_layer import (
    DeleteObject,
    ReadObject,
    SetTags,
)
from liteio_contracts.storage import KeyAnswer, KeyName
from liteio_erasure.code import CodeParams
from liteio_formats.record import Space
from liteio_objects import key_reading
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.store_map import StoreMap
from liteio_testkit.fault_plan import Fault
from liteio_testkit.faulty_drive import FaultyDrive
from liteio_testkit.intercepted_drive import Answer, Call, InterceptedDrive
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.memory_locks import MemoryLocks
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.store_bench import DEPLOYMENT, StoreBench


class FaultyBench(StoreBench):
    """A StoreBench whose drives are told which calls fail."""

    faulty: list[FaultyDrive]

    @classmethod
    def faulty_of(cls, width: int = 4, seed: str = "bench") -> "FaultyBench":
        clock, randomness = SystemClock(), SeededRandomness(seed)
        drives = [MemoryDrive(slot, clock, randomness.fork(f"drive {slot}")) for slot in range(width)]
        faulty = [FaultyDrive(drive, clock) for drive in drives]
        drive_set = DriveSet(tuple(faulty), CodeParams.for_set(width, None), 0)
        store = Store(StoreMap(DEPLOYMENT, [drive_set]), clock, randomness, MemoryLocks())
        bench = cls(store, drives, clock)
        bench.faulty = faulty
        return bench

    async def name(self, key: str) -> KeyName:
        info = await self.store.bucket("photos", deadline=self.deadline)
        return KeyName(Space.OBJECT, info.bucket_id, key.encode())

    def order(self, name: KeyName) -> tuple[int, ...]:
        return self.store.engine.store_map.place(name.bucket_id, name.key).order


def hang(drive: FaultyDrive, *operations: str) -> None:
    drive.script.add(Fault.HANG, *operations, times=10_000)


@contextmanager
def taking_at_most(seconds: float) -> Iterator[None]:
    started = asyncio.get_running_loop().time()
    yield
    taken = asyncio.get_running_loop().time() - started
    assert taken < seconds, f"it took {taken:.2f} s"


async def faulty_bench(width: int = 4) -> FaultyBench:
    bench = FaultyBench.faulty_of(width)
    await bench.make_bucket()
    return bench


# --- drives that hang -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("slot", range(4))
async def test_a_drive_that_hangs_delays_a_read_by_a_fraction_of_a_second(slot: int) -> None:
    bench = await faulty_bench()
    await bench.put("a", b"x" * 1000)
    await bench.settle()
    hang(bench.faulty[slot])
    with taking_at_most(0.9):
        assert await bench.get("a") == b"x" * 1000


async def test_reads_fail_in_time_when_too_few_drives_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_reading, "READ_SECONDS", 0.5)
    bench = await faulty_bench(8)
    await bench.put("a", b"x" * 1000)
    await bench.settle()
    for drive in bench.faulty[:5]:
        hang(drive)
    with taking_at_most(2.0), pytest.raises(ReadQuorumLost):
        await bench.get("a")
    with taking_at_most(2.0), pytest.raises(ReadQuorumLost):
        await bench.store.head(ReadObject("photos", "a", NULL_VERSION), deadline=bench.deadline)


# --- drives that were away --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version_id", [None, ""])
async def test_one_drive_that_missed_a_write_is_no_witness(version_id: str | None) -> None:
    """An empty object, like a tombstone, needs no shards: its old record on one drive must not be served."""
    bench = await faulty_bench()
    await bench.put("a", b"")
    await bench.settle()
    bench.faulty[0].set_offline()
    await bench.put("a", b"new")
    await bench.settle()
    bench.faulty[0].set_offline(False)
    name = await bench.name("a")
    for drive in bench.faulty[1:]:
        drive.set_offline()
    reader, [drive_set] = bench.store.engine.reader, bench.store.engine.store_map.sets
    if version_id is None:
        reading = reader.latest(drive_set, name, range(4), deadline=bench.deadline)
    else:
        reading = reader.version(drive_set, name, NULL_VERSION, deadline=bench.deadline)
    with pytest.raises(ReadQuorumLost):
        await reading


# --- damaged data -----------------------------------------------------------------------------------------------------


async def test_tags_of_an_inline_object_keep_its_bytes_when_a_shard_has_rotted() -> None:
    bench = await faulty_bench()
    await bench.put("a", b"x" * 1000)
    await bench.settle()
    name = await bench.name("a")
    first = bench.order(name)[0]
    bench.faulty[first].script.add(Fault.FLIP, "read_key", times=1)
    await bench.store.set_tags(SetTags("photos", "a", None, "k=v"), deadline=bench.deadline)
    await bench.settle()
    assert await bench.get("a") == b"x" * 1000


class DamagedIndexDrive(InterceptedDrive):
    """Every record that it shows has a wrong bit behind an intact digest."""

    async def intercept(self, operation: str, call: Call[Answer], deadline: Deadline) -> Answer:
        answer = await call(deadline)
        if not isinstance(answer, KeyAnswer):
            return answer
        entries = tuple(
            msgspec.structs.replace(entry, encoded=entry.encoded[:-1] + bytes((entry.encoded[-1] ^ 1,)))
            for entry in answer.entries
        )
        return msgspec.structs.replace(answer, entries=entries)


@pytest.mark.parametrize("slot", range(4))
async def test_a_damaged_record_counts_as_its_drives_failure(slot: int) -> None:
    bench = await faulty_bench()
    version_id = await bench.put("a", b"x" * 1000)
    await bench.settle()
    bench.faulty[slot].inner = DamagedIndexDrive(bench.drives[slot])
    assert await bench.get("a") == b"x" * 1000
    await bench.store.head(ReadObject("photos", "a", VersionId(version_id)), deadline=bench.deadline)
    await bench.store.set_tags(SetTags("photos", "a", None, "k=v"), deadline=bench.deadline)
    assert await bench.get("a") == b"x" * 1000
    await bench.store.delete(DeleteObject("photos", "a"), deadline=bench.deadline)
    with pytest.raises(ObjectMissing):
        await bench.get("a")
