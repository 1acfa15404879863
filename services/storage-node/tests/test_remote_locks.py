"""RemoteLocks over real nodes: turns, quorum, leases that end, nodes that go."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from live_node import connection_to, serving

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_contracts.locks import LockTimeout
from liteio_drives.remote.lock_table import LockTable
from liteio_drives.remote.remote_locks import RemoteLocks
from liteio_storage_node.server import NodeServer
from liteio_testkit.lock_bench import longest_crowd

CLOCK = SystemClock()
LEASE = 0.8


def soon(seconds: float = 5.0) -> Deadline:
    return Deadline.after(seconds, CLOCK)


@asynccontextmanager
async def lock_nodes(count: int, *, is_first: bool = True) -> AsyncIterator[tuple[list[NodeServer], list[LockTable]]]:
    tables = [LockTable(CLOCK, lease_seconds=LEASE, is_first=is_first) for _ in range(count)]
    async with AsyncExitStack() as opened:
        yield [await opened.enter_async_context(serving([], locks=table)) for table in tables], tables


@asynccontextmanager
async def locks_over(servers: Sequence[NodeServer]) -> AsyncIterator[RemoteLocks]:
    async with AsyncExitStack() as opened:
        nodes = [await opened.enter_async_context(connection_to(server.port)) for server in servers]
        yield await opened.enter_async_context(RemoteLocks(nodes, CLOCK, SystemRandomness(), LEASE))


@pytest.mark.parametrize("count", [1, 3])
async def test_one_at_a_time_holds_a_name_and_opposite_orders_do_not_block(count: int) -> None:
    async with lock_nodes(count) as (servers, tables), locks_over(servers) as one, locks_over(servers) as other:
        takers = [(one, [b"a", b"b"]), (other, [b"b", b"a"])] * 3
        assert await longest_crowd(takers, inside_seconds=0.01) == 1
        await asyncio.sleep(0.1)
        assert [table.held_count for table in tables] == [0] * count


async def test_waiting_ends_at_the_deadline() -> None:
    async with lock_nodes(1) as (servers, tables), locks_over(servers) as locks:
        async with locks.lock([b"a"], deadline=soon()):
            with pytest.raises(LockTimeout):
                await hold(locks, soon(0.2))
        await hold(locks, soon())
        assert tables[0].held_count <= 1


async def test_a_lease_is_renewed_while_it_is_held() -> None:
    async with (
        lock_nodes(3) as (servers, _),
        locks_over(servers) as locks,
        locks_over(servers) as others,
        locks.lock([b"a"], deadline=soon()) as lease,
    ):
        await asyncio.sleep(2 * LEASE)
        assert lease.is_held
        with pytest.raises(LockTimeout):
            await hold(others, soon(0.2))


async def test_a_holder_stops_itself_before_others_may_hold_it() -> None:
    async with lock_nodes(1) as (servers, tables), locks_over(servers) as locks:
        async with locks.lock([b"a"], deadline=soon()) as lease:
            await servers[0].stop(1.0)
            await asyncio.sleep(lease.until - CLOCK.monotonic())  # type: ignore[attr-defined]  # a RemoteLease's own
            assert not lease.is_held
            assert not tables[0].acquire(b"x" * 16, [b"a"]), "the table still keeps it for the holder"
        assert not lease.is_held


async def test_a_minority_of_nodes_may_be_gone_and_a_majority_may_not() -> None:
    async with lock_nodes(3) as (servers, _), locks_over(servers) as locks:
        await servers[0].stop(1.0)
        await hold(locks, soon())
        await servers[1].stop(1.0)
        with pytest.raises(LockTimeout):
            await hold(locks, soon(0.5))


async def test_a_restarted_table_grants_nothing_for_one_lease() -> None:
    async with lock_nodes(1, is_first=False) as (servers, _), locks_over(servers) as locks:
        with pytest.raises(LockTimeout):
            await hold(locks, soon(LEASE / 2))
        await hold(locks, soon())


async def hold(locks: RemoteLocks, deadline: Deadline) -> None:
    async with locks.lock([b"a"], deadline=deadline) as lease:
        assert lease.is_held
