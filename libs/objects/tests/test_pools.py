"""A store of several pools: keys are found where an epoch placed them, and stay there; only new ones go elsewhere."""

from collections.abc import Sequence
from typing import Final

import pytest

from liteio_base.ids import VersionId
from liteio_contracts.object_errors import (
    BucketMissing,
    BucketNotEmpty,
    NotLinkable,
    ObjectMissing,
    PreconditionFailed,
    UploadMissing,
)
from liteio_contracts.object_layer import (
    BodyFacts,
    BucketChange,
    CompleteUpload,
    CreateUpload,
    DeleteObject,
    LinkObject,
    ListObjects,
    ListUploads,
    ListVersions,
    NamedPart,
    PartInfo,
    PutObject,
    PutPart,
    ReadObject,
    SetTags,
    UploadInfo,
    UploadName,
    WriteCondition,
)
from liteio_formats.bodies import Versioning
from liteio_objects.layer import Store
from liteio_objects.topology_changes import TopologyChanger
from liteio_testkit.growing_store import BUCKET, GrowingStore
from liteio_testkit.intercepted_drive import Answer, Call, InterceptedDrive
from liteio_testkit.store_bench import PlainBody

BIG: Final = bytes(range(256)) * 3000  # beyond what is kept inline
KEYS: Final = [f"key {number}" for number in range(24)]


@pytest.fixture
async def world() -> GrowingStore:
    made = GrowingStore()
    await made.make_bucket(made.gateway())
    return made


async def grow(world: GrowingStore, store: Store, *, old: int = 0, new: int = 1) -> None:
    """Add a pool of two sets of 2+1, by these weights: by default it takes all new keys."""
    pool = world.new_pool(2, 3, 1)
    number = len(world.drives) - 1
    weights = dict.fromkeys(range(number), old) | {number: new}
    world.record = await TopologyChanger(store).add_pool(pool, weights, deadline=world.deadline)


async def listed(world: GrowingStore, store: Store) -> list[str]:
    page = await store.list_objects(ListObjects(BUCKET), deadline=world.deadline)
    return [info.key for info in page.objects]


async def delete(world: GrowingStore, store: Store, key: str, version_id: VersionId | None = None) -> None:
    await store.delete(DeleteObject(BUCKET, key, version_id), deadline=world.deadline)


async def is_absent(world: GrowingStore, store: Store, key: str) -> bool:
    try:
        await store.head(ReadObject(BUCKET, key), deadline=world.deadline)
    except ObjectMissing:
        return True
    return False


# --- keys stay where they are -----------------------------------------------------------------------------------------


async def test_old_keys_are_found_and_overwritten_in_place(world: GrowingStore) -> None:
    store = world.gateway()
    for key in KEYS:
        await world.put(store, key, key.encode())
    await grow(world, store)
    assert await listed(world, store) == sorted(KEYS)
    for key in KEYS:
        assert await world.get(store, key) == key.encode()
        await world.put(store, key, BIG)
        assert await world.get(store, key) == BIG
        assert await world.homes(store, key) == {0}
    assert await listed(world, store) == sorted(KEYS)


async def test_a_deleted_key_stays_in_its_place_as_long_as_its_tombstone(world: GrowingStore) -> None:
    store = world.gateway()
    await world.put(store, "key", b"old")
    await grow(world, store)
    await delete(world, store, "key")
    assert await is_absent(world, store, "key")
    assert await listed(world, store) == []
    await world.put(store, "key", b"again")
    assert await world.get(store, "key") == b"again"
    assert await world.homes(store, "key") == {0}


async def test_new_keys_go_to_the_newest_epochs_place_by_weight(world: GrowingStore) -> None:
    store = world.gateway()
    await grow(world, store, old=1, new=3)
    homes = []
    for number in range(200):
        await world.put(store, f"new {number}", b"content")
        homes.append(await world.homes(store, f"new {number}"))
    assert all(len(home) == 1 for home in homes)
    assert 30 <= homes.count({0}) <= 70  # a quarter of 200, within 3.3 standard deviations
    assert homes.count({1}) > 40
    assert homes.count({2}) > 40


