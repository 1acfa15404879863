"""Rows 24, 25 and 27: a drive is slow, hangs, or comes and goes, and the others go on."""

import asyncio
import errno
import random
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from tests.faults.cluster import Keeper, cluster_in, healed, must
from tests.faults.machine import INLINE, ONE_BLOCK, USUAL, Machine, content_of, machine_in
from tests.faults.measures import filled, latencies, p99, require_contents
from tests.faults.registry import Lane, Trial, require, row
from tests.support.disk import Call, Delay, Hook
from tests.support.ledger import KeyLedger, Value, value_of

from liteio_contracts.object_errors import ObjectError
from liteio_contracts.storage_errors import StorageError

_TIMES = 3.0  # the usual p99
_TURNS_SECONDS = 0.04  # of a processor that others use as well: no time below it is told from the usual
_ROUNDS = 3  # the best counts: to wait for a slow drive would show in each, what else the machine does does not
_BLIND = 4  # operations of each kind, until the drive is known to be slow


@row(
    24,
    "slow drive",
    "every call of one drive of four takes 200 ms longer, then 5 s; GETs and PUTs before, meanwhile and afterwards; "
    "and a drive of a storage node of four, by 200 ms",
    unit="GETs each",
    bounded=60,
    full=1000,
    seconds=240,
    lane=Lane.ALONE,
)
def slow_drive(trial: Trial) -> str:
    told = [asyncio.run(_slow_local_drive(trial, seconds)) for seconds in (0.2, 5.0)]
    told.append(_slow_drive_of_a_node(trial))
    return f"{'; '.join(told)}; what the slow drives missed came to them afterwards"


