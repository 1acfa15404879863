"""What the store answers while drives hang, are away, or hold damaged data."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_base.ids import NULL_VERSION, SYSTEM_BUCKET, VersionId
from liteio_contracts.object_errors import (
    BucketMissing,
    BucketNotEmpty,
    ObjectMissing,
    ReadQuorumLost,
    UploadMissing,
    WriteQuorumLost,
)
from liteio_contracts.object_layer import (
    BodyFacts,
    BucketInfo,
    CompleteUpload,
    CreateBucket,
    CreateUpload,
    DeleteObject,
    NamedPart,
    PutObject,
    PutPart,
    ReadObject,
    SetTags,
    UploadName,
    WriteCondition,
)
from liteio_contracts.storage import KeyAnswer, KeyName
from liteio_contracts.storage_errors import StaleBucket
from liteio_erasure.code import CodeParams
from liteio_formats.record import Space
from liteio_objects import key_reading, removing
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.store_map import StoreMap
from liteio_testkit.fault_plan import Fault
from liteio_testkit.faulty_drive import FaultyDrive
from liteio_testkit.held_key import HeldKey
from liteio_testkit.intercepted_drive import Answer, Call, InterceptedDrive
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.memory_locks import MemoryLocks
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.store_bench import DEPLOYMENT, PlainBody, StoreBench


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
        reading = reader.latest(drive_set, name, deadline=bench.deadline)
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


# --- half done writes -------------------------------------------------------------------------------------------------


async def half_put(bench: FaultyBench, key: str, content: bytes, reaches: set[int]) -> None:
    """A PUT whose commit reaches only these drives, and whose client gets no answer."""
    for slot, drive in enumerate(bench.faulty):
        if slot not in reaches:
            drive.script.add(Fault.TIMEOUT_BEFORE, "commit")
    with pytest.raises(WriteQuorumLost):
        await bench.put(key, content)


async def test_a_newer_half_write_does_not_keep_an_older_one_from_being_recommitted() -> None:
    bench = await faulty_bench()
    await half_put(bench, "a", b"first", {0, 1})
    await half_put(bench, "a", b"second", {3})
    bench.faulty[2].set_offline()
    assert await bench.get("a") == b"first"


async def test_a_key_in_doubt_can_be_deleted() -> None:
    bench = await faulty_bench()
    await half_put(bench, "a", b"x", {0})
    for drive in bench.drives[1:3]:
        drive.empty()
    [drive_set] = bench.store.engine.store_map.sets
    bucket = KeyName(Space.BUCKET, SYSTEM_BUCKET, b"photos")
    assert (await bench.store.healer.heal_key(drive_set, bucket)).is_whole
    with pytest.raises(ReadQuorumLost):
        await bench.get("a")
    with pytest.raises(ReadQuorumLost):
        await bench.store.delete(
            DeleteObject("photos", "a", condition=WriteCondition(if_etag="*")), deadline=bench.deadline
        )
    await bench.store.delete(DeleteObject("photos", "a"), deadline=bench.deadline)
    with pytest.raises(ObjectMissing):
        await bench.get("a")


async def test_a_write_that_a_drive_took_is_in_doubt_though_its_bucket_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = await faulty_bench()
    for drive in bench.faulty[1:]:
        drive.inner = RefusingDrive(drive.inner)

    async def gone(name: str, *, deadline: Deadline) -> BucketInfo:
        raise BucketMissing(name)

    monkeypatch.setattr(bench.store._buckets, "bucket", gone)
    with pytest.raises(WriteQuorumLost):
        await bench.put("a", b"x")


class RefusingDrive(InterceptedDrive):
    """Its bucket has a newer configuration."""

    async def intercept(self, operation: str, call: Call[Answer], deadline: Deadline) -> Answer:
        if operation == "commit":
            raise StaleBucket(number=2)
        return await call(deadline)


async def test_a_bucket_with_objects_is_not_empty_though_a_drive_missed_them() -> None:
    bench = await faulty_bench()
    bench.faulty[0].set_offline()
    await bench.put("a", b"x")
    await bench.settle()
    bench.faulty[0].set_offline(False)
    with pytest.raises(BucketNotEmpty):
        await bench.store.delete_bucket("photos", deadline=bench.deadline)
    await bench.put("b", b"x")


async def test_deleting_a_version_of_a_remembered_bucket_asks_for_the_bucket_of_now() -> None:
    bench = await faulty_bench()
    other = Store(bench.store.engine.store_map, bench.clock, SeededRandomness("other"), MemoryLocks())
    await bench.put("warm", b"")
    await bench.store.delete(DeleteObject("photos", "warm"), deadline=bench.deadline)
    await bench.settle()
    await bench.store.bucket("photos", deadline=bench.deadline)
    await other.delete_bucket("photos", deadline=bench.deadline)
    await other.create_bucket(CreateBucket("photos", "root"), deadline=bench.deadline)
    await other.put(PutObject("photos", "a"), PlainBody(b"x"), deadline=bench.deadline)
    await bench.store.delete(DeleteObject("photos", "a", NULL_VERSION), deadline=bench.deadline)
    with pytest.raises(ObjectMissing):
        await other.head(ReadObject("photos", "a"), deadline=bench.deadline)
    await other.close()


# --- uploads ----------------------------------------------------------------------------------------------------------


async def begin_upload(bench: FaultyBench) -> CompleteUpload:
    """An upload with one part, ready to be completed."""
    upload = await bench.store.create_upload(CreateUpload("photos", "a"), deadline=bench.deadline)
    name = UploadName("photos", "a", upload.upload_id)
    part = await bench.store.put_part(PutPart(name, 1), PlainBody(b"part" * 1000), deadline=bench.deadline)
    await bench.settle()
    return CompleteUpload(name, [NamedPart(1, part.etag)], lambda _, parts: BodyFacts("0123-1"))


async def test_an_upload_is_completed_in_time_while_a_drive_hangs() -> None:
    bench = await faulty_bench()
    request = await begin_upload(bench)
    hang(bench.faulty[1])
    with taking_at_most(5.0):
        await bench.store.complete_upload(request, deadline=bench.deadline)
    assert await bench.get("a") == b"part" * 1000


async def test_a_repeated_complete_does_not_vouch_for_an_object_that_never_came_to_be() -> None:
    """The upload's end was rolled forward, its object was not."""
    bench = await faulty_bench()
    request = await begin_upload(bench)
    await bench.store.complete_upload(request, deadline=bench.deadline)
    await bench.settle()
    name = await bench.name("a")
    for drive in bench.drives:
        drive._state.put(name, HeldKey())
    with pytest.raises(UploadMissing):
        await bench.store.complete_upload(request, deadline=bench.deadline)


