"""A bucket that was removed and made again through another gateway, while this one remembers the old one."""

import pytest

from liteio_contracts.object_layer import DeleteObject
from liteio_erasure.code import CodeParams
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.store_map import StoreMap
from liteio_testkit.memory_locks import MemoryLocks
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.store_bench import DEPLOYMENT, StoreBench


def another_gateway(bench: StoreBench) -> StoreBench:
    drive_set = DriveSet(tuple(bench.drives), CodeParams.for_set(len(bench.drives), None), 0)
    store = Store(StoreMap(DEPLOYMENT, [drive_set]), bench.clock, SeededRandomness("another"), MemoryLocks())
    return StoreBench(store, bench.drives, bench.clock)


@pytest.mark.parametrize("size", [0, 900, 300_000, 2_500_000])
async def test_a_write_goes_to_the_new_one(size: int) -> None:
    bench = StoreBench.of()
    other = another_gateway(bench)
    await bench.make_bucket()
    await bench.put("old", b"x")  # from here on it remembers the bucket
    await other.store.delete(DeleteObject("photos", "old"), deadline=bench.deadline)
    await other.store.delete_bucket("photos", deadline=bench.deadline)
    await other.make_bucket()
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    await bench.put("new", content)
    assert await other.get("new") == content
    assert await bench.get("new") == content
    await bench.settle()
