"""Rows 24, 25 and 27: a drive is slow, hangs, or comes and goes, and the others go on."""

import asyncio
import errno
import random
import statistics
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from tests.faults.machine import INLINE, ONE_BLOCK, USUAL, Machine, content_of, machine_in
from tests.faults.measures import filled, latencies, p99, require_contents
from tests.faults.registry import Lane, Trial, require, row
from tests.support.disk import Call, Delay, Hook
from tests.support.ledger import KeyLedger, Value, value_of

from liteio_contracts.object_errors import ObjectError
from liteio_contracts.storage_errors import StorageError
from liteio_objects.registers import HEDGE_SECONDS


@row(
    24,
    "slow drive",
    "every call of one drive of four takes 200 ms longer, then 5 s; GETs and PUTs before and meanwhile",
    unit="GETs each",
    bounded=80,
    full=2000,
    lane=Lane.ALONE,
)
async def slow_drive(trial: Trial) -> str:
    told = []
    for seconds in (0.2, 5.0):
        async with machine_in(trial.folder, seed=(trial.seed, seconds)) as machine:
            contents = await filled(machine, seconds)
            usual = p99(await latencies(machine, contents, trial.count))
            hook = Delay(lambda call: call.drive == 2, seconds)
            with machine.disk.hooked(hook):
                first = await latencies(machine, contents, 8)  # until the drive is known to be slow
                slow = await latencies(machine, contents, trial.count)
                began = time.perf_counter()
                for number in range(5):
                    contents[f"new{number}"] = content_of((seconds, number), (INLINE, ONE_BLOCK)[number % 2])
                    await machine.put(f"new{number}", contents[f"new{number}"])
                put_seconds = (time.perf_counter() - began) / 5
                hook.release()
            await machine.rest()
            require(max(first) < 2.0, f"a GET took {max(first):.2f} s while the drive was not known to be slow")
            # A drive that misses no deadline is not known to be slow: each read that asks it first waits for a hedge,
            # for the record and for the shard (see tests.faults.open_faults), and on a machine that does other things
            # for a turn of the processor.
            usual = max(usual, p99(await latencies(machine, contents, trial.count)))
            longest = 3 * usual + 2 * HEDGE_SECONDS + 0.3
            require(p99(slow) <= longest, f"GET p99 {p99(slow) * 1000:.1f} ms, usually {usual * 1000:.1f} ms")
            require(put_seconds < 3.0, f"a PUT took {put_seconds:.2f} s")
            await machine.require_clean("quick again")
            await require_contents(machine, contents, "quick again")
            figures = (statistics.median(slow), p99(slow), usual, max(*first, *slow), put_seconds)
            told.append(
                "+{} s: GET median {:.1f} ms, p99 {:.1f} ms but for the first 8 (usually {:.1f} ms), slowest {:.0f} "
                "ms, PUT {:.0f} ms".format(seconds, *(1000 * one for one in figures))
            )
    return f"{'; '.join(told)}; what the slow drive missed came to it afterwards"


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
