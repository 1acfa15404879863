"""Rivals that no lock keeps apart: what one ends, another neither ends again nor brings back."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest

from liteio_base.deadline import Deadline
from liteio_base.ids import NULL_VERSION
from liteio_contracts.object_errors import (
    BucketMissing,
    BucketNotEmpty,
    ConditionalConflict,
    ObjectError,
    PreconditionFailed,
    ReadQuorumLost,
    UploadMissing,
    WriteQuorumLost,
)
from liteio_contracts.object_layer import (
    BodyFacts,
    BucketChange,
    CompleteUpload,
    CreateUpload,
    DeleteObject,
    NamedPart,
    PartInfo,
    PutObject,
    PutPart,
    UploadInfo,
    UploadName,
    WriteCondition,
)
from liteio_contracts.storage import CasScope, Commit, KeyAnswer, KeyName, KeyQuery, RowCommit, VersionRef
from liteio_contracts.storage_errors import DriveTimeout
from liteio_formats.keys import part_key
from liteio_formats.record import Record, Space
from liteio_objects.layer import Store
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.memory_locks import LyingLocks
from liteio_testkit.polling import until
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.store_bench import PlainBody, StoreBench


def rival_of(bench: StoreBench) -> StoreBench:
    """Another gateway over the same drives. Neither is kept out by the other's locks."""
    store = Store(bench.store.engine.store_map, bench.clock, SeededRandomness("rival"), LyingLocks())
    return StoreBench(store, bench.drives, bench.clock)


def before_write(bench: StoreBench, rival: Callable[[], Awaitable[object]], *, skip: int = 0) -> None:
    """Let `rival` act once, between what the next operation of `bench` reads and its write number `skip`."""
    committer: Any = bench.store.engine.committer
    write = committer.write
    left = [skip]

    async def wait_and_write(*arguments: Any, **options: Any) -> Record:
        left[0] -= 1
        if left[0] == -1:
            await rival()
        result: Record = await write(*arguments, **options)
        return result

    committer.write = wait_and_write


@pytest.fixture
async def bench() -> StoreBench:
    made = StoreBench.of()
    made = rival_of(made)  # without locks itself
    await made.make_bucket()
    return made


# -- keys


async def test_what_a_rival_writes_while_a_creation_is_decided_is_not_overwritten(bench: StoreBench) -> None:
    """The creation sees a delete that is not confirmed yet, decides that the key is absent, and asks what the drives
    hold below: by then a rival has written the key, and the drives' newest time is no longer the one decided on."""
    rival = rival_of(bench)
    await bench.put("k", b"old")
    await bench.settle()
    held = [(drive, drive.confirm) for drive in bench.drives]
    for drive in bench.drives:
        drive.confirm = never  # type: ignore[method-assign]
    await bench.store.delete(DeleteObject("photos", "k"), deadline=bench.deadline)
    read_key = MemoryDrive.read_key
    has_written = False

    async def read_late(self: MemoryDrive, query: KeyQuery, *, deadline: Deadline) -> KeyAnswer:
        nonlocal has_written
        if query.below != KeyQuery(query.name).below and not has_written:
            has_written = True
            for drive, confirm in held:
                drive.confirm = confirm  # type: ignore[method-assign]
            await rival.put("k", b"rival's")
            await rival.settle()
        return await read_key(self, query, deadline=deadline)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MemoryDrive, "read_key", read_late)
        request = PutObject("photos", "k", condition=WriteCondition(if_absent=True))
        with pytest.raises((PreconditionFailed, ConditionalConflict)):
            await bench.store.put(request, PlainBody(b"mine"), deadline=bench.deadline)
    assert has_written
    assert await bench.get("k") == b"rival's"


async def never(refs: Sequence[VersionRef], *, deadline: Deadline) -> None:
    """A confirm that is lost."""


# -- buckets


async def test_a_bucket_that_few_drives_take_for_empty_can_be_read_on(bench: StoreBench) -> None:
    bench.drives[0].set_offline(True)
    await bench.put("a", b"1")
    await bench.settle()
    bench.drives[0].set_offline(False)
    bench.drives[1].empty()  # two drives hold the object, two take the bucket for empty
    with pytest.raises(BucketNotEmpty):
        await bench.store.delete_bucket("photos", deadline=bench.deadline)
    assert await bench.get("a") == b"1"
    await bench.put("b", b"2")


