"""What healing does: how fast it rebuilds and repairs, what it costs clients, how fast it finds what nobody reported.

4 drives, 2+2, on one machine. Rebuilds and repairs run in one process over the store, alone; what clients pay is
measured through S3 with a healer of its own, as `liteio server` runs it.
"""

import asyncio
import os
import random
import shutil
import signal
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from tests.bench.big_index import lose_rows, multiply_object
from tests.bench.load import Load, run_processes
from tests.support.server import ACCESS_KEY, SECRET_KEY, Server, running_server

from liteio_base.background import IS_BACKGROUND
from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_base.ids import NULL_VERSION
from liteio_bus.connection import Bus
from liteio_bus.healer_status import StoreHealing, ask_healers
from liteio_contracts.object_layer import CreateBucket, PutObject
from liteio_contracts.storage import KeyName, StorageAPI
from liteio_drives.file_locks import FileLocks
from liteio_drives.format_rules import Layout
from liteio_drives.format_set import open_drives
from liteio_drives.limits import DriveSettings
from liteio_erasure.code import CodeParams
from liteio_formats.record import Space
from liteio_objects.comparing import Comparison
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.scanning import Scan
from liteio_objects.store_map import StoreMap
from liteio_testkit.drive_census import take_census
from liteio_testkit.store_bench import PlainBody

_CODE: Final = CodeParams(2, 2)
_BUCKET: Final = "bench"
_SMALL_BYTES: Final = 4096
_LARGE_BYTES: Final = 64 << 20
_SMALL_COUNT: Final = 10_000
_LARGE_COUNT: Final = 8
_LOST: Final = 1000
_AT_ONCE: Final = 16
_WARM_COUNT: Final = 4000
_FOREGROUND_COUNT: Final = 10_000  # objects of each of two processes
_MISSED_COUNT: Final = 6_000  # which a drive lacks
_OPERATIONS: Final = ("GET", "PUT")
_LOAD_SECONDS: Final = 3.0
_NOTICE_SECONDS: Final = 2.0
_TURNS: Final = 5
_MIB: Final = 1 << 20


class Healed:
    """A store over four folders, opened by this process."""

    def __init__(self, store: Store, drives: Sequence[StorageAPI]) -> None:
        self.store, self.drives = store, drives
        [self.drive_set] = store.engine.store_map.sets

    @property
    def deadline(self) -> Deadline:
        return Deadline.after(60, SystemClock())

    async def make_bucket(self) -> None:
        await self.store.create_bucket(CreateBucket(_BUCKET, "bench"), deadline=self.deadline)

    async def put(self, key: str, content: bytes) -> None:
        await self.store.put(PutObject(_BUCKET, key), PlainBody(content), deadline=self.deadline)

    async def fill(self, prefix: str, count: int, content: bytes, at_once: int = _AT_ONCE) -> None:
        numbers = iter(range(count))

        async def writer() -> None:
            for number in numbers:
                await self.put(f"{prefix}{number:07d}", content)

        await asyncio.gather(*(writer() for _ in range(at_once)))
        await self.store.engine.tasks.drain(30)

    async def name(self, key: bytes) -> KeyName:
        bucket = await self.store.bucket(_BUCKET, deadline=self.deadline)
        return KeyName(Space.OBJECT, bucket.bucket_id, key)

    async def require_whole(self, key: bytes) -> None:
        census = await take_census(self.drives, await self.name(key), NULL_VERSION, deadline=self.deadline)
        if not census.is_whole:
            raise RuntimeError(f"not whole: {census}")


def _paths(folder: Path) -> list[str]:
    return [str(folder / f"d{number}") for number in range(1, 5)]


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Healed]:
    clock, randomness = SystemClock(), SystemRandomness()
    settings = DriveSettings(ballast_bytes=0)
    drives = await open_drives(_paths(folder), Layout(1, 4, 2), clock=clock, randomness=randomness, settings=settings)
    locks = FileLocks(folder / "locks", clock, randomness)
    drive_set = DriveSet(drives.as_storage, _CODE, 0)
    store = Store(StoreMap(drives.deployment_id, [drive_set]), clock, randomness, locks)
    try:
        yield Healed(store, drives.as_storage)
    finally:
        await store.close()
        locks.close()
        await drives.close()


async def measure_healing(keys: int) -> None:
    """Print all figures. `keys`: objects among which lost shards are to be found."""
    await _rebuilds("4 KiB", _SMALL_COUNT, _SMALL_BYTES)
    await _rebuilds("64 MiB", _LARGE_COUNT, _LARGE_BYTES)
    await _cost_to_clients()
    await _finding(keys)


