"""Row 51: the bus is away, loses its files, has no room, and hands out its tasks twice and in any order."""

import asyncio
import errno
import random
import shutil
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

from nats.aio.msg import Msg
from tests.cluster.history import WHOLE_SECONDS, wait_whole
from tests.faults.cluster import BUCKET, Keeper, cluster_in, healed, must
from tests.faults.registry import Lane, Trial, require, row
from tests.support.drive_damage import shard_files
from tests.support.rig import Rig
from tests.support.small_disks import can_mount, small_disks

from liteio_base.ids import BucketId, VersionId
from liteio_bus.connection import Bus, BusUnavailable
from liteio_bus.healer_status import ask_healers
from liteio_bus.services import ask_statuses
from liteio_bus.subjects import ALL_HEAL_TASKS, heal_task_subject
from liteio_contracts.messages import HealReason, HealTask
from liteio_contracts.storage import KeyName
from liteio_formats.record import Space

_PUT_SECONDS_MAX: Final = 3.0
_STORE_BYTES: Final = 64 << 20
_FILL_PIECE: Final = bytes(64 << 10)
_REFUSED_AFTER: Final = 1000  # tasks, at most: some fit into what the server has begun, or gives back meanwhile
_AWAY: Final = 2  # the node that misses writes
_NOTICED_SECONDS: Final = 7.0  # healers look every five; without the bus nobody else tells them what a node has missed
_VERSIONED: Final = f"{BUCKET}-versions"


@row(
    51,
    "the bus is killed, loses its files, has no room, and hands out tasks twice and in any order",
    "kill -9 of the NATS server, then a node is killed under writes and started again; the same without the server's "
    "files, and with its file system full; then all shard files of a drive are removed, and tasks for all keys, "
    "removed ones and older versions among them, are queued in an order of chance, and again in the opposite one",
    unit="times",
    bounded=1,
    full=20,
    seconds=300.0,
    lane=Lane.CLUSTER,
)
def bad_bus(trial: Trial) -> str:
    longest, healing, told = 0.0, list[float](), ""
    with ExitStack() as opened:
        store = trial.folder / "nats"
        if not (reason := can_mount()):
            opened.enter_context(small_disks([store], size_bytes=_STORE_BYTES, inodes=0))
        rig = opened.enter_context(cluster_in(trial))
        assert rig.nats is not None
        keeper = Keeper(rig, trial.seed)
        keeper.some(10)
        for number in range(trial.count):
            rig.nats.stop()
            longest = max(longest, _write_without_a_node(rig, keeper, f"away/{number}"))
            healing.append(wait_whole(rig))
            _empty(store)
            asyncio.run(rig.nats.start())
            longest = max(longest, _write_without_a_node(rig, keeper, f"wiped/{number}"))
            healing.append(wait_whole(rig))
            if not reason:
                asyncio.run(_fill_until_refused(rig, store))
                longest = max(longest, _write_without_a_node(rig, keeper, f"full/{number}"))
                healing.append(wait_whole(rig))
                _make_room(store)
                rig.nats.stop()
                asyncio.run(rig.nats.start())
            told = asyncio.run(_twice_and_in_any_order(rig, keeper, trial.chance, number))
        keeper.read_all(gateway=1)
        healed(rig)
    seconds = ", ".join(f"{one:.1f}" for one in healing)
    return (
        f"writes took {longest:.2f} s at most; what a node missed was found by the scan, and whole {seconds} s after "
        f"it was back{f' (no file system was filled: {reason})' if reason else ''}; {told}"
    )


def _write_without_a_node(rig: Rig, keeper: Keeper, prefix: str) -> float:
    """Writes that a node misses, which is back at the end. How long the longest took."""
    node, longest = rig.nodes[_AWAY], 0.0
    node.kill()
    for number in range(12):
        began = time.monotonic()
        must(keeper.put(f"{prefix}/{number}", gateway=number % 2), "a write without the bus and one node")
        longest = max(longest, time.monotonic() - began)
    require(longest < _PUT_SECONDS_MAX, f"a write took {longest:.1f} s")
    time.sleep(_NOTICED_SECONDS)
    node.start()
    return longest


def _empty(store: Path) -> None:
    for path in store.iterdir():
        shutil.rmtree(path)


# -- no room


def _fill(store: Path) -> None:
    with (store / "filling").open("wb", buffering=0) as filling:
        while True:
            try:
                filling.write(_FILL_PIECE)
            except OSError as full:
                require(full.errno == errno.ENOSPC, full)
                return


def _make_room(store: Path) -> None:
    (store / "filling").unlink()


async def _fill_until_refused(rig: Rig, store: Path) -> None:
    """A full file system is met once the server has used up what it holds of it."""
    async with _bus_of(rig) as bus:
        await _ready(bus)
        _fill(store)
        for number in range(_REFUSED_AFTER):
            try:
                await bus.publish(*_message_of(_task_of(BucketId("0" * 32), f"nothing/{number}")))
            except BusUnavailable:
                return
    require(False, "the bus takes tasks, and its file system is full")


# -- twice, and in any order