async def test_an_old_key_is_overwritten_in_place_though_all_others_of_its_bucket_are_new(world: GrowingStore) -> None:
    """New keys are committed unread only after they were looked for in all of their places."""
    store = world.gateway()
    await world.put(store, "old", b"old")
    await grow(world, store)
    for number in range(20):
        await world.put(store, f"new {number}", b"new")
    await world.put(store, "old", b"newer")
    assert await world.homes(store, "old") == {0}
    assert await world.get(store, "old") == b"newer"


async def test_reading_an_old_key_asks_no_more_sets_than_it_has_places(world: GrowingStore) -> None:
    asked: set[str] = set()

    class Noting(InterceptedDrive):
        async def intercept(self, operation: str, call: Call[Answer], deadline: object) -> Answer:
            if operation in ("read_key", "list_page"):
                asked.add(self.drive_id)
            return await super().intercept(operation, call, deadline)  # type: ignore[arg-type]  # passed on

    first = world.gateway()
    await world.put(first, "old", b"content")
    await grow(world, first)
    store = world.gateway(reach=Noting)
    await store.bucket(BUCKET, deadline=world.deadline)
    places = store.engine.store_map.places((await store.bucket(BUCKET, deadline=world.deadline)).bucket_id, b"old")
    assert len(places) == 2
    asked.clear()
    assert await world.get(store, "old") == b"content"
    may_be_asked = {drive.drive_id for place in places for drive in place.drive_set.drives}
    assert asked <= may_be_asked
    assert len(may_be_asked) == 7  # of 10: the other set of the new pool is left alone


async def test_conditions_hold_for_keys_in_older_places(world: GrowingStore) -> None:
    store = world.gateway()
    await world.put(store, "key", b"old")
    await grow(world, store)
    request = PutObject(BUCKET, "key", condition=WriteCondition(if_absent=True))
    with pytest.raises(PreconditionFailed):
        await store.put(request, PlainBody(b"new"), deadline=world.deadline)
    etag = (await store.head(ReadObject(BUCKET, "key"), deadline=world.deadline)).etag
    request = PutObject(BUCKET, "key", condition=WriteCondition(if_etag=etag))
    await store.put(request, PlainBody(b"new"), deadline=world.deadline)
    assert await world.get(store, "key") == b"new"


async def test_tags_change_in_place(world: GrowingStore) -> None:
    store = world.gateway()
    await world.put(store, "key", BIG)
    await grow(world, store)
    await store.set_tags(SetTags(BUCKET, "key", None, "colour=red"), deadline=world.deadline)
    assert (await store.head(ReadObject(BUCKET, "key"), deadline=world.deadline)).tags == "colour=red"
    assert await world.homes(store, "key") == {0}


async def test_versions_and_delete_markers_stay_together(world: GrowingStore) -> None:
    store = world.gateway()
    await store.change_bucket(BUCKET, BucketChange(versioning=Versioning.ENABLED), deadline=world.deadline)
    first = await store.put(PutObject(BUCKET, "key"), PlainBody(b"first"), deadline=world.deadline)
    await grow(world, store)
    await delete(world, store, "key")
    second = await store.put(PutObject(BUCKET, "key"), PlainBody(b"second"), deadline=world.deadline)
    page = await store.list_versions(ListVersions(BUCKET), deadline=world.deadline)
    assert [info.is_delete_marker for info in page.versions] == [False, True, False]
    assert [info.is_latest for info in page.versions] == [True, False, False]
    assert await world.homes(store, "key") == {0}
    await delete(world, store, "key", second.version_id)
    await delete(world, store, "key", page.versions[1].version_id)
    assert (await store.head(ReadObject(BUCKET, "key"), deadline=world.deadline)).version_id == first.version_id


