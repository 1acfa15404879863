"""`GrowingStore`: a store of several pools over drives in memory, with as many gateways on it as a test wants."""

from collections.abc import Callable, Iterable, Sequence

from liteio_base.clock import Clock, Randomness, SystemClock
from liteio_base.deadline import Deadline
from liteio_contracts.locks import LockAPI
from liteio_contracts.object_layer import CreateBucket, PutObject, ReadObject
from liteio_contracts.storage import KeyName, StorageAPI
from liteio_erasure.code import CodeParams
from liteio_formats.record import Space
from liteio_formats.topology import PoolRecord, TopologyRecord
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.store_map import StoreMap
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.memory_locks import MemoryLocks
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.store_bench import DEPLOYMENT, PlainBody, read_all

BUCKET = "photos"


class GrowingStore:
    """`drives` are those of each pool that was made, in slot order, set by set. `make_drive`: one of a slot; with
    MemoryDrive's own signature."""

    def __init__(
        self,
        *,
        seed: str = "growing",
        clock: Clock | None = None,
        locks: LockAPI | None = None,
        make_drive: Callable[[int, Clock, Randomness], MemoryDrive] = MemoryDrive,
    ) -> None:
        self.clock = clock or SystemClock()
        self._make_drive = make_drive
        self.locks = locks or MemoryLocks()
        self.randomness = SeededRandomness(seed)
        self.drives: list[list[MemoryDrive]] = []
        self._made: dict[tuple[str, ...], tuple[PoolRecord, list[MemoryDrive]]] = {}  # by endpoints
        self.record = TopologyRecord.of_one_pool(DEPLOYMENT, self.new_pool(1, 4, 2))
        self._gateways = 0

    @property
    def deadline(self) -> Deadline:
        return Deadline.after(20, self.clock)

    def new_pool(self, set_count: int, width: int, parity: int) -> PoolRecord:
        """Drives that are not part of the store yet."""
        pool = len(self.drives)
        self.drives.append(
            [
                self._make_drive(number % width, self.clock, self.randomness.fork(f"drive {pool}.{number}"))
                for number in range(set_count * width)
            ]
        )
        endpoints = tuple(f"http://node{pool}.lan:9100/disk{number}" for number in range(set_count * width))
        record = PoolRecord(set_width=width, parity=parity, endpoints=endpoints)
        self._made[endpoints] = record, self.drives[pool]
        return record

    def sets(self, pools: Iterable[PoolRecord] | None = None) -> list[list[MemoryDrive]]:
        """The drives of each set of these pools, or of all that were made."""
        made = self._made.values() if pools is None else [self._made[pool.endpoints] for pool in pools]
        return [
            drives[start : start + record.set_width]
            for record, drives in made
            for start in range(0, len(drives), record.set_width)
        ]

    def gateway(
        self,
        record: TopologyRecord | None = None,
        *,
        reach: Callable[[StorageAPI], StorageAPI] = lambda drive: drive,
        locks: LockAPI | None = None,
    ) -> Store:
        """A process that begins with this topology. `reach`: the drive as it sees it."""
        self._gateways += 1

        def sets_of(record: TopologyRecord, pool: int, first_set: int) -> list[DriveSet]:
            shape = record.pools[pool]
            code = CodeParams.of(shape.set_width - shape.parity, shape.parity)
            return [
                DriveSet(tuple(map(reach, drives)), code, first_set + number)
                for number, drives in enumerate(self.sets([shape]))
            ]

        async def open_pool(record: TopologyRecord, pool: int, first_set: int) -> Sequence[DriveSet]:
            return sets_of(record, pool, first_set)

        record = record or self.record
        sets: list[DriveSet] = []
        for pool in range(len(record.pools)):
            sets += sets_of(record, pool, len(sets))
        randomness = self.randomness.fork(f"gateway {self._gateways}")
        store_map = StoreMap(record.deployment_id, sets, record)
        return Store(store_map, self.clock, randomness, locks or self.locks, open_pool=open_pool)

    # -- short forms

    async def make_bucket(self, store: Store, name: str = BUCKET) -> None:
        await store.create_bucket(CreateBucket(name, "root"), deadline=self.deadline)

    async def put(self, store: Store, key: str, content: bytes) -> None:
        await store.put(PutObject(BUCKET, key), PlainBody(content), deadline=self.deadline)

    async def get(self, store: Store, key: str) -> bytes:
        return await read_all(await store.open(ReadObject(BUCKET, key), deadline=self.deadline))

    async def homes(self, store: Store, key: str) -> set[int]:
        """The numbers of the sets of which some drive holds a visible row of the key."""
        info = await store.bucket(BUCKET, deadline=self.deadline)
        name = KeyName(Space.OBJECT, info.bucket_id, key.encode())
        sets = self.sets(self.record.pools)
        return {number for number, drives in enumerate(sets) if any(_shows(drive, name) for drive in drives)}


def _shows(drive: MemoryDrive, name: KeyName) -> bool:
    return any(True for _ in drive.held(name).visible)