# --- rebuilds and repairs, alone


async def _rebuilds(what: str, count: int, size_bytes: int) -> None:
    content = random.Random(0).randbytes(size_bytes)
    with tempfile.TemporaryDirectory(prefix="liteio-heal-") as name:
        folder = Path(name)
        async with opened(folder) as bench:
            await bench.make_bucket()
            await bench.fill("k", count, content, at_once=_AT_ONCE if size_bytes < _MIB else 2)
        _wipe(Path(_paths(folder)[1]))
        async with opened(folder) as bench:
            IS_BACKGROUND.set(True)
            began = time.perf_counter()
            if not await bench.store.healer.rebuild_drive(bench.drive_set, 1):
                raise RuntimeError("the drive is not rebuilt")
            _tell(f"wiped drive rebuilt, {what} objects", count, size_bytes, time.perf_counter() - began)
            await bench.require_whole(b"k%07d" % (count // 2))
        await _repairs(what, count, size_bytes, folder)


async def _repairs(what: str, count: int, size_bytes: int, folder: Path) -> None:
    """Objects as gateways report them, each counted raw before it is done: N of N shards are read and verify."""
    _wipe(Path(_paths(folder)[2]))
    async with opened(folder) as bench:
        # The drive counts, as one would that missed these writes; its shards are what is missing.
        status = await bench.drives[2].status(deadline=bench.deadline)
        await bench.drives[2].set_authoritative(status.generation, deadline=bench.deadline)
        numbers, chosen = iter(range(count)), await bench.name(b"")

        async def worker() -> None:
            for number in numbers:
                result = await bench.store.healer.heal_key(bench.drive_set, chosen._replace(key=b"k%07d" % number))
                if not result.is_whole:
                    raise RuntimeError(f"object {number}: {result.problems}")

        began = time.perf_counter()
        await asyncio.gather(*(worker() for _ in range(_AT_ONCE)))
        _tell(f"reported objects repaired, {what}", count, size_bytes, time.perf_counter() - began)
        await bench.require_whole(b"k%07d" % (count // 3))


def _wipe(drive: Path) -> None:
    """An empty folder in its place, as of a drive that was replaced."""
    shutil.rmtree(drive)
    drive.mkdir()


def _tell(what: str, count: int, size_bytes: int, seconds: float) -> None:
    mib = count * size_bytes / _MIB
    print(
        f"{what:45} {count / seconds:9.1f} objects/s {mib / seconds:8.1f} MiB/s ({count:,} in {seconds:.1f} s)",
        flush=True,
    )


# --- what clients pay


async def _cost_to_clients() -> None:
    """GET and PUT of small objects while others are healed, in turn with the same while the healer is held."""
    with running_server(4, 2, starts=False) as server:
        server.start()
        await run_processes([_load(server, "BUCKET", 0, 1, 0)])
        await run_processes([_load(server, "PUT", number, _FOREGROUND_COUNT, _SMALL_BYTES) for number in range(2)])
        missed = _load(server, "PUT", 2, _MISSED_COUNT, _SMALL_BYTES)
        await run_processes([missed])
        server.stop()
        lose_rows(str(server.drives[1]), [f"{missed.prefix}{number:07d}".encode() for number in range(_MISSED_COUNT)])
        server.start()
        async with Bus((server.folder / "state" / "nats" / "url").read_text().strip(), name="bench") as bus:
            async with asyncio.timeout(20):
                await bus.wait_until_ready()
                while not (await ask_healers(bus, seconds=0.5)).healers:
                    pass
            for operation in _OPERATIONS:
                await _compare(server, bus, operation)
            began, before = time.perf_counter(), await ask_healers(bus)
            healed = _objects_healed(await _until_healed(bus)) - _objects_healed(before)
            print(f"and when clients have gone {healed / (time.perf_counter() - began):.0f} objects/s", flush=True)


async def _compare(server: Server, bus: Bus, operation: str) -> None:
    [healer] = (await ask_healers(bus)).healers
    rate = await _rate(server, operation, _WARM_COUNT)
    held: list[float] = []
    beside: list[float] = []
    first, seconds = await ask_healers(bus), 0.0
    for _ in range(_TURNS):
        async with _held(healer.pid):
            held.append(await _rate(server, operation, rate * _LOAD_SECONDS))
        began = time.perf_counter()
        await _rate(server, operation, rate * _NOTICE_SECONDS)  # It takes a look at clients every second.
        beside.append(await _rate(server, operation, rate * _LOAD_SECONDS))
        seconds += time.perf_counter() - began
    last = await ask_healers(bus)
    healed = _objects_healed(last) - _objects_healed(first)
    if not healed or not last.is_yielding:
        raise RuntimeError("it did not heal, or did not yield")
    usual, now = statistics.median(held), statistics.median(beside)
    print(
        f"{operation} while objects are healed: {now:.0f}/s of {usual:.0f}/s with the healer held,"
        f" {now / usual:.2f} of it; it yields to {last.healers[0].share:.2f} of the time"
        f" and heals {healed / seconds:.0f} objects/s",
        flush=True,
    )


@asynccontextmanager
async def _held(pid: int) -> AsyncIterator[None]:
    """The process does nothing. Not while it has a drive's lock, for which all others would wait."""
    while True:
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(0.02)
        if not _has_flock(pid):
            break
        os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(0.02)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def _has_flock(pid: int) -> bool:
    locks = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    return any(" FLOCK " in f" {line} " and f" {pid} " in line for line in locks)


def _objects_healed(told: StoreHealing) -> int:
    return sum(healer.objects_healed for healer in told.healers)


async def _until_healed(bus: Bus) -> StoreHealing:
    async with asyncio.timeout(300):
        while True:
            told = await ask_healers(bus, seconds=0.5)
            if told.healers and all(scan.is_done for scan in told.scans if not scan.is_deep):
                return told
            await asyncio.sleep(0.5)


async def _rate(server: Server, operation: str, count: float) -> float:
    """Operations a second of about `count`, over and over on the same keys."""
    share = min(int(count / 2), _FOREGROUND_COUNT)
    result = await run_processes([_load(server, operation, number, share, _SMALL_BYTES) for number in range(2)])
    return result.operations / result.seconds


def _load(server: Server, operation: str, process: int, count: int, size_bytes: int) -> Load:
    prefix = f"small/{process}/"
    return Load("127.0.0.1", server.port, ACCESS_KEY, SECRET_KEY, _BUCKET, operation, prefix, count, 10, size_bytes)


# --- finding what is missing


async def _finding(keys: int) -> None:
    """Shards that drives miss, of which nobody was told, among many objects; then they are healed."""
    chance = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="liteio-find-") as name:
        folder = Path(name)
        lost = [b"template/%09d+" % chance.randrange(keys) for _ in range(_LOST)]
        lost = sorted(set(lost))
        async with opened(folder) as bench:
            await bench.make_bucket()
            await bench.put("template", b"x" * _SMALL_BYTES)
            for key in lost:
                await bench.put(key.decode(), key.ljust(_SMALL_BYTES, b"x"))
            await bench.store.engine.tasks.drain(30)
        began = time.perf_counter()
        paths = _paths(folder)
        multiply_object(paths, b"template", keys)
        for slot, path in enumerate(paths):
            lose_rows(path, lost[slot::4])
        print(f"{keys:,} objects put on 4 drives in {time.perf_counter() - began:.0f} s", flush=True)
        async with opened(folder) as bench:
            IS_BACKGROUND.set(True)
            healer = bench.store.healer
            scan = Scan(bench.store.engine, healer, bench.drive_set, healer.pacer)
            comparison = Comparison(bench.drive_set, lambda: bench.deadline, scan._tombstones_after())
            began, found = time.perf_counter(), []
            async for names in comparison.differing((Space.OBJECT, Space.PART)):
                found += [each.key for each in names]
            seconds = time.perf_counter() - began
            if found != lost:
                raise RuntimeError(f"{len(found)} keys found, {len(lost)} lost")
            print(
                f"{len(lost):,} missing shards found among {comparison.seen.rows:,} objects by digests"
                f" in {seconds:.1f} s, {comparison.seen.ranges:,} ranges compared",
                flush=True,
            )
            began = time.perf_counter()
            if await healer.scan(bench.drive_set):
                raise RuntimeError("not all were healed")
            done = healer.scans[0]
            print(f"a scan found and healed {done.healed:,} of them in {time.perf_counter() - began:.1f} s", flush=True)
            for key in lost[:: max(1, len(lost) // 20)]:
                await bench.require_whole(key)
            began = time.perf_counter()
            await healer.scan(bench.drive_set)
            print(f"a scan with nothing to find takes {time.perf_counter() - began:.1f} s", flush=True)