async def test_a_closing_left_on_few_drives_is_rolled_back_by_who_finds_it(bench: StoreBench) -> None:
    bench.drives[0].set_offline(True)
    await bench.put("a", b"1")
    await bench.settle()
    bench.drives[0].set_offline(False)
    bench.drives[1].empty()

    async def die(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("killed")

    buckets: Any = bench.store._buckets
    buckets._reopen = die
    with pytest.raises(RuntimeError):
        await bench.store.delete_bucket("photos", deadline=bench.deadline)
    other = rival_of(bench)
    assert await other.get("a") == b"1"
    await other.put("a", b"2")
    [drive_set] = other.store.engine.store_map.sets
    assert await other.store.healer.rebuild_drive(drive_set, 1)


async def test_a_bucket_that_was_opened_again_is_not_removed(bench: StoreBench) -> None:
    other = rival_of(bench)

    async def open_and_put() -> None:
        buckets: Any = other.store._buckets
        await buckets._reopen("photos", 0, deadline=other.deadline)
        await other.put("a", b"kept")

    before_write(bench, open_and_put, skip=1)  # between closing it and its tombstone
    with pytest.raises(ObjectError):
        await bench.store.delete_bucket("photos", deadline=bench.deadline)
    assert await other.get("a") == b"kept"


async def test_a_bucket_that_was_deleted_does_not_come_back(bench: StoreBench) -> None:
    other = rival_of(bench)
    before_write(bench, lambda: other.store.delete_bucket("photos", deadline=other.deadline))
    with pytest.raises(BucketMissing):
        await bench.store.delete_bucket("photos", deadline=bench.deadline)
    with pytest.raises(BucketMissing):
        await other.store.bucket("photos", deadline=other.deadline)


async def test_two_changes_of_one_bucket_do_not_both_take_its_next_number(bench: StoreBench) -> None:
    other = rival_of(bench)

    async def change(of: StoreBench, tags: str) -> object:
        return await of.store.change_bucket("photos", BucketChange(tags=tags), deadline=of.deadline)

    before_write(bench, lambda: change(other, "first=1"))
    with pytest.raises(ConditionalConflict):
        await change(bench, "second=2")
    assert (await other.store.bucket("photos", deadline=other.deadline)).tags == "first=1"


# -- uploads


def summarise(upload: UploadInfo, parts: Sequence[PartInfo]) -> BodyFacts:
    return BodyFacts(f"whole-{len(parts)}")


async def begin(bench: StoreBench, content: bytes = b"part") -> tuple[UploadName, CompleteUpload]:
    info = await bench.store.create_upload(CreateUpload("photos", "big"), deadline=bench.deadline)
    name = UploadName("photos", "big", info.upload_id)
    part = await bench.store.put_part(PutPart(name, 1), PlainBody(content), deadline=bench.deadline)
    await bench.settle()
    return name, CompleteUpload(name, [NamedPart(1, part.etag)], summarise, part_bytes_min=0)


async def test_an_upload_completed_meanwhile_is_not_aborted(bench: StoreBench) -> None:
    other = rival_of(bench)
    name, complete = await begin(bench)
    before_write(bench, lambda: other.store.complete_upload(complete, deadline=other.deadline))
    with pytest.raises(UploadMissing):
        await bench.store.abort_upload(name, deadline=bench.deadline)
    assert await other.get("big") == b"part"
    again = await other.store.complete_upload(complete, deadline=other.deadline)
    assert again.etag == "whole-1"


async def test_a_complete_that_finds_the_parts_gone_answers_as_the_one_that_took_them(bench: StoreBench) -> None:
    other = rival_of(bench)
    _, complete = await begin(bench)

    async def complete_and_drop(*arguments: Any, **options: Any) -> Any:
        uploads._all_parts = all_parts
        await other.store.complete_upload(complete, deadline=other.deadline)
        await other.settle()
        return await all_parts(*arguments, **options)

    uploads: Any = bench.store._uploads
    all_parts, uploads._all_parts = uploads._all_parts, complete_and_drop
    info = await bench.store.complete_upload(complete, deadline=bench.deadline)
    assert info.etag == "whole-1"


async def test_a_complete_that_lost_to_another_answers_as_that(bench: StoreBench) -> None:
    other = rival_of(bench)
    _, complete = await begin(bench)
    before_write(bench, lambda: other.store.complete_upload(complete, deadline=other.deadline))
    info = await bench.store.complete_upload(complete, deadline=bench.deadline)
    assert info.etag == "whole-1"
    await bench.settle()
    usage = await bench.store.usage("photos", deadline=bench.deadline)
    assert usage.versions == 1


async def object_name(bench: StoreBench) -> KeyName:
    bucket = await bench.store.bucket("photos", deadline=bench.deadline)
    return KeyName(Space.OBJECT, bucket.bucket_id, b"big")


def takers_and_others(bench: StoreBench) -> tuple[list[MemoryDrive], list[MemoryDrive]]:
    """Two drives and two: a reader, who asks two neighbours, meets one of each."""
    return bench.drives[0::2], bench.drives[1::2]


def before_next_commit(drive: Any, happens: Callable[[], Awaitable[object]]) -> None:
    """The drive's next commit waits for what happens, or fails as that does."""
    commit = drive.commit

    async def wait_and_commit(sent: Commit, *, deadline: Deadline) -> None:
        drive.commit = commit
        await happens()
        await commit(sent, deadline=deadline)

    drive.commit = wait_and_commit


@contextmanager
def silent_about_objects(drive: Any) -> Iterator[None]:
    """The drive gives no answer about objects; what it holds it keeps."""
    read_key = drive.read_key

    async def answer(query: KeyQuery, *, deadline: Deadline) -> KeyAnswer:
        if query.name.space is Space.OBJECT:
            raise DriveTimeout("silent")
        result: KeyAnswer = await read_key(query, deadline=deadline)
        return result

    drive.read_key = answer
    yield
    drive.read_key = read_key


async def test_a_complete_beside_one_under_way_does_not_say_that_the_upload_is_gone(bench: StoreBench) -> None:
    """Simulation seed 9492. The first is on two of four drives with its object and its upload's end. The second brings
    the end to W and sees one holder of the object: not acknowledged up to now, but it may yet be."""
    other = rival_of(bench)
    _, complete = await begin(bench)
    big = await object_name(bench)
    takers, others = takers_and_others(bench)
    may_come = asyncio.Event()
    for drive in others:
        before_next_commit(drive, may_come.wait)
    first = asyncio.ensure_future(bench.store.complete_upload(complete, deadline=bench.deadline))
    await until(lambda: all(drive.held(big).records for drive in takers))
    with silent_about_objects(takers[0]), pytest.raises(ReadQuorumLost):
        await other.store.complete_upload(complete, deadline=other.deadline)
    may_come.set()
    assert (await first).etag == "whole-1"
    assert (await other.store.complete_upload(complete, deadline=other.deadline)).etag == "whole-1"


async def test_a_complete_after_one_in_doubt_does_not_say_that_the_upload_is_gone(bench: StoreBench) -> None:
    """As above, but the first was answered 503: whoever sees both holders rolls its object forward."""
    other = rival_of(bench)
    _, complete = await begin(bench)
    takers, others = takers_and_others(bench)

    async def fail() -> None:
        raise DriveTimeout("lost on the way")

    for drive in others:
        before_next_commit(drive, fail)
    with pytest.raises(WriteQuorumLost):
        await bench.store.complete_upload(complete, deadline=bench.deadline)
    with silent_about_objects(takers[0]), pytest.raises(ReadQuorumLost):
        await other.store.complete_upload(complete, deadline=other.deadline)
    assert (await other.store.complete_upload(complete, deadline=other.deadline)).etag == "whole-1"
    assert await other.get("big") == b"part"


async def test_a_part_brought_back_after_the_upload_ended_goes_with_the_next_scan(bench: StoreBench) -> None:
    name, _ = await begin(bench, b"")
    bucket = await bench.store.bucket("photos", deadline=bench.deadline)
    part = KeyName(Space.PART, bucket.bucket_id, part_key(name.upload_id, 1))
    [row] = bench.drives[1].held(part).records
    await bench.store.abort_upload(name, deadline=bench.deadline)
    await bench.settle()
    assert not bench.drives[1].held(part).records
    # A settler that had read the part before the end gives it to a drive that lacked it, and confirms it.
    late = Commit((RowCommit(row.encoded, CasScope.VERSION, row.time, row.shard_index),))
    await bench.drives[1].commit(late, deadline=bench.deadline)
    await bench.drives[1].confirm([VersionRef(part, NULL_VERSION, row.time)], deadline=bench.deadline)
    [drive_set] = bench.store.engine.store_map.sets
    assert await bench.store.healer.scan(drive_set) == []
    assert not bench.drives[1].held(part).records