async def _twice_and_in_any_order(rig: Rig, keeper: Keeper, chance: random.Random, number: int) -> str:
    """The tasks alone repair, since no scan is due: the drive was never away."""
    async with _bus_of(rig) as bus:
        await _ready(bus)
        await _gateways_are_back(rig, bus)
        tasks = await _tasks_of_all(rig, keeper, bus, number)
        await asyncio.to_thread(wait_whole, rig)
        await _drained(bus)
        drive = rig.cluster.drives_of(number % _AWAY)[number % 2]
        lost = shard_files(drive)
        require(len(lost) > 10, f"{drive} had only {len(lost)} shard files")
        for path in lost:
            path.unlink()
        chance.shuffle(tasks)
        await _queue(bus, tasks)
        seconds = await asyncio.to_thread(wait_whole, rig)
        await _drained(bus)
        before = _files(rig)
        await _queue(bus, tasks[::-1])
        await _drained(bus)
        require(_files(rig) == before, "tasks for what was whole wrote something")
        await asyncio.to_thread(keeper.read_all, gateway=number % 2)
    return (
        f"{len(lost)} shard files came back {seconds:.1f} s after {len(tasks)} tasks were queued, each twice; in the "
        "opposite order they wrote and removed nothing; nothing that was deleted is back"
    )


async def _tasks_of_all(rig: Rig, keeper: Keeper, bus: Bus, number: int) -> list[HealTask]:
    """One for every key, removed or not, one each for versions that are there, are not the newest, or are gone, and for
    what never was."""
    rig.client(0).create_bucket(_VERSIONED)
    rig.client(0).enable_versioning(_VERSIONED)
    seen, versioned_key = f"seen/{number}/", f"v/{number}/"
    plain = await _bucket_id(rig, bus, seen, lambda at: must(keeper.put(f"{seen}{at}"), "a write"))
    versions: list[tuple[str, str]] = []

    def put(at: int) -> None:
        key = f"{versioned_key}{at}"
        answers = [rig.client(1).put(_VERSIONED, key, bytes(300_000 + turn)) for turn in range(3)]
        versions.extend((key, must(answer, "a version").headers["x-amz-version-id"]) for answer in answers)

    versioned = await _bucket_id(rig, bus, versioned_key, put)
    for key, version_id in versions[::4]:
        must(rig.client(0).delete(_VERSIONED, key, version_id=version_id), "removing a version")
    must(rig.client(0).delete(_VERSIONED, versions[0][0]), "a delete marker")
    for at in range(6):
        must(keeper.put(f"gone/{number}/{at}", size=300_000), "a write")
        must(keeper.delete(f"gone/{number}/{at}"), "a delete")
    return [
        *(_task_of(plain, key) for key in keeper.keys),
        *(_task_of(versioned, key, version_id) for key, version_id in versions),
        *(_task_of(plain, f"never/{at}") for at in range(3)),
        _task_of(BucketId("0" * 32), "of no bucket"),
    ]


async def _bucket_id(rig: Rig, bus: Bus, prefix: str, write: Callable[[int], object]) -> BucketId:
    """Of the bucket in which `write` writes keys of this prefix: gateways name it in tasks for what a node misses."""
    seen = asyncio.Queue[HealTask]()

    async def hear(message: Msg) -> None:
        seen.put_nowait(HealTask.model_validate_json(message.data))

    subscription = await bus.subscribe(ALL_HEAL_TASKS, hear)
    rig.nodes[_AWAY].kill()
    try:
        for at in range(6):
            await asyncio.to_thread(write, at)
        async with asyncio.timeout(30):
            while not (task := await seen.get()).name.key.startswith(prefix.encode()):
                pass
    finally:
        rig.nodes[_AWAY].start()
        await subscription.unsubscribe()
    return task.bucket_id


def _task_of(bucket_id: BucketId, key: str, version_id: str | None = None) -> HealTask:
    name = KeyName(Space.OBJECT, bucket_id, key.encode())
    version = None if version_id is None else VersionId(version_id)
    return HealTask.for_key(0, name, HealReason.MISSED_WRITE, version)


def _message_of(task: HealTask) -> tuple[str, bytes]:
    return heal_task_subject(task), task.model_dump_json().encode()


async def _queue(bus: Bus, tasks: Sequence[HealTask]) -> None:
    """Each twice."""
    for task in tasks:
        for _ in range(2):
            await bus.publish(*_message_of(task))


def _files(rig: Rig) -> dict[Path, int]:
    """Every shard file, and when it was written."""
    return {path: path.stat().st_mtime_ns for drive in rig.drive_paths() for path in shard_files(drive)}


# -- the bus


def _bus_of(rig: Rig) -> Bus:
    assert rig.nats is not None
    return Bus(rig.nats.url, name="a row of the fault matrix")


async def _ready(bus: Bus) -> None:
    async with asyncio.timeout(30):
        await bus.wait_until_ready()


async def _gateways_are_back(rig: Rig, bus: Bus) -> None:
    """Until then they repair themselves what they find, and tell nobody."""
    async with asyncio.timeout(30):
        while len(await ask_statuses(bus, "gateway", seconds=0.5)) < len(rig.gateways):
            pass


async def _drained(bus: Bus) -> None:
    """Until no task waits; none may have been given up."""

    end = time.monotonic() + WHOLE_SECONDS
    while True:
        healing = await ask_healers(bus, seconds=0.5)
        require(not healing.dead_letters, f"{healing.dead_letters} tasks were given up")
        if healing.queue_length == 0:
            return
        require(time.monotonic() < end, f"{healing.queue_length} tasks wait after {WHOLE_SECONDS:.0f} s")