async def test_versions_are_listed_on_behind_a_null_version_in_an_older_place(world: GrowingStore) -> None:
    store = world.gateway()
    await world.put(store, "key", b"null")
    await grow(world, store)
    await store.change_bucket(BUCKET, BucketChange(versioning=Versioning.ENABLED), deadline=world.deadline)
    for _ in range(2):
        await store.put(PutObject(BUCKET, "key"), PlainBody(b"later"), deadline=world.deadline)
    await store.put(PutObject(BUCKET, "later"), PlainBody(b"later"), deadline=world.deadline)
    found: list[tuple[str, str]] = []
    after, after_version_id = "", None
    while True:
        request = ListVersions(BUCKET, after=after, after_version_id=after_version_id, limit=1)
        page = await store.list_versions(request, deadline=world.deadline)
        found += [(info.key, info.version_id) for info in page.versions]
        if not page.is_truncated:
            break
        after, after_version_id = page.next_after, page.next_version_id
    assert [key for key, _ in found] == ["key", "key", "key", "later"]
    assert found[2] == ("key", "")


async def test_a_copy_is_linked_only_within_the_set_where_the_new_key_lives(world: GrowingStore) -> None:
    store = world.gateway()
    await world.put(store, "source", BIG)
    await world.put(store, "old", b"old")
    await grow(world, store)
    source = ReadObject(BUCKET, "source")
    info = await store.head(source, deadline=world.deadline)
    await store.link(LinkObject(source, info, PutObject(BUCKET, "old")), deadline=world.deadline)
    assert await world.get(store, "old") == BIG
    assert await world.homes(store, "old") == {0}
    with pytest.raises(NotLinkable):
        await store.link(LinkObject(source, info, PutObject(BUCKET, "new")), deadline=world.deadline)


# --- uploads ----------------------------------------------------------------------------------------------------------


def summarise(upload: UploadInfo, parts: Sequence[PartInfo]) -> BodyFacts:
    return BodyFacts(f"whole-{len(parts)}")


async def begin_upload(world: GrowingStore, store: Store, key: str) -> UploadName:
    info = await store.create_upload(CreateUpload(BUCKET, key), deadline=world.deadline)
    return UploadName(BUCKET, key, info.upload_id)


async def put_part(world: GrowingStore, store: Store, name: UploadName, number: int, content: bytes) -> NamedPart:
    info = await store.put_part(PutPart(name, number), PlainBody(content), deadline=world.deadline)
    return NamedPart(number, info.etag)


async def complete(world: GrowingStore, store: Store, name: UploadName, parts: Sequence[NamedPart]) -> None:
    request = CompleteUpload(name, parts, summarise, part_bytes_min=0)
    await store.complete_upload(request, deadline=world.deadline)


@pytest.mark.parametrize("is_there", [True, False])
async def test_an_upload_goes_on_where_it_began(world: GrowingStore, is_there: bool) -> None:
    store = world.gateway()
    if is_there:
        await world.put(store, "key", b"old")
    name = await begin_upload(world, store, "key")
    parts = [await put_part(world, store, name, 1, BIG)]
    await grow(world, store)
    parts.append(await put_part(world, store, name, 2, b"last"))
    page = await store.list_parts(name, 0, 10, deadline=world.deadline)
    assert [part.number for part in page.parts] == [1, 2]
    uploads = await store.list_uploads(ListUploads(BUCKET), deadline=world.deadline)
    assert [each.upload_id for each in uploads.uploads] == [name.upload_id]
    await complete(world, store, name, parts)
    assert await world.get(store, "key") == BIG + b"last"
    assert await world.homes(store, "key") == {0}
    await complete(world, store, name, parts)  # once more: it answers as the first one did


async def test_a_key_is_made_where_its_open_upload_is(world: GrowingStore) -> None:
    store = world.gateway()
    name = await begin_upload(world, store, "key")
    parts = [await put_part(world, store, name, 1, BIG)]
    await grow(world, store)
    await world.put(store, "key", b"meanwhile")
    assert await world.homes(store, "key") == {0}
    await complete(world, store, name, parts)
    assert await world.get(store, "key") == BIG


