"""What operations cost as one bucket grows: each figure beside that of the small bucket.

One drive, one process, through the object layer: what grows is the index, and the network would only hide it. The keys
between the measured sizes are put straight into the drive's index, many in flight, which is the quickest way to get
them there; the records are the ones that a PUT makes. The small bucket lives in a store of its own, and the two are
measured in turn, one operation each: what else the machine does meanwhile slows both.
"""

import asyncio
import os
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import msgspec

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_base.ids import NULL_VERSION, Generation, HybridTime, VersionId, new_data_id
from liteio_contracts.object_layer import (
    BucketChange,
    BucketInfo,
    CreateBucket,
    ListObjects,
    PutObject,
    ReadObject,
)
from liteio_contracts.storage import CasScope, Commit, KeyName, RowCommit, StorageAPI, VersionRef
from liteio_drives.file_locks import FileLocks
from liteio_drives.format_rules import Layout
from liteio_drives.format_set import open_drives
from liteio_drives.limits import DriveSettings
from liteio_erasure.bitrot import hash_block
from liteio_erasure.code import CodeParams
from liteio_formats.bodies import Versioning
from liteio_formats.record import Kind, PartEntry, Record, Space, encode_record
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.store_map import StoreMap
from liteio_runtime.affinity import core_of_worker
from liteio_testkit.store_bench import PlainBody

_SMALL: Final = 10_000
_SAMPLES: Final = 400
_IN_FLIGHT: Final = 500
_CONTENT: Final = b"g" * 1024
_BUCKET: Final = "growing"

Work = Callable[[], Awaitable[object]]


class Growing:
    """A store on one drive, with a bucket that is filled behind its back."""

    def __init__(self, store: Store, drive: StorageAPI) -> None:
        self.store, self.drive = store, drive
        self._clock, self._randomness = SystemClock(), SystemRandomness()

    @property
    def deadline(self) -> Deadline:
        return Deadline.after(60, self._clock)

    async def make_bucket(self, name: str, versioning: Versioning = Versioning.NEVER) -> BucketInfo:
        await self.store.create_bucket(CreateBucket(name, "bench"), deadline=self.deadline)
        return await self.store.change_bucket(name, BucketChange(versioning=versioning), deadline=self.deadline)

    async def fill(self, bucket: BucketInfo, keys: AsyncIterator[tuple[bytes, bool]], kind: Kind = Kind.VALUE) -> None:
        """Commit and confirm a record a key; the flag says whether the key's version is one of its own."""
        batch: list[tuple[bytes, bool]] = []
        async for key in keys:
            batch.append(key)
            if len(batch) == _IN_FLIGHT:
                await self._fill(bucket, batch, kind)
                batch = []
        await self._fill(bucket, batch, kind)

    async def _fill(self, bucket: BucketInfo, keys: list[tuple[bytes, bool]], kind: Kind) -> None:
        refs = await asyncio.gather(*(self._commit(bucket, key, has_version, kind) for key, has_version in keys))
        if refs:
            await self.drive.confirm(refs, deadline=self.deadline)

    async def _commit(self, bucket: BucketInfo, key: bytes, has_version: bool, kind: Kind) -> VersionRef:
        now = HybridTime(self._clock.now_ns())
        data_id = new_data_id(self._randomness)
        record = Record(
            space=Space.OBJECT,
            bucket_id=bucket.bucket_id,
            key=key,
            version_id=VersionId(f"{now:016x}{data_id[:16]}") if has_version else NULL_VERSION,
            kind=kind,
            created=now,
            time=now,
            base=HybridTime(0),
            generations=(Generation(""),),
            modified_ns=now,
        )
        row = RowCommit(encode_record(record), CasScope.VERSION, now)
        if kind is Kind.VALUE:
            record = msgspec.structs.replace(
                record,
                size_bytes=len(_CONTENT),
                etag="0" * 32,
                order=(0,),
                parts=(PartEntry(1, len(_CONTENT), data_id, "0" * 32),),
                is_inline=True,
                metadata={"content-type": "binary/octet-stream"},
            )
            payload_hash = hash_block(_CONTENT, data_id, 1, 0, 0)
            row = RowCommit(encode_record(record), CasScope.VERSION, now, 0, _CONTENT, payload_hash)
        await self.drive.commit(Commit((row,)), deadline=self.deadline)
        return VersionRef(KeyName(Space.OBJECT, bucket.bucket_id, key), record.version_id, now)


@asynccontextmanager
async def growing(folder: Path) -> AsyncIterator[Growing]:
    clock, randomness = SystemClock(), SystemRandomness()
    drives = await open_drives(
        [str(folder / "drive")],
        Layout(1, 1, 0),
        clock=clock,
        randomness=randomness,
        settings=DriveSettings(ballast_bytes=0),
    )
    locks = FileLocks(folder / "locks", clock, randomness)
    store = Store(
        StoreMap(drives.deployment_id, [DriveSet(drives.as_storage, CodeParams(1, 0), 0)]), clock, randomness, locks
    )
    try:
        yield Growing(store, drives.as_storage[0])
    finally:
        await store.close()
        locks.close()
        await drives.close()


