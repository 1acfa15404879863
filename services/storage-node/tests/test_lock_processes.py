"""Locks over real processes: a holder that is killed, and a node that is."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from test_process import connection, environment, running, served

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_drives.remote.limits import LEASE_SECONDS, LOCK_WAIT_SECONDS
from liteio_drives.remote.lock_report import report_locks
from liteio_drives.remote.remote_locks import RemoteLocks

CLOCK = SystemClock()
HOLDER = Path(__file__).parent / "lock_holder.py"
SLACK_SECONDS = LOCK_WAIT_SECONDS + 2.0  # a waiter asks again, on a machine that does other things too


@contextlib.asynccontextmanager
async def holder(port: int, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that holds the lock."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(HOLDER), str(port), name, env=environment(), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"held\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def seconds_until_held(locks: RemoteLocks, name: bytes) -> float:
    """How long it takes to get the lock."""
    started = time.monotonic()
    async with locks.lock([name], deadline=Deadline.after(2 * LEASE_SECONDS, CLOCK)):
        return time.monotonic() - started


async def test_a_killed_holder_and_a_killed_node_block_a_name_for_one_lease(tmp_path: Path) -> None:
    """The very first start of a node waits for nothing; every later one keeps the promises it knows nothing of."""
    async with running(tmp_path / "killed-node") as (node_process, port), connection(port) as node:
        await served(node)
        async with RemoteLocks([node], CLOCK, SystemRandomness()) as locks:
            assert await seconds_until_held(locks, b"free") < LEASE_SECONDS / 2, "it is the first"
        node_process.kill()
        await node_process.wait()
    restarted = time.monotonic()
    async with (
        running(tmp_path / "killed-node") as (_, port),
        running(tmp_path / "killed-holder") as (_, other_port),
        connection(port) as node,
        connection(other_port) as other_node,
        RemoteLocks([node], CLOCK, SystemRandomness()) as locks,
        RemoteLocks([other_node], CLOCK, SystemRandomness()) as other_locks,
    ):
        await served(other_node)
        async with holder(other_port, "hot") as killed:
            report = await report_locks([[other_node]], deadline=Deadline.after(5, CLOCK))
            assert [(one.holder.pid, one.has_quorum) for one in report.holdings] == [(killed.pid, True)]
            killed.kill()
            asked = time.monotonic() - restarted
            took, took_other = await asyncio.gather(
                seconds_until_held(locks, b"free"), seconds_until_held(other_locks, b"hot")
            )
    assert asked + took > LEASE_SECONDS * 0.5, "it grants nothing for a lease from its start"
    assert took < LEASE_SECONDS + SLACK_SECONDS
    assert LEASE_SECONDS * 0.5 < took_other < LEASE_SECONDS + SLACK_SECONDS