async def test_an_upload_of_an_old_key_begins_where_the_key_is(world: GrowingStore) -> None:
    store = world.gateway()
    await world.put(store, "key", b"old")
    await grow(world, store)
    name = await begin_upload(world, store, "key")
    await complete(world, store, name, [await put_part(world, store, name, 1, BIG)])
    assert await world.get(store, "key") == BIG
    assert await world.homes(store, "key") == {0}
    name = await begin_upload(world, store, "new")
    await complete(world, store, name, [await put_part(world, store, name, 1, BIG)])
    assert await world.homes(store, "new") in ({1}, {2})


async def test_an_upload_in_an_older_place_is_aborted_there(world: GrowingStore) -> None:
    store = world.gateway()
    name = await begin_upload(world, store, "key")
    await grow(world, store)
    await store.abort_upload(name, deadline=world.deadline)
    with pytest.raises(UploadMissing):
        await put_part(world, store, name, 1, BIG)


# --- buckets ----------------------------------------------------------------------------------------------------------


async def test_a_new_pool_knows_every_bucket_before_it_takes_keys(world: GrowingStore) -> None:
    store = world.gateway()
    await world.make_bucket(store, "second")
    await grow(world, store)
    for bucket in (BUCKET, "second"):
        await store.put(PutObject(bucket, "new"), PlainBody(b"new"), deadline=world.deadline)
    usage = await store.usage("second", deadline=world.deadline)
    assert (usage.objects, usage.size_bytes) == (1, 3)


async def test_a_bucket_made_by_a_gateway_with_the_old_topology_is_made_in_all_pools(world: GrowingStore) -> None:
    old = world.gateway()
    await grow(world, world.gateway())
    await world.make_bucket(old, "second")
    await old.put(PutObject("second", "new"), PlainBody(b"new"), deadline=world.deadline)
    assert old.engine.store_map.number == world.record.number


async def test_a_bucket_is_deleted_in_all_pools_or_not_at_all(world: GrowingStore) -> None:
    old, store = world.gateway(), world.gateway()
    await old.bucket(BUCKET, deadline=world.deadline)
    await grow(world, store)
    await world.put(store, "new", b"content")
    with pytest.raises(BucketNotEmpty):
        await old.delete_bucket(BUCKET, deadline=world.deadline)
    assert await world.get(store, "new") == b"content"
    await world.put(store, "more", b"content")
    for key in ("new", "more"):
        await delete(world, store, key)
    await old.delete_bucket(BUCKET, deadline=world.deadline)
    with pytest.raises(BucketMissing):
        await store.bucket(BUCKET, deadline=world.deadline)
    await world.make_bucket(store)
    await world.put(store, "new", b"content")
    assert await listed(world, store) == ["new"]


# --- gateways that have not heard of it yet ---------------------------------------------------------------------------


async def test_a_gateway_with_the_old_topology_finds_lists_and_deletes_new_keys(world: GrowingStore) -> None:
    store = world.gateway()
    old = [world.gateway() for _ in range(4)]
    for each in old:  # Each remembers the bucket: nobody need tell it of anything.
        await each.bucket(BUCKET, deadline=world.deadline)
    await grow(world, store)
    await world.put(store, "new", b"new")
    assert await world.get(old[0], "new") == b"new"
    assert await listed(world, old[1]) == ["new"]
    await old[2].delete(DeleteObject(BUCKET, "new"), deadline=world.deadline)
    assert await is_absent(world, store, "new")
    name = await begin_upload(world, store, "upload")
    part = await put_part(world, old[3], name, 1, BIG)
    await complete(world, store, name, [part])


async def test_a_write_by_the_old_topology_is_refused_and_tried_again(world: GrowingStore) -> None:
    store, old = world.gateway(), world.gateway()
    await world.put(old, "first", b"content")
    await grow(world, store)
    for size, key in ((10, "small"), (len(BIG), "big")):
        await world.put(old, key, BIG[:size])
        assert await world.get(store, key) == BIG[:size]
        assert await world.homes(store, key) in ({1}, {2})
    assert old.engine.store_map.number == world.record.number
