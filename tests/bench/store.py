"""What the store costs without its gateway: processor time of each operation by kind of thread, in one process.

Four drives, 2+2, twenty operations in flight on one loop unless it says otherwise, 4 KiB objects. Processor time is
what a machine with few cores runs out of first; it says where to look, and moves less than throughput when the machine
does other work.
"""

import asyncio
import itertools
import tempfile
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import uvloop

from liteio_base.byte_span import ByteSpan
from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_contracts.object_layer import CreateBucket, DeleteObject, ListObjects, PutObject, ReadObject
from liteio_drives.file_locks import FileLocks
from liteio_drives.format_rules import Layout
from liteio_drives.format_set import open_drives
from liteio_drives.limits import DriveSettings
from liteio_erasure.code import CodeParams
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.store_map import StoreMap
from liteio_runtime.cycles import collect_cycles_less_often
from liteio_testkit.store_bench import PlainBody

_CODE: Final = CodeParams(2, 2)
_BUCKET: Final = "bench"
_KEYS: Final = 2000
_IN_FLIGHT: Final = 20
_OPERATIONS: Final = 5000
_LISTS: Final = 100
_TOGETHER: Final = 64  # as many as the gateway has removed together
_CONTENT: Final = b"s" * 4096

Operation = Callable[[], Awaitable[object]]


class _Operations:
    """Over one store, each on the next of `_KEYS` keys, or of those that were put new."""

    def __init__(self, store: Store) -> None:
        self._store, self._clock = store, SystemClock()
        self._numbers, self._new, self._gone = itertools.cycle(range(_KEYS)), itertools.count(), itertools.count()

    async def put(self) -> None:
        await self._put(f"key-{next(self._numbers):06}")

    async def put_new(self) -> None:
        await self._put(f"new-{next(self._new):06}")

    async def head(self) -> None:
        await self._store.head(self._some_key(), deadline=self._soon())

    async def get(self) -> None:
        reader = await self._store.open(self._some_key(), deadline=self._soon())
        async for _ in reader.read(ByteSpan(0, len(_CONTENT))):
            pass
        await reader.close()

    async def list_keys(self) -> None:
        await self._store.list_objects(ListObjects(_BUCKET, prefix="key-", limit=1000), deadline=self._soon())

    async def delete(self) -> None:
        await self._store.delete(DeleteObject(_BUCKET, f"new-{next(self._gone):06}"), deadline=self._soon())

    async def delete_together(self) -> None:
        requests = [DeleteObject(_BUCKET, f"new-{next(self._gone):06}") for _ in range(_TOGETHER)]
        await self._store.delete_all(requests, deadline=self._soon())

    async def _put(self, key: str) -> None:
        await self._store.put(PutObject(_BUCKET, key), PlainBody(_CONTENT), deadline=self._soon())

    def _some_key(self) -> ReadObject:
        return ReadObject(_BUCKET, f"key-{next(self._numbers):06}")

    def _soon(self) -> Deadline:
        return Deadline.after(60, self._clock)


def measure_store() -> None:
    uvloop.run(_measure())


async def _measure() -> None:
    print(f"{'µs of processor time an operation':34} {'all':>7} {'loop':>7} {'commit':>7} {'read':>7} {'data':>7}")
    with tempfile.TemporaryDirectory(prefix="liteio-bench-") as folder:
        async with _store(Path(folder)) as store:
            operations = _Operations(store)
            await _run(operations.put, _KEYS)
            collect_cycles_less_often()
            await _show("PUT of a new key", operations.put_new, _OPERATIONS)
            await _show("PUT over an object", operations.put, _OPERATIONS)
            await _show("GET", operations.get, _OPERATIONS)
            await _show("HEAD", operations.head, _OPERATIONS)
            for in_flight in (1, 4, _IN_FLIGHT):
                await _show(f"DELETE, {in_flight} in flight", operations.delete, _OPERATIONS // 5, in_flight)
            await _show(
                f"DELETE of {_TOGETHER} keys together", operations.delete_together, _OPERATIONS // 3 // _TOGETHER
            )
            await _show("LIST of 1,000 keys", operations.list_keys, _LISTS)


async def _show(name: str, operation: Operation, count: int, in_flight: int = _IN_FLIGHT) -> None:
    await _run(operation, count // 10, in_flight)
    before, all_before = _thread_times(), time.process_time_ns()
    await _run(operation, count, in_flight)
    everything = time.process_time_ns() - all_before
    used = _thread_times()
    used.subtract(before)
    figures = [everything, *(used[kind] for kind in ("loop", "commit", "read", "data"))]
    print(f"{name:34} " + " ".join(f"{figure / count / 1000:7.0f}" for figure in figures), flush=True)


async def _run(operation: Operation, count: int, in_flight: int = _IN_FLIGHT) -> None:
    left = iter(range(count))

    async def work() -> None:
        for _ in left:
            await operation()

    await asyncio.gather(*(work() for _ in range(in_flight)))


def _thread_times() -> Counter[str]:
    """Nanoseconds of processor time so far by kind of thread: the loop's, and the drives' by their names."""
    times: Counter[str] = Counter()
    for thread in threading.enumerate():
        kind = "loop" if thread is threading.main_thread() else thread.name.removeprefix("liteio-").partition("-")[0]
        times[kind] += int(Path(f"/proc/self/task/{thread.native_id}/schedstat").read_text().split()[0])
    return times


@asynccontextmanager
async def _store(folder: Path) -> AsyncIterator[Store]:
    clock, randomness = SystemClock(), SystemRandomness()
    paths = [str(folder / f"d{number}") for number in range(_CODE.width)]
    layout, settings = Layout(1, _CODE.width, _CODE.m), DriveSettings(ballast_bytes=0)
    drives = await open_drives(paths, layout, clock=clock, randomness=randomness, settings=settings)
    locks = FileLocks(folder / "locks", clock, randomness)
    store = Store(StoreMap(drives.deployment_id, [DriveSet(drives.as_storage, _CODE, 0)]), clock, randomness, locks)
    try:
        await store.create_bucket(CreateBucket(_BUCKET, "bench"), deadline=Deadline.after(60, clock))
        yield store
    finally:
        await store.close()
        locks.close()
        await drives.close()