async def test_a_completed_upload_is_remembered_when_its_object_was_deleted() -> None:
    bench = await faulty_bench()
    request = await begin_upload(bench)
    done = await bench.store.complete_upload(request, deadline=bench.deadline)
    await bench.store.delete(DeleteObject("photos", "a"), deadline=bench.deadline)
    await bench.settle()
    assert (await bench.store.complete_upload(request, deadline=bench.deadline)).etag == done.etag


async def test_the_end_of_an_upload_is_not_rolled_forward_where_its_object_can_not_be() -> None:
    """Two of eight drives took the Complete, three can not be asked: K = 4 would be needed for the object's shards."""
    bench = await faulty_bench(8)
    request = await begin_upload(bench)
    for drive in bench.faulty[2:]:
        drive.script.add(Fault.TIMEOUT_BEFORE, "commit")
    with pytest.raises(WriteQuorumLost):
        await bench.store.complete_upload(request, deadline=bench.deadline)
    for drive in bench.faulty[5:]:
        drive.set_offline()
    with pytest.raises(ReadQuorumLost):
        await bench.store.complete_upload(request, deadline=bench.deadline)
    for drive in bench.faulty[5:]:
        drive.set_offline(False)
    await bench.store.complete_upload(request, deadline=bench.deadline)
    assert await bench.get("a") == b"part" * 1000


async def half_complete(bench: FaultyBench) -> CompleteUpload:
    """A Complete that two drives of four took; the others have no room."""
    request = await begin_upload(bench)
    for drive in bench.drives[2:]:
        drive.set_full()
    with pytest.raises(WriteQuorumLost):
        await bench.store.complete_upload(request, deadline=bench.deadline)
    return request


async def test_nothing_of_a_half_complete_comes_to_light_when_its_upload_was_aborted() -> None:
    bench = await faulty_bench()
    request = await half_complete(bench)
    await bench.store.abort_upload(request.upload, deadline=bench.deadline)
    for drive in bench.drives[2:]:
        drive.set_full(False)
    engine, name = bench.store.engine, await bench.name("a")
    await engine.settler.settle(engine.store_map.sets[0], name, NULL_VERSION, deadline=bench.deadline)
    with pytest.raises(ObjectMissing):
        await bench.get("a")


async def test_a_half_complete_that_was_written_over_ends_its_upload() -> None:
    """Who wrote over the object may have read it. While the upload's end has no room it is in doubt."""
    bench = await faulty_bench()
    request = await half_complete(bench)
    for drive in bench.drives[2:]:
        drive.set_full(False)
    await bench.put("a", b"over it")
    await bench.settle()
    for drive in bench.drives[2:]:
        drive.set_full()
    with pytest.raises(ReadQuorumLost):
        await bench.store.abort_upload(request.upload, deadline=bench.deadline)
    for drive in bench.drives[2:]:
        drive.set_full(False)
    with pytest.raises(UploadMissing):
        await bench.store.abort_upload(request.upload, deadline=bench.deadline)


async def test_both_records_of_a_complete_are_reported_when_a_drive_missed_them() -> None:
    bench = await faulty_bench()
    request = await begin_upload(bench)
    bench.faulty[3].script.add(Fault.TIMEOUT_BEFORE, "commit")
    await bench.store.complete_upload(request, deadline=bench.deadline)
    assert {name.space for _, name in bench.store.repairs._queued} == {Space.OBJECT, Space.UPLOAD}


@pytest.mark.parametrize("version_id", [None, NULL_VERSION])
async def test_a_delete_fails_in_time_when_too_few_drives_answer(
    monkeypatch: pytest.MonkeyPatch, version_id: VersionId | None
) -> None:
    for module in (key_reading, removing):
        monkeypatch.setattr(module, "READ_SECONDS", 1.0)
    bench = await faulty_bench(8)
    for drive in bench.faulty[:5]:
        hang(drive)
    with taking_at_most(1.8), pytest.raises(ReadQuorumLost):
        await bench.store.delete(DeleteObject("photos", "a", version_id), deadline=bench.deadline)
