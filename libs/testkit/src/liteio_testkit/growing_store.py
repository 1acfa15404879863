"""`GrowingStore`: a store of several pools over drives in memory, with as many gateways on it as a test wants."""

from collections.abc import Callable, Sequence

from liteio_base.clock import Clock, SystemClock
from liteio_base.deadline import Deadline
from liteio_contracts.locks import LockAPI
from liteio_contracts.object_layer import CreateBucket, PutObject, ReadObject
from liteio_contracts.storage import KeyName, StorageAPI
from liteio_erasure.code import CodeParams
from liteio_formats.record import Space
from liteio_formats.topology import EpochRecord, PoolRecord, TopologyRecord
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.store_map import StoreMap
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.memory_locks import MemoryLocks
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.store_bench import DEPLOYMENT, PlainBody, read_all

BUCKET = "photos"


class GrowingStore:
    """`drives[pool]` are a pool's drives in slot order, set by set; more pools are made as topologies name them."""

    def __init__(self, *, seed: str = "growing", clock: Clock | None = None, locks: LockAPI | None = None) -> None:
        self.clock = clock or SystemClock()
        self.locks = locks or MemoryLocks()
        self.randomness = SeededRandomness(seed)
        self.drives: list[list[MemoryDrive]] = []
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
                MemoryDrive(number % width, self.clock, self.randomness.fork(f"drive {pool}.{number}"))
                for number in range(set_count * width)
            ]
        )
        endpoints = tuple(f"http://node{pool}.lan:9100/disk{number}" for number in range(set_count * width))
        return PoolRecord(set_width=width, parity=parity, endpoints=endpoints)

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
            drives = [reach(drive) for drive in self.drives[pool]]
            code = CodeParams.of(shape.set_width - shape.parity, shape.parity)
            return [
                DriveSet(tuple(drives[number * code.width : (number + 1) * code.width]), code, first_set + number)
                for number in range(shape.set_count)
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
        return {number for number, drives in enumerate(self._sets()) if any(_shows(drive, name) for drive in drives)}

    def _sets(self) -> list[list[MemoryDrive]]:
        widths = [pool.set_width for pool in self.record.pools]
        return [
            drives[start : start + width]
            for drives, width in zip(self.drives, widths, strict=False)
            for start in range(0, len(drives), width)
        ]


def two_epochs(record: TopologyRecord, pool: PoolRecord, weights: tuple[tuple[int, int], ...]) -> TopologyRecord:
    """The topology with one more pool, and an epoch with these weights, in one step."""
    epoch = EpochRecord(number=record.epochs[-1].number + 1, weights=weights)
    return TopologyRecord(
        number=record.number + 1,
        deployment_id=record.deployment_id,
        pools=(*record.pools, pool),
        epochs=(*record.epochs, epoch),
    )


def _shows(drive: MemoryDrive, name: KeyName) -> bool:
    return any(True for _ in drive.held(name).visible)
