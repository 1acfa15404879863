"""Row 68: pools are added, fill up, and their free space changes."""

from typing import Final

from tests.faults.registry import Trial, require, row

from liteio_base.deadline import Deadline
from liteio_contracts.object_errors import StoreFull
from liteio_contracts.object_layer import ListObjects
from liteio_contracts.storage import StorageAPI
from liteio_objects.layer import Store
from liteio_objects.topology_changes import TopologyChanger
from liteio_testkit.growing_store import BUCKET, GrowingStore
from liteio_testkit.intercepted_drive import Answer, Call, InterceptedDrive

SHAPES: Final = ((2, 3, 1), (1, 4, 2), (1, 6, 3))
POOLS_MAX: Final = 5
NEW_KEYS: Final = 8  # after each change
_READS: Final = frozenset({"read_key", "list_page", "open_shard"})


@row(
    68,
    "pools are added, fill up, and their free space changes",
    "pools added, filled (their drives refuse new data), emptied again and weighed by free space in turn, keys written "
    "by a gateway that was told and one that was not, every key read after each change",
    unit="changes",
    bounded=10,
    full=60,
)
async def old_keys_are_found(trial: Trial) -> str:
    chance, asked = trial.chance, set[str]()
    world = GrowingStore(seed=f"row 68, {trial.seed}")
    told, untold = world.gateway(reach=_noting(asked)), world.gateway()
    await world.make_bucket(told)
    keys: dict[str, bytes] = {}
    refused = reads = most_asked = 0
    for number in range(trial.count):
        await _change(world, untold if number % 3 == 2 else told, number, chance.choice(SHAPES), chance.random() < 0.5)
        for _ in range(NEW_KEYS):
            key = f"key {len(keys)}" if chance.random() < 0.8 or not keys else chance.choice(sorted(keys))
            content = f"{key}, {number}".encode() * chance.choice((1, 20_000))
            try:
                await world.put(chance.choice((told, untold)), key, content)
            except StoreFull:
                refused += 1
            else:
                keys[key] = content
        for key, content in keys.items():
            most_asked = max(most_asked, await _read(world, told, key, content, asked))
            reads += 1
        await _must_list(world, (told, untold), sorted(keys))
    epochs = len(told.engine.store_map.topology.epochs)
    return (
        f"{len(world.drives)} pools, {len(told.engine.store_map.sets)} sets, {epochs} epochs: {reads} reads of"
        f" {len(keys)} keys, all found, at most {most_asked} sets asked for one; {refused} writes to full pools refused"
    )


async def _change(world: GrowingStore, store: Store, number: int, shape: tuple[int, int, int], fills: bool) -> None:
    """A pool more, or one that is full or has room again, and weights by what is free."""
    changer = TopologyChanger(store)
    if number % 2 == 0 and len(world.drives) < POOLS_MAX:
        world.record = await changer.add_pool(world.new_pool(*shape), deadline=world.deadline)
        return
    for drive in world.drives[number % (len(world.drives) - 1)]:
        drive.set_full(fills)
    world.record = await changer.weigh_pools(deadline=world.deadline)


async def _read(world: GrowingStore, store: Store, key: str, content: bytes, asked: set[str]) -> int:
    """How many sets were asked for the key."""
    info = await store.bucket(BUCKET, deadline=world.deadline)
    asked.clear()
    require(await world.get(store, key) == content, f"{key} is not what was put")
    sets = {each.set_index for each in store.engine.store_map.sets for drive in each.drives if drive.drive_id in asked}
    places = {place.drive_set.set_index for place in store.engine.store_map.places(info.bucket_id, key.encode())}
    require(sets <= places, f"{key} may live in the sets {sorted(places)}, and {sorted(sets)} were asked")
    require(len(await world.homes(store, key)) == 1, f"{key} lives in several sets")
    return len(sets)


async def _must_list(world: GrowingStore, stores: tuple[Store, ...], keys: list[str]) -> None:
    for store in stores:
        page = await store.list_objects(ListObjects(BUCKET), deadline=world.deadline)
        require([info.key for info in page.objects] == keys, "the listing is not what was put")


def _noting(asked: set[str]) -> "type[InterceptedDrive]":
    """Drives that note when they are asked what they hold."""

    class Noting(InterceptedDrive):
        def __init__(self, inner: StorageAPI) -> None:
            super().__init__(inner)

        async def intercept(self, operation: str, call: Call[Answer], deadline: Deadline) -> Answer:
            if operation in _READS:
                asked.add(self.drive_id)
            return await call(deadline)

    return Noting