async def _slow_local_drive(trial: Trial, seconds: float) -> str:
    async with machine_in(trial.folder, seed=(trial.seed, seconds)) as machine:
        contents = await filled(machine, seconds)

        async def gets(count: int) -> list[float]:
            return await latencies(machine, contents, count)

        async def puts(count: int) -> list[float]:
            found = []
            for number in range(count):
                key, content = f"new{number % 20}", content_of((seconds, number), (INLINE, ONE_BLOCK)[number % 2])
                began = time.perf_counter()
                await machine.put(key, content)
                found.append(time.perf_counter() - began)
                contents[key] = content
            return found

        before = (await gets(trial.count), await puts(trial.count // 2))
        hook = Delay(lambda call: call.drive == 2, seconds)
        with machine.disk.hooked(hook):
            blind = (await gets(_BLIND), await puts(_BLIND))
            slow, reasons = list[Times](), list[str]()
            for _ in range(_ROUNDS):
                slow.append((await gets(trial.count), await puts(trial.count // 2)))
                reasons.append(machine.drive_set.paces.reason(2, asyncio.get_running_loop().time()))
            hook.release()
        require(any(reasons), "the slow drive never counted as slow")
        await _wait_quick(machine, gets)
        after = (await gets(trial.count), await puts(trial.count // 2))
        figures = f"+{seconds} s: {_judge(before, blind, slow, after)}"
        await machine.require_clean("quick again")
        await require_contents(machine, contents, "quick again")
    return figures


Times = tuple[list[float], list[float]]
"""Of GETs and of PUTs."""


def _judge(before: Times, blind: Times, slow: list[Times], after: Times) -> str:
    """Raises FaultFound."""
    told = []
    for at, kind in enumerate(("GET", "PUT")):
        usual = max(p99(before[at]), p99(after[at]))
        best = min((one[at] for one in slow), key=p99)
        seen = p99(best)
        figures = (
            f"{kind} median {statistics.median(best) * 1000:.1f} ms, p99 {seen * 1000:.1f} ms (usually "
            f"{usual * 1000:.1f} ms), slowest of the first {_BLIND} {max(blind[at]) * 1000:.0f} ms"
        )
        require(seen <= max(_TIMES * usual, _TURNS_SECONDS), figures)
        require(max(blind[at]) < 2.0, figures)
        told.append(figures)
    return ", ".join(told)


async def _wait_quick(machine: Machine, gets: Callable[[int], Awaitable[list[float]]], seconds: float = 10.0) -> None:
    """Until reads have found out that no drive is slow any more."""
    end = machine.clock.monotonic() + seconds
    while any(map(machine.drive_set.is_slow, machine.drive_set.slots)):
        require(machine.clock.monotonic() < end, f"the drive still counts as slow after {seconds} s")
        await gets(4)
        await asyncio.sleep(0.02)


def _slow_drive_of_a_node(trial: Trial) -> str:
    """Through a gateway. Its own drive is one of eight, so half of the reads would ask it."""
    with cluster_in(trial, gateway_count=1, slow_drives=[(3, 0)]) as rig:
        keeper = Keeper(rig, trial.seed)

        def times(count: int) -> Times:
            found: Times = ([], [])
            for number in range(count):
                key = f"k{number % 20:02}"
                began = time.perf_counter()
                must(keeper.put(key, size=INLINE), f"PUT {key}")
                written = time.perf_counter()
                must(keeper.read(key), f"GET {key}")
                found[1].append(written - began)
                found[0].append(time.perf_counter() - written)
            return found

        count = trial.count // 2
        times(count)
        before = times(count)
        rig.dials[rig.nodes[3].name].slow_seconds = 0.2
        blind, slow = times(_BLIND), [times(count) for _ in range(_ROUNDS)]
        table = rig.cluster.admin("drives")
        require(" slow " in table and "others of its set" in table, f"no drive is shown as slow:\n{table}")
        rig.be_well()
        after = times(count)
        keeper.read_all()
        told = f"in a node +0.2 s: {_judge(before, blind, slow, after)}"
        healed(rig)
    return told


@row(
    25,
    "hung drive",
    "no call of one drive of four comes back; GETs, PUTs, deletes and listings meanwhile, many at once",
    unit="operations",
    bounded=120,
    full=2000,
)
async def hung_drive(trial: Trial) -> str:
    settings = replace(USUAL, hung_after_seconds=1.0)
    async with machine_in(trial.folder, seed=trial.seed, settings=settings) as machine:
        contents = await filled(machine, "hung")
        threads = threading.active_count()
        hook = Delay(lambda call: call.drive == 3, 600.0)
        with machine.disk.hooked(hook):
            seconds = await _work_beside(machine, contents, trial.count)
            require(threading.active_count() <= threads + 2, f"{threading.active_count()} threads, {threads} before")
            hook.release()
        await machine.require_clean("answers again")
        await require_contents(machine, contents, "answers again")
    return (
        f"{trial.count} operations beside it, median {statistics.median(seconds) * 1000:.0f} ms, slowest "
        f"{max(seconds):.2f} s, none failed, no thread more; whole when it answered again"
    )


async def _work_beside(machine: Machine, contents: dict[str, bytes], count: int) -> list[float]:
    """Operations, eight at a time, on the keys of `contents` and on new ones."""
    gate = asyncio.Semaphore(8)

    async def one(number: int) -> float:
        async with gate:
            began = time.perf_counter()
            await works[number % len(works)](number)
            return time.perf_counter() - began

    async def get(number: int) -> None:
        key = f"k{number % 20:02}"
        require(await machine.get(key) == contents[key], f"{key}: wrong bytes")

    async def put(number: int) -> None:
        content = content_of(number, (INLINE, ONE_BLOCK)[number % 2])
        await machine.put(f"new{number}", content)
        contents[f"new{number}"] = content

    async def delete(number: int) -> None:
        await machine.put(f"gone{number}", b"x")
        await machine.delete(f"gone{number}")

    async def list_all(number: int) -> None:
        require({f"k{at:02}" for at in range(20)} <= set(await machine.list_keys()), "the listing is not whole")

    works: list[Callable[[int], Awaitable[None]]] = [get, put, get, delete, get, list_all]
    seconds = await asyncio.gather(*(one(number) for number in range(count)))
    require(max(seconds) < 10.0, f"an operation beside a hung drive took {max(seconds):.1f} s")
    return list(seconds)


class Flapping(Hook):
    """Drives in `down` answer nothing but EIO."""

    def __init__(self) -> None:
        self.down: set[int] = set()

    def before(self, call: Call) -> None:
        if call.drive in self.down:
            raise OSError(errno.EIO, "injected")


@row(
    27,
    "drives go down and up each second under load",
    "one drive after the other answers nothing but EIO for a second, then all do for one; four clients at work",
    unit="seconds",
    bounded=6,
    full=60,
)
async def flapping_drives(trial: Trial) -> str:
    settings = replace(USUAL, retry_after_seconds=0.2)
    async with machine_in(trial.folder, seed=trial.seed, settings=settings) as machine:
        machine.store.start()
        ledgers = [KeyLedger(f"k{number:02}") for number in range(24)]
        hook = Flapping()
        longest = 0
        over = asyncio.Event()
        counts = {"acknowledged": 0, "unknown": 0, "read": 0}
        with machine.disk.hooked(hook):
            clients = [
                asyncio.ensure_future(
                    _client(machine, ledgers[at::4], random.Random(f"{trial.seed}/{at}"), over, counts)
                )
                for at in range(4)
            ]
            for second in range(trial.count):
                hook.down = {trial.chance.randrange(4) if second == 0 else (second // 2 + trial.seed) % 4}
                hook.down = hook.down if second % 2 == 0 else set()
                await asyncio.sleep(1.0)
                longest = max(longest, len(machine.store.repairs))
            over.set()
            hook.down = set()
            await asyncio.gather(*clients)
        require(counts["acknowledged"] > trial.count, f"only {counts} in {trial.count} s")
        require(longest <= len(ledgers) + 2, f"{longest} keys wait to be healed, of {len(ledgers)}")
        await _wait_drained(machine)
        for ledger in ledgers:
            ledger.observe(await machine.get(ledger.name))
        await machine.require_clean("steady again")
        for ledger in ledgers:
            ledger.observe(await machine.get(ledger.name))
    return (
        f"{counts['acknowledged']:,} writes acknowledged, {counts['unknown']:,} not known, {counts['read']:,} reads; "
        f"none lost; at most {longest} keys waited to be healed, none at last; all whole"
    )


async def _client(
    machine: Machine, keys: list[KeyLedger], chance: random.Random, over: asyncio.Event, counts: dict[str, int]
) -> None:
    number = 0
    while not over.is_set():
        key = chance.choice(keys)
        number += 1
        try:
            if chance.random() < 0.3:
                key.observe(await machine.get(key.name))
                counts["read"] += 1
            else:
                await _write(machine, key, number, chance)
                counts["acknowledged"] += 1
        except (ObjectError, StorageError):
            counts["unknown"] += 1
        await asyncio.sleep(0.002)


async def _write(machine: Machine, key: KeyLedger, number: int, chance: random.Random) -> None:
    if chance.random() < 0.2:
        value = Value(number, 0, "")
        key.begin(value)
        await machine.delete(key.name)
    else:
        body = chance.randbytes(chance.choice((10, INLINE, ONE_BLOCK)))
        value = value_of(number, body)
        key.begin(value)
        await machine.put(key.name, body)
    key.acknowledge(value)


async def _wait_drained(machine: Machine, seconds: float = 60.0) -> None:
    end = machine.clock.monotonic() + seconds
    while len(machine.store.repairs):
        require(machine.clock.monotonic() < end, f"{len(machine.store.repairs)} keys still wait to be healed")
        await asyncio.sleep(0.1)
