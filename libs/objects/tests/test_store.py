import asyncio
import random

import pytest

from liteio_base.byte_span import ByteSpan
from liteio_base.ids import NULL_VERSION, VersionId
from liteio_contracts.object_errors import (
    BucketExists,
    BucketMissing,
    BucketNotEmpty,
    DeleteMarkerFound,
    ObjectMissing,
    PreconditionFailed,
    ReadQuorumLost,
    VersionMissing,
    WriteQuorumLost,
)
from liteio_contracts.object_layer import (
    BucketChange,
    CreateBucket,
    DeleteObject,
    LinkObject,
    PutObject,
    ReadObject,
    SetTags,
    WriteCondition,
)
from liteio_formats.bodies import Versioning
from liteio_testkit.store_bench import PlainBody, StoreBench, read_all

SIZES = [0, 1, 4096, 131_072, 131_073, 1_048_576, 1_048_577, 3_500_000]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("width", [1, 2, 4, 8])
async def test_what_is_put_is_read_back(width: int, size: int) -> None:
    bench = StoreBench.of(width)
    await bench.make_bucket()
    content = random.Random(size).randbytes(size)
    await bench.put("a", content)
    assert await bench.get("a") == content
    await bench.settle()
    assert await bench.get("a") == content
    if size > 10:
        assert await bench.get("a", span=ByteSpan(size // 2, 5)) == content[size // 2 : size // 2 + 5]


async def test_the_last_put_wins_and_leaves_one_row() -> None:
    bench = StoreBench.of()
    await bench.make_bucket()
    for number in range(5):
        await bench.put("a", f"content {number}".encode())
    await bench.settle()
    assert await bench.get("a") == b"content 4"
    usage = await bench.store.usage("photos", deadline=bench.deadline)
    assert (usage.objects, usage.versions, usage.size_bytes, usage.is_exact) == (1, 1, 9, True)


async def test_a_deleted_object_is_gone_and_stays_gone_on_a_stale_drive() -> None:
    bench = StoreBench.of()
    await bench.make_bucket()
    await bench.put("a", b"x" * 300_000)
    await bench.settle()
    bench.drives[2].set_offline(True)
    await bench.store.delete(DeleteObject("photos", "a"), deadline=bench.deadline)
    await bench.settle()
    bench.drives[2].set_offline(False)
    with pytest.raises(ObjectMissing):
        await bench.get("a")
    for other in range(4):
        if other != 2:
            bench.drives[other].set_offline(True)
            with pytest.raises(ObjectMissing):
                await bench.get("a")
            bench.drives[other].set_offline(False)


async def test_reads_survive_the_loss_of_m_drives_and_fail_beyond() -> None:
    bench = StoreBench.of()
    await bench.make_bucket()
    await bench.put("small", b"s" * 1000)
    await bench.put("large", b"l" * 400_000)
    await bench.settle()
    for lost in [(0, 1), (1, 2), (0, 3), (2, 3)]:
        for slot in lost:
            bench.drives[slot].set_offline(True)
        assert await bench.get("small") == b"s" * 1000
        assert await bench.get("large") == b"l" * 400_000
        for slot in lost:
            bench.drives[slot].set_offline(False)
    for slot in range(3):
        bench.drives[slot].set_offline(True)
    with pytest.raises(ReadQuorumLost):
        await bench.get("small")


async def test_a_put_below_the_write_quorum_fails_and_nothing_is_visible() -> None:
    bench = StoreBench.of()
    await bench.make_bucket()
    await bench.put("a", b"old")
    await bench.settle()
    for slot in (0, 1):
        bench.drives[slot].set_offline(True)
    with pytest.raises(WriteQuorumLost):
        await bench.put("a", b"new")
    with pytest.raises(WriteQuorumLost):
        await bench.put("b", b"new")
    for slot in (0, 1):
        bench.drives[slot].set_offline(False)
    assert await bench.get("a") == b"old"
    with pytest.raises(ObjectMissing):
        await bench.get("b")


async def test_exactly_one_of_many_creators_wins() -> None:
    bench = StoreBench.of()
    await bench.make_bucket()

    async def create(number: int) -> bool:
        request = PutObject("photos", "once", condition=WriteCondition(if_absent=True))
        try:
            await bench.store.put(request, PlainBody(str(number).encode()), deadline=bench.deadline)
        except PreconditionFailed:
            return False
        return True

    wins = await asyncio.gather(*(create(number) for number in range(20)))
    assert sum(wins) == 1
    assert await bench.get("once") == str(wins.index(True)).encode()


async def test_if_match_needs_the_present_etag() -> None:
    bench = StoreBench.of()
    await bench.make_bucket()
    await bench.put("a", b"1")
    etag = (await bench.store.head(ReadObject("photos", "a"), deadline=bench.deadline)).etag
    right = PutObject("photos", "a", condition=WriteCondition(if_etag=etag))
    await bench.store.put(right, PlainBody(b"2"), deadline=bench.deadline)
    with pytest.raises(PreconditionFailed):
        await bench.store.put(right, PlainBody(b"3"), deadline=bench.deadline)
    with pytest.raises(ObjectMissing):
        await bench.store.put(
            PutObject("photos", "none", condition=WriteCondition(if_etag="*")), PlainBody(b""), deadline=bench.deadline
        )
    assert await bench.get("a") == b"2"


async def test_versions_come_and_go_by_their_ids() -> None:
    bench = StoreBench.of()
    await bench.make_bucket()
    await bench.put("a", b"before versioning")
    await bench.store.change_bucket("photos", BucketChange(versioning=Versioning.ENABLED), deadline=bench.deadline)
    first, second = await bench.put("a", b"first"), await bench.put("a", b"second")
    assert len({first, second, NULL_VERSION}) == 3
    marker = await bench.store.delete(DeleteObject("photos", "a"), deadline=bench.deadline)
    assert marker.is_delete_marker
    with pytest.raises(ObjectMissing) as missing:
        await bench.get("a")
    assert missing.value.is_delete_marker
    for version_id, content in ((first, b"first"), (second, b"second"), (NULL_VERSION, b"before versioning")):
        request = ReadObject("photos", "a", VersionId(version_id))
        assert await read_all(await bench.store.open(request, deadline=bench.deadline)) == content
    with pytest.raises(DeleteMarkerFound):
        await bench.store.head(ReadObject("photos", "a", marker.version_id), deadline=bench.deadline)
    await bench.store.delete(DeleteObject("photos", "a", marker.version_id), deadline=bench.deadline)
    assert await bench.get("a") == b"second"
    await bench.store.delete(DeleteObject("photos", "a", VersionId(second)), deadline=bench.deadline)
    assert await bench.get("a") == b"first"
    with pytest.raises(VersionMissing):
        await bench.store.head(ReadObject("photos", "a", VersionId(second)), deadline=bench.deadline)
    await bench.store.delete(DeleteObject("photos", "a", VersionId(first)), deadline=bench.deadline)
    assert await bench.get("a") == b"before versioning"


async def test_a_suspended_bucket_replaces_only_the_null_version() -> None:
    bench = StoreBench.of()
    await bench.make_bucket()
    change = BucketChange(versioning=Versioning.ENABLED)
    await bench.store.change_bucket("photos", change, deadline=bench.deadline)
    kept = await bench.put("a", b"kept")
    change = BucketChange(versioning=Versioning.SUSPENDED)
    await bench.store.change_bucket("photos", change, deadline=bench.deadline)
    assert await bench.put("a", b"null 1") == NULL_VERSION
    assert await bench.put("a", b"null 2") == NULL_VERSION
    await bench.settle()
    assert await bench.get("a") == b"null 2"
    result = await bench.store.delete(DeleteObject("photos", "a"), deadline=bench.deadline)
    assert (result.is_delete_marker, result.version_id) == (True, NULL_VERSION)
    await bench.settle()
    usage = await bench.store.usage("photos", deadline=bench.deadline)
    assert (usage.versions, usage.delete_markers, usage.objects) == (1, 1, 0)
    request = ReadObject("photos", "a", VersionId(kept))
    assert await read_all(await bench.store.open(request, deadline=bench.deadline)) == b"kept"


@pytest.mark.parametrize("size", [10, 400_000])
async def test_tags_change_without_a_new_version_or_new_bytes(size: int) -> None:
    bench = StoreBench.of()
    await bench.make_bucket()
    await bench.put("a", b"t" * size)
    before = await bench.store.head(ReadObject("photos", "a"), deadline=bench.deadline)
    await bench.store.set_tags(SetTags("photos", "a", None, "colour=blue"), deadline=bench.deadline)
    await bench.settle()
    after = await bench.store.head(ReadObject("photos", "a"), deadline=bench.deadline)
    assert (after.tags, after.etag, after.modified_ns) == ("colour=blue", before.etag, before.modified_ns)
    for slot in (0, 1):
        bench.drives[slot].set_offline(True)
    assert await bench.get("a") == b"t" * size


async def test_a_link_shares_the_bytes_and_outlives_its_source() -> None:
    bench = StoreBench.of()
    await bench.make_bucket()
    await bench.put("a", b"z" * 400_000)
    source = ReadObject("photos", "a")
    info = await bench.store.head(source, deadline=bench.deadline)
    link = LinkObject(source, info, PutObject("photos", "b", {"content-type": "x/y"}))
    await bench.store.link(link, deadline=bench.deadline)
    await bench.store.delete(DeleteObject("photos", "a"), deadline=bench.deadline)
    await bench.settle()
    for drive in bench.drives:
        await drive.collect_garbage(deadline=bench.deadline)
    assert await bench.get("b") == b"z" * 400_000


async def test_a_bucket_is_made_once_and_deleted_only_when_empty() -> None:
    bench = StoreBench.of()
    await bench.make_bucket()
    with pytest.raises(BucketExists):
        await bench.store.create_bucket(CreateBucket("photos", "other"), deadline=bench.deadline)
    await bench.put("a", b"x")
    with pytest.raises(BucketNotEmpty):
        await bench.store.delete_bucket("photos", deadline=bench.deadline)
    assert await bench.get("a") == b"x"
    await bench.put("b", b"still open")
    for key in "ab":
        await bench.store.delete(DeleteObject("photos", key), deadline=bench.deadline)
    await bench.settle()
    await bench.store.delete_bucket("photos", deadline=bench.deadline)
    with pytest.raises(BucketMissing):
        await bench.put("a", b"x")
    await bench.make_bucket()
    with pytest.raises(ObjectMissing):
        await bench.get("a")


async def test_a_wiped_drive_is_rebuilt_and_counts_again() -> None:
    bench = StoreBench.of()
    await bench.make_bucket()
    for number in range(20):
        await bench.put(f"k{number}", bytes([number]) * (10 if number % 2 else 300_000))
    await bench.store.delete(DeleteObject("photos", "k3"), deadline=bench.deadline)
    await bench.settle()
    bench.drives[1].empty()
    [drive_set] = bench.store.engine.store_map.sets
    assert await bench.store.healer.rebuild_drive(drive_set, 1)
    assert (await bench.drives[1].status(deadline=bench.deadline)).is_authoritative
    for slot in (2, 3):
        bench.drives[slot].set_offline(True)
    for number in range(20):
        if number != 3:
            assert await bench.get(f"k{number}") == bytes([number]) * (10 if number % 2 else 300_000)
    with pytest.raises(ObjectMissing):
        await bench.get("k3")


async def test_an_event_waits_on_one_drive_more_than_may_be_lost() -> None:
    bench = StoreBench.of()
    await bench.make_bucket()
    await bench.store.change_bucket("photos", BucketChange(has_events=True), deadline=bench.deadline)
    await bench.put("a", b"x")
    await bench.store.delete(DeleteObject("photos", "a"), deadline=bench.deadline)
    rows = [await drive.outbox(2**62, 10, deadline=bench.deadline) for drive in bench.drives]
    assert sum(len(held) for held in rows) == 6


async def test_a_bucket_can_be_deleted_right_after_its_last_object() -> None:
    bench = StoreBench.of()
    for number in range(10):
        await bench.make_bucket()
        await bench.put(f"k{number}", b"x")
        await bench.store.delete(DeleteObject("photos", f"k{number}"), deadline=bench.deadline)
        await bench.store.delete_bucket("photos", deadline=bench.deadline)
