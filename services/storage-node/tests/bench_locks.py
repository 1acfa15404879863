"""How long writers of one hot key wait for its lock, and how many get it a second: `python bench_locks.py`.

Four lock tables behind real nodes on loopback, all in this process; the writers are spread over gateways, each with
connections of its own, and hold the lock as long as a small commit takes.
"""

import argparse
import asyncio
import time
from contextlib import AsyncExitStack

import uvloop
from live_node import connection_to, serving

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_contracts.locks import LockTimeout
from liteio_drives.remote.lock_table import LockTable
from liteio_drives.remote.remote_locks import RemoteLocks

TABLES = 4
HELD_SECONDS = 0.004
PATIENCE_SECONDS = 10.0


async def measure(gateways: int, writers: int, seconds: float) -> str:
    clock = SystemClock()
    waits: list[float] = []
    timeouts = 0
    shares = [0] * writers
    async with AsyncExitStack() as opened:
        tables = [LockTable(clock, is_first=True) for _ in range(TABLES)]
        servers = [await opened.enter_async_context(serving([], locks=table)) for table in tables]
        locks = []
        for _ in range(gateways):
            nodes = [await opened.enter_async_context(connection_to(server.port)) for server in servers]
            locks.append(await opened.enter_async_context(RemoteLocks(nodes, clock, SystemRandomness())))
        ends = time.monotonic() + seconds

        async def write(number: int) -> None:
            nonlocal timeouts
            while time.monotonic() < ends:
                started = time.monotonic()
                try:
                    lock = locks[number % gateways].lock([b"hot"], deadline=Deadline.after(PATIENCE_SECONDS, clock))
                    async with lock:
                        waits.append(time.monotonic() - started)
                        shares[number] += 1
                        await asyncio.sleep(HELD_SECONDS)
                except LockTimeout:
                    timeouts += 1

        await asyncio.gather(*map(write, range(writers)))
    waits.sort()
    p50, p99 = (waits[min(len(waits) - 1, int(len(waits) * share))] * 1000 for share in (0.5, 0.99))
    return (
        f"{writers} writers over {gateways} gateways: {len(waits) / seconds:.0f} a second, waits p50 {p50:.0f} ms, "
        f"p99 {p99:.0f} ms, longest {waits[-1] * 1000:.0f} ms, {timeouts} time-outs, "
        f"the busiest writer {max(shares)} times, the idlest {min(shares)}"
    )


async def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=5.0)
    asked = parser.parse_args()
    for gateways, writers in ((1, 1), (1, 16), (2, 16), (4, 16), (16, 16)):
        print(await measure(gateways, writers, asked.seconds))


if __name__ == "__main__":
    uvloop.run(main())