async def grow(keys_max: int) -> None:
    """Print the cost of each operation in a bucket of 10 thousand keys, and of more, up to `keys_max`."""
    # On one processor, as a gateway worker is: over several, a HEAD takes 80 or 200 µs by where its threads wake up.
    os.sched_setaffinity(0, {core_of_worker(0)})
    with (
        tempfile.TemporaryDirectory(prefix="liteio-small-") as near,
        tempfile.TemporaryDirectory(prefix="liteio-large-") as far,
    ):
        async with growing(Path(near)) as small, growing(Path(far)) as large:
            await _growth_of_keys(small, large, keys_max)
            await _deletes(large, keys_max)
            await _versions(large, keys_max // 10)


async def _growth_of_keys(small: Growing, large: Growing, keys_max: int) -> None:
    await small.fill(await small.make_bucket(_BUCKET), _keys(0, _SMALL))
    bucket = await large.make_bucket(_BUCKET)
    filled = 0
    for size in sorted({_SMALL, _SMALL * 10, keys_max}):
        if size > keys_max:
            continue
        await large.fill(bucket, _keys(filled, size))
        filled = size
        print(f"\n{size:,} keys: median µs, and times the cost at {_SMALL:,}")
        beside = _operations(small, _SMALL)
        for name, work in _operations(large, size).items():
            small_cost, cost = await _medians(beside[name], work, _SAMPLES // 5 if "LIST" in name else _SAMPLES)
            print(f"  {name:34} {cost * 1e6:10.0f} {cost / small_cost:8.2f}", flush=True)


def _operations(bench: Growing, size: int) -> dict[str, Work]:
    chosen = random.Random(size)

    def some_key() -> str:
        return _key(chosen.randrange(size)).decode()

    async def read() -> None:
        reader = await bench.store.open(ReadObject(_BUCKET, some_key()), deadline=bench.deadline)
        await reader.close()

    async def put() -> None:
        key = f"new/{chosen.getrandbits(64):016x}"
        await bench.store.put(PutObject(_BUCKET, key), PlainBody(_CONTENT), deadline=bench.deadline)

    async def head() -> None:
        await bench.store.head(ReadObject(_BUCKET, some_key()), deadline=bench.deadline)

    async def page() -> None:
        await bench.store.list_objects(ListObjects(_BUCKET, after=some_key()), deadline=bench.deadline)

    async def prefixes() -> None:
        request = ListObjects(_BUCKET, prefix="f", delimiter="/", limit=100)
        await bench.store.list_objects(request, deadline=bench.deadline)

    return {
        "PUT of a new key": put,
        "GET": read,
        "HEAD": head,
        "LIST page of 1,000 keys": page,
        "LIST of 100 prefixes by delimiter": prefixes,
    }


async def _deletes(bench: Growing, count: int) -> None:
    """A listing's cost after `count` keys were deleted, beside that of a bucket that was always empty."""
    bucket = await bench.make_bucket("deleted")
    await bench.make_bucket("empty")
    await bench.fill(bucket, _keys(0, count))
    await bench.fill(bucket, _keys(0, count), Kind.TOMBSTONE)

    async def listed(name: str) -> None:
        page = await bench.store.list_objects(ListObjects(name), deadline=bench.deadline)
        assert not page.objects, "the deletes are not whole"

    empty, after = await _medians(lambda: listed("empty"), lambda: listed("deleted"), 100)
    print(f"\nLIST after {count:,} deletes: {after * 1e6:.0f} µs, {after / empty:.2f} times that of an empty bucket")


async def _versions(bench: Growing, count: int) -> None:
    """A PUT to a key with `count` versions beside one to a new key."""
    name = "versions"
    bucket = await bench.make_bucket(name, Versioning.ENABLED)

    async def versions() -> AsyncIterator[tuple[bytes, bool]]:
        for _ in range(count):
            yield b"many", True

    await bench.fill(bucket, versions())
    numbers = iter(range(10**9))

    async def put_new() -> None:
        request = PutObject(name, f"new-{next(numbers)}")
        await bench.store.put(request, PlainBody(_CONTENT), deadline=bench.deadline)

    async def put_many() -> None:
        await bench.store.put(PutObject(name, "many"), PlainBody(_CONTENT), deadline=bench.deadline)

    new, many = await _medians(put_new, put_many)
    print(f"PUT to a key with {count:,} versions: {many * 1e6:.0f} µs, {many / new:.2f} times that of a new key")


async def _keys(start: int, end: int) -> AsyncIterator[tuple[bytes, bool]]:
    for number in range(start, end):
        yield _key(number), False


def _key(number: int) -> bytes:
    """Spread over the whole key space, so that a bigger bucket has more keys everywhere: 1,000 folders."""
    scattered = number * 2_654_435_761 % (1 << 32)
    return f"f{scattered % 1000:03d}/{scattered:010d}".encode()


async def _medians(one: Work, other: Work, samples: int = _SAMPLES) -> tuple[float, float]:
    """Seconds of each, measured in turn."""
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(samples):
        for work, taken in zip((one, other), seconds, strict=True):
            began = time.perf_counter()
            await work()
            taken.append(time.perf_counter() - began)
    return statistics.median(seconds[0]), statistics.median(seconds[1])
