"""Changing a topology under writers: none of them makes a second home for a key, and what is left half done is done."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec
import pytest

from liteio_base.deadline import Deadline
from liteio_base.ids import NULL_VERSION
from liteio_contracts.object_errors import ObjectMissing, QuorumLost, ReadQuorumLost, WriteQuorumLost
from liteio_contracts.object_layer import (
    CreateBucket,
    CreateUpload,
    DeleteObject,
    ListObjects,
    ListVersions,
    PutObject,
    ReadObject,
    WriteCondition,
)
from liteio_contracts.storage import StorageAPI, StoredTopology
from liteio_formats.topology import EpochRecord, TopologyRecord, encode_topology
from liteio_objects.layer import Store
from liteio_objects.maintenance import Upkeep
from liteio_objects.topology_changes import WEIGHT_SHARES, TopologyChanger
from liteio_placement.errors import TopologyRefused
from liteio_testkit.growing_store import BUCKET, GrowingStore
from liteio_testkit.intercepted_drive import Answer, Call, InterceptedDrive
from liteio_testkit.memory_locks import LyingLocks
from liteio_testkit.polling import until
from liteio_testkit.store_bench import PlainBody

BIG = bytes(range(256)) * 3000


@pytest.fixture
async def world() -> GrowingStore:
    made = GrowingStore()
    await made.make_bucket(made.gateway())
    return made


async def grow(world: GrowingStore, store: Store) -> TopologyRecord:
    """A pool of two sets of 2+1, which takes all new keys."""
    weights = dict.fromkeys(range(len(world.drives)), 0) | {len(world.drives): 1}
    return await change(
        world, store, lambda changer: changer.add_pool(world.new_pool(2, 3, 1), weights, deadline=world.deadline)
    )


async def change(
    world: GrowingStore, store: Store, work: Callable[[TopologyChanger], Awaitable[TopologyRecord]]
) -> TopologyRecord:
    world.record = await work(TopologyChanger(store))
    return world.record


async def listed(world: GrowingStore, store: Store) -> list[str]:
    page = await store.list_objects(ListObjects(BUCKET), deadline=world.deadline)
    return [info.key for info in page.objects]


# --- writers under way ------------------------------------------------------------------------------------------------


class Gate:
    """Holds commits to some drives back until it is opened, as a slow network does."""

    def __init__(self, held: Callable[[StorageAPI], bool]) -> None:
        self.is_held = held
        self.opened = asyncio.Event()
        self.waiting = 0

    def reach(self, drive: StorageAPI) -> StorageAPI:
        return _GatedDrive(drive, self) if self.is_held(drive) else drive

    async def until_waiting(self, count: int) -> None:
        await until(lambda: self.waiting >= count)


class _GatedDrive(InterceptedDrive):
    def __init__(self, inner: StorageAPI, gate: Gate) -> None:
        super().__init__(inner)
        self._gate = gate

    async def intercept(self, operation: str, call: Call[Answer], deadline: Deadline) -> Answer:
        if operation == "commit" and not self._gate.opened.is_set():
            self._gate.waiting += 1
            await self._gate.opened.wait()
        return await call(deadline)


@pytest.mark.parametrize("content", [b"small", BIG])
@pytest.mark.parametrize("has_locks", [True, False])
async def test_commits_that_come_after_a_change_are_refused_and_made_anew(
    world: GrowingStore, has_locks: bool, content: bytes
) -> None:
    gate = Gate(lambda drive: True)
    locks = None if has_locks else LyingLocks()
    old, store = world.gateway(reach=gate.reach, locks=locks), world.gateway(locks=locks)
    writing = asyncio.create_task(world.put(old, "key", content))
    await gate.until_waiting(4)
    await grow(world, store)
    if not has_locks:  # A rival that no lock holds back makes the key by the new topology first.
        await world.put(store, "key", b"rival")
    gate.opened.set()
    await writing
    assert await world.get(store, "key") == content
    assert len(await world.homes(store, "key")) == 1
    assert 0 not in await world.homes(store, "key")
    assert await listed(world, store) == ["key"]


async def test_a_write_that_some_drives_took_before_the_change_is_carried_to_its_end(world: GrowingStore) -> None:
    late = world.drives[0][2:]
    gate = Gate(lambda drive: drive in late)
    old, store = world.gateway(reach=gate.reach), world.gateway()
    writing = asyncio.create_task(world.put(old, "key", b"half"))
    await gate.until_waiting(2)
    await grow(world, store)
    gate.opened.set()
    await writing
    assert await world.homes(store, "key") == {0}
    assert await world.get(store, "key") == b"half"


@pytest.mark.parametrize("rival", ["condition", "elsewhere"])
async def test_a_write_that_only_some_drives_took_is_in_doubt_where_another_may_have_come_between(
    world: GrowingStore, rival: str
) -> None:
    late = world.drives[0][2:]
    gate = Gate(lambda drive: drive in late)
    old, store = world.gateway(reach=gate.reach, locks=LyingLocks()), world.gateway(locks=LyingLocks())
    condition = WriteCondition(if_absent=rival == "condition")
    request = PutObject(BUCKET, "key", condition=condition)
    writing = asyncio.create_task(old.put(request, PlainBody(b"half"), deadline=world.deadline))
    await gate.until_waiting(2)
    await grow(world, store)
    if rival == "elsewhere":  # As if the rival had looked before the first drive took the write.
        await plant(world, store, 1, "key")
    gate.opened.set()
    with pytest.raises(WriteQuorumLost):
        await writing
    if rival == "elsewhere":
        return
    assert await world.homes(store, "key") == {0}
    await world.put(store, "key", b"whole")
    assert await world.homes(store, "key") == {0}
    assert await world.get(store, "key") == b"whole"


@pytest.mark.parametrize("content", [b"small", BIG, b""])
async def test_bytes_that_were_stored_elsewhere_are_moved_before_the_commit(
    world: GrowingStore, content: bytes
) -> None:
    store = world.gateway()

    class GrowingBody(PlainBody):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            async for chunk in super().__aiter__():
                yield chunk
            await grow(world, world.gateway())

        @property
        def size_bytes(self) -> int | None:
            return None

    info = await store.put(PutObject(BUCKET, "key", metadata={"a": "b"}), GrowingBody(content), deadline=world.deadline)
    assert await world.get(store, "key") == content
    shown = await store.head(ReadObject(BUCKET, "key"), deadline=world.deadline)
    assert (shown.etag, shown.metadata, shown.size_bytes) == (info.etag, {"a": "b"}, len(content))
    assert info.etag == GrowingBody(content).facts().etag
    assert 0 not in await world.homes(store, "key")


# --- changes that do not come to their end ----------------------------------------------------------------------------


async def test_a_change_is_refused_while_a_set_is_short_of_drives(world: GrowingStore) -> None:
    store = world.gateway()
    for drive in world.drives[0][:2]:
        drive.set_offline()
    with pytest.raises(WriteQuorumLost):
        await grow(world, store)
    for drive in world.drives[0][:2]:
        drive.set_offline(False)
    assert [drive._state.topology.number for drive in world.drives[0]] == [0, 0, 0, 0]
    await world.put(store, "key", b"content")
    assert await world.homes(store, "key") == {0}


async def test_a_topology_that_too_few_drives_keep_is_not_acted_on(world: GrowingStore) -> None:
    """Two of four drives of the first set: an old gateway could still have a write acknowledged by the others."""
    store = world.gateway()
    record = _next(world, world.new_pool(1, 4, 2))
    for drive in world.drives[0][:2]:
        await drive.write_topology(StoredTopology(2, encode_topology(record)), deadline=world.deadline)
    for drive in world.drives[0][2:]:
        drive.set_offline()
    with pytest.raises(QuorumLost):
        await store.engine.maps.refresh(deadline=world.deadline)
    assert store.engine.store_map.number == 1


async def test_whoever_meets_a_half_made_change_carries_it_to_its_end(world: GrowingStore) -> None:
    store = world.gateway()
    record = _next(world, world.new_pool(1, 4, 2))
    await world.drives[0][0].write_topology(StoredTopology(2, encode_topology(record)), deadline=world.deadline)
    await store.engine.maps.refresh(deadline=world.deadline)
    assert store.engine.store_map.number == 2
    kept = [drive._state.topology for pool in world.drives for drive in pool]
    assert kept == [StoredTopology(2, encode_topology(record), is_active=True)] * 8


@pytest.mark.parametrize("is_short", [False, True])
async def test_a_process_that_begins_amid_a_change_carries_it_to_its_end_or_does_not_write(
    world: GrowingStore, is_short: bool
) -> None:
    """The node that it asked tells the record that its drive keeps, which may not be active yet."""
    epoch = EpochRecord(number=3, weights=((0, 0), (1, 1)))
    record = _next(world, world.new_pool(1, 4, 2))
    begun = await change(
        world, world.gateway(), lambda changer: changer.add_pool(record.pools[1], {0: 1}, deadline=world.deadline)
    )
    record = msgspec.structs.replace(begun, number=begun.number + 1, epochs=(*begun.epochs, epoch))
    await world.drives[0][0].write_topology(
        StoredTopology(record.number, encode_topology(record)), deadline=world.deadline
    )
    if is_short:
        for drive in world.drives[0][1:3]:
            drive.set_offline()
    store = world.gateway(record)
    if is_short:
        with pytest.raises(QuorumLost):
            await world.put(store, "key", b"content")
        return
    await world.put(store, "key", b"content")
    assert {drive._state.topology.is_active for drive in world.drives[0]} == {True}
    assert await world.homes(store, "key") == {1}


def _rivals(world: GrowingStore) -> list[StoredTopology]:
    records = [_next(world, world.new_pool(1, 4, 2)) for _ in range(2)]
    return [StoredTopology(record.number, encode_topology(record)) for record in records]


@pytest.mark.parametrize("first", [0, 1])
async def test_of_two_changes_at_once_that_stopped_each_other_one_is_made(world: GrowingStore, first: int) -> None:
    store, rivals = world.gateway(), _rivals(world)
    for slot, drive in enumerate(world.drives[0]):
        await drive.write_topology(rivals[(slot + first) % 2], deadline=world.deadline)
    await store.engine.maps.refresh(deadline=world.deadline)
    assert store.engine.store_map.number == 3
    other = world.gateway()
    await other.engine.maps.refresh(deadline=world.deadline)
    assert other.engine.store_map.record == store.engine.store_map.record


async def test_a_change_that_enough_drives_keep_is_not_replaced_by_its_rival(world: GrowingStore) -> None:
    """It may have been acted on: keys may lie in its pool."""
    store, (one, other) = world.gateway(), _rivals(world)
    for slot, drive in enumerate(world.drives[0]):
        await drive.write_topology(other if slot == 3 else one, deadline=world.deadline)
    await store.engine.maps.refresh(deadline=world.deadline)
    record = store.engine.store_map.record
    assert record is not None
    assert encode_topology(record) == one.encoded


async def test_rivals_are_not_decided_while_one_of_them_may_be_active(world: GrowingStore) -> None:
    store, (one, other) = world.gateway(), _rivals(world)
    for slot, drive in enumerate(world.drives[0]):
        await drive.write_topology(other if slot == 3 else one, deadline=world.deadline)
    for drive in world.drives[0][1:3]:
        drive.set_offline()
    with pytest.raises(QuorumLost):
        await store.engine.maps.refresh(deadline=world.deadline)
    assert {drive._state.topology.number for drive in world.drives[0]} == {2}


async def test_a_pool_that_was_half_added_is_added_by_the_same_call(world: GrowingStore) -> None:
    store = world.gateway()
    pool = world.new_pool(2, 3, 1)
    changer = TopologyChanger(store)
    copy = store.copy_buckets

    async def die(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("killed")

    store.copy_buckets = die  # type: ignore[method-assign]  # planted
    with pytest.raises(RuntimeError):
        await changer.add_pool(pool, {0: 0, 1: 1}, deadline=world.deadline)
    await world.put(store, "before", b"content")
    store.copy_buckets = copy  # type: ignore[method-assign]  # taken out again
    record = await changer.add_pool(pool, {0: 0, 1: 1}, deadline=world.deadline)
    assert (record.number, len(record.pools), [epoch.number for epoch in record.epochs]) == (3, 2, [1, 2])
    world.record = record
    assert await changer.add_pool(pool, deadline=world.deadline) == record
    await world.put(store, "after", b"content")
    assert await world.homes(store, "before") == {0}
    assert 0 not in await world.homes(store, "after")


def _next(world: GrowingStore, pool: Any) -> TopologyRecord:
    return msgspec.structs.replace(world.record, number=world.record.number + 1, pools=(*world.record.pools, pool))


async def test_a_drive_that_was_away_or_emptied_is_given_the_topology(world: GrowingStore) -> None:
    store = world.gateway()
    away, emptied = world.drives[0][0], world.drives[0][1]
    away.set_offline()
    await grow(world, store)
    away.set_offline(False)
    emptied.empty()
    assert [away._state.topology.number, emptied._state.topology.number] == [0, 0]
    await Upkeep(store).rebuild_drives()
    assert [away._state.topology.number, emptied._state.topology.number] == [world.record.number] * 2


async def test_a_record_that_takes_pools_away_is_refused(world: GrowingStore) -> None:
    store = world.gateway()
    await grow(world, store)
    shorter = msgspec.structs.replace(world.record, number=9, pools=world.record.pools[:1], epochs=())
    with pytest.raises(TopologyRefused):
        await store.engine.maps.change_to(shorter, deadline=world.deadline)


# --- weights ----------------------------------------------------------------------------------------------------------


async def test_new_keys_are_spread_by_free_space_unless_weights_are_given(world: GrowingStore) -> None:
    store = world.gateway()
    pool = world.new_pool(2, 3, 1)
    record = await change(world, store, lambda changer: changer.add_pool(pool, deadline=world.deadline))
    # Drives of one size: 2 + 2 x 2 of them hold data.
    assert record.epochs[-1].weights == ((0, round(WEIGHT_SHARES / 3)), (1, round(WEIGHT_SHARES * 2 / 3)))


async def test_a_pool_of_weight_0_takes_no_new_keys_and_keeps_its_own(world: GrowingStore) -> None:
    store = world.gateway()
    await grow(world, store)
    await world.put(store, "in the new pool", b"1")
    await change(world, store, lambda changer: changer.weigh_pools({0: 1, 1: 0}, deadline=world.deadline))
    for number in range(20):
        await world.put(store, f"key {number}", b"2")
        assert await world.homes(store, f"key {number}") == {0}
    await world.put(store, "in the new pool", b"3")
    assert 0 not in await world.homes(store, "in the new pool")
    assert await world.get(store, "in the new pool") == b"3"
    weights = await change(world, store, lambda changer: changer.weigh_pools(deadline=world.deadline))
    assert dict(weights.epochs[-1].weights)[1] == 0  # what an operator has decided is not undone by free space


async def test_a_pool_that_was_never_added_can_not_be_given_a_weight(world: GrowingStore) -> None:
    store = world.gateway()
    await store.engine.maps.change_to(_next(world, world.new_pool(2, 3, 1)), deadline=world.deadline)
    with pytest.raises(TopologyRefused, match="add them first"):
        await TopologyChanger(store).weigh_pools({0: 1, 1: 1}, deadline=world.deadline)


# --- giving up epochs -------------------------------------------------------------------------------------------------


async def test_an_epoch_that_places_all_keys_as_the_newest_does_is_given_up_at_once(world: GrowingStore) -> None:
    store = world.gateway()
    await grow(world, store)
    record = await change(world, store, lambda changer: changer.weigh_pools({0: 5, 1: 0}, deadline=world.deadline))
    assert [epoch.number for epoch in record.epochs] == [1, 2, 3]
    record = await change(world, store, lambda changer: changer.weigh_pools({0: 0, 1: 1}, deadline=world.deadline))
    assert [epoch.number for epoch in record.epochs] == [1, 3, 4]


async def test_epochs_are_given_up_when_no_key_needs_them(world: GrowingStore) -> None:
    store = world.gateway()
    await grow(world, store)
    for number in range(5):
        await world.put(store, f"key {number}", b"content")
    record = await change(world, store, lambda changer: changer.retire_epochs(deadline=world.deadline))
    assert [epoch.number for epoch in record.epochs] == [2]
    for number in range(5):
        assert await world.get(store, f"key {number}") == b"content"
    assert store.engine.store_map.places((await store.bucket(BUCKET, deadline=world.deadline)).bucket_id, b"x")[
        0
    ].is_only


@pytest.mark.parametrize("left", ["object", "tombstone", "upload"])
async def test_an_epoch_is_kept_for_what_any_drive_remembers(world: GrowingStore, left: str) -> None:
    store = world.gateway()
    if left == "upload":
        await store.create_upload(CreateUpload(BUCKET, "key"), deadline=world.deadline)
    else:
        await world.put(store, "key", b"content")
    if left == "tombstone":
        await store.delete(DeleteObject(BUCKET, "key"), deadline=world.deadline)
    await grow(world, store)
    record = await change(world, store, lambda changer: changer.retire_epochs(deadline=world.deadline))
    assert [epoch.number for epoch in record.epochs] == [1, 2]


async def test_epochs_are_not_given_up_while_a_drive_may_remember_more(world: GrowingStore) -> None:
    store = world.gateway()
    await grow(world, store)
    world.drives[0][3].set_not_authoritative()
    with pytest.raises(ReadQuorumLost):
        await TopologyChanger(store).retire_epochs(deadline=world.deadline)
    world.drives[0][3].set_offline()
    with pytest.raises(QuorumLost):
        await TopologyChanger(store).retire_epochs(deadline=world.deadline)
    assert store.engine.store_map.number == world.record.number


# --- what came to light too late --------------------------------------------------------------------------------------


async def plant_stray(world: GrowingStore, store: Store, key: str) -> None:
    """A creation by the old topology that was never acknowledged comes to light: on all drives of the first set."""
    await plant(world, store, 0, key)


async def plant(world: GrowingStore, store: Store, pool: int, key: str) -> None:
    """Make a key in a pool, whatever others remember of it."""
    weights = ((pool, 1),)
    epoch = EpochRecord(number=1, weights=weights)
    alone = msgspec.structs.replace(world.record, epochs=(epoch,))
    old = world.gateway(alone)
    committer, sent = old.engine.committer, old.engine.committer.write

    async def write(drive_set: Any, write: Any, **given: Any) -> Any:
        return await sent(drive_set, msgspec.structs.replace(write, topology_number=None), **given)

    async def stay(*, deadline: Deadline) -> None:
        """It hears of the newer topology and does not act on it."""

    old.engine.maps.refresh = stay  # type: ignore[method-assign]
    committer.write = write  # type: ignore[method-assign]  # as a settler commits, who asks for no topology
    before = await world.homes(store, key)
    await world.put(old, key, b"stray")
    assert len(await world.homes(store, key)) == len(before) + 1


async def test_a_stray_is_hidden_and_goes_with_the_next_write(world: GrowingStore) -> None:
    store = world.gateway()
    await grow(world, store)
    await world.put(store, "key", b"content")
    await plant_stray(world, store, "key")
    assert len(await world.homes(store, "key")) == 2
    assert await world.get(store, "key") == b"content"
    assert await listed(world, store) == ["key"]
    page = await store.list_versions(ListVersions(BUCKET), deadline=world.deadline)
    assert [(info.version_id, info.size_bytes) for info in page.versions] == [(NULL_VERSION, 7)]
    await store.delete(DeleteObject(BUCKET, "key"), deadline=world.deadline)
    with pytest.raises(ObjectMissing):
        await world.get(store, "key")
    assert await listed(world, store) == []


async def test_strays_are_removed_when_epochs_are_looked_through(world: GrowingStore) -> None:
    store = world.gateway()
    await grow(world, store)
    await world.put(store, "key", b"content")
    await plant_stray(world, store, "key")
    await change(world, store, lambda changer: changer.retire_epochs(deadline=world.deadline))
    assert 0 not in await world.homes(store, "key")
    assert await world.get(store, "key") == b"content"


# --- buckets beside a change ------------------------------------------------------------------------------------------


async def test_buckets_made_while_a_pool_is_added_are_in_all_pools(world: GrowingStore) -> None:
    gateways = [world.gateway() for _ in range(3)]
    names = [f"bucket-{number}" for number in range(12)]

    async def make(number: int) -> None:
        await asyncio.sleep(number * 0.001)
        await gateways[number % 3].create_bucket(CreateBucket(names[number], "root"), deadline=world.deadline)

    await asyncio.gather(grow(world, gateways[0]), *(make(number) for number in range(12)))
    for number, name in enumerate(names):
        await gateways[(number + 1) % 3].put(PutObject(name, "key"), PlainBody(b"content"), deadline=world.deadline)
