"""RemoteLocks over real nodes: turns, quorum, leases that end, nodes that go."""

import asyncio
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from live_node import connection_to, serving
from tcp_proxy import TcpProxy

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_base.ids import BucketId
from liteio_contracts.lock_names import LockKind, bucket_lock_name, object_lock_name
from liteio_contracts.locks import LockTimeout
from liteio_drives.remote.lock_report import report_locks
from liteio_drives.remote.lock_table import LockTable
from liteio_drives.remote.messages import Holder
from liteio_drives.remote.remote_locks import RemoteLocks
from liteio_storage_node.server import NodeServer
from liteio_testkit.lock_bench import longest_crowd
from liteio_testkit.polling import until

CLOCK = SystemClock()
LEASE = 0.8


def soon(seconds: float = 5.0) -> Deadline:
    return Deadline.after(seconds, CLOCK)


@asynccontextmanager
async def lock_nodes(count: int, *, is_first: bool = True) -> AsyncIterator[tuple[list[NodeServer], list[LockTable]]]:
    tables = [LockTable(CLOCK, lease_seconds=LEASE, is_first=is_first) for _ in range(count)]
    async with serving_tables(tables) as servers:
        yield servers, tables


@asynccontextmanager
async def serving_tables(tables: Sequence[LockTable]) -> AsyncIterator[list[NodeServer]]:
    async with AsyncExitStack() as opened:
        yield [await opened.enter_async_context(serving([], locks=table)) for table in tables]


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


async def test_a_node_that_hangs_is_not_waited_for() -> None:
    async with lock_nodes(3) as (servers, tables), TcpProxy(servers[0].port) as proxy, AsyncExitStack() as opened:
        ports = [proxy.port, servers[1].port, servers[2].port]
        nodes = [await opened.enter_async_context(connection_to(port)) for port in ports]
        locks = await opened.enter_async_context(RemoteLocks(nodes, CLOCK, SystemRandomness(), LEASE))
        await hold(locks, soon())
        proxy.is_blackhole = True
        began = CLOCK.monotonic()
        await hold(locks, soon())
        assert CLOCK.monotonic() - began < 0.5
        await until(lambda: tables[1].held_count == 0)
        assert tables[1].acquire(b"x" * 16, [b"a"])
        began = CLOCK.monotonic()
        with pytest.raises(LockTimeout):  # one grants, one refuses, one says nothing
            await hold(locks, soon(0.5))
        assert CLOCK.monotonic() - began < 1.0


async def test_waiting_ends_early_when_too_few_nodes_answer() -> None:
    """The caller has been refused before anybody who waits for it has given up."""
    async with lock_nodes(3) as (servers, _), locks_over(servers) as locks:
        for server in servers[:2]:
            await server.stop(1.0)
        began = CLOCK.monotonic()
        with pytest.raises(LockTimeout, match="too few nodes answer"):
            await hold(locks, soon(30.0))
        assert CLOCK.monotonic() - began < 8.0


async def test_what_a_node_grants_late_counts() -> None:
    async with (
        lock_nodes(3) as (servers, _),
        locks_over(servers) as locks,
        locks.lock([b"a"], deadline=soon()) as lease,
    ):
        await until(lambda: min(lease.untils) > 0)  # type: ignore[attr-defined]  # a RemoteLease's own


async def test_a_restarted_table_grants_nothing_for_one_lease() -> None:
    async with lock_nodes(1, is_first=False) as (servers, _), locks_over(servers) as locks:
        with pytest.raises(LockTimeout):
            await hold(locks, soon(LEASE / 2))
        await hold(locks, soon())


async def test_writers_of_one_process_do_not_stand_in_each_others_way() -> None:
    """One of them asks the nodes at a time, so that none is ever refused."""
    tables = [CountingTable(CLOCK, lease_seconds=LEASE, is_first=True) for _ in range(3)]
    async with serving_tables(tables) as servers, locks_over(servers) as locks:
        assert await longest_crowd([(locks, [b"a"])] * 8, inside_seconds=0.005) == 1
    assert [(table.granted, table.refused) for table in tables] == [(8, 0)] * 3


async def test_a_name_that_comes_free_goes_to_the_process_that_waited() -> None:
    """Though writers of the other one ask for it in the very request that gives it back."""
    holds: list[int] = []
    async with lock_nodes(4) as (servers, _), locks_over(servers) as one, locks_over(servers) as other:

        async def write(number: int, locks: RemoteLocks) -> None:
            while len(holds) < 60:
                async with locks.lock([b"hot"], deadline=soon(20.0)):
                    holds.append(number)
                    await asyncio.sleep(0.002)

        await asyncio.gather(*(write(number, locks) for number, locks in enumerate((one, other)) for _ in range(4)))
    share = sum(holds[:60]) / 60
    assert 0.3 < share < 0.7, holds


async def test_who_waits_is_told_and_does_not_find_out_by_asking_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liteio_drives.remote.remote_locks.LOCK_WAIT_SECONDS", 8.0)
    async with lock_nodes(3) as (servers, _), locks_over(servers) as one, locks_over(servers) as other:
        async with one.lock([b"a"], deadline=soon()):
            waiting = asyncio.create_task(hold(other, soon()))
            await asyncio.sleep(0.3)
            assert not waiting.done()
        await asyncio.wait_for(waiting, 1.0)


async def test_a_waiter_that_gives_up_leaves_nothing_behind() -> None:
    async with lock_nodes(3) as (servers, tables), locks_over(servers) as one, locks_over(servers) as other:
        async with one.lock([b"a"], deadline=soon()):
            waiting = asyncio.create_task(hold(other, soon()))
            await asyncio.sleep(0.1)
            waiting.cancel()
            await asyncio.wait([waiting])
        await until(lambda: all(table.page(1).waiting == 0 for table in tables))
        await hold(one, soon(2.0))


async def test_a_dead_holder_blocks_its_name_for_one_lease() -> None:
    async with lock_nodes(3) as (servers, _), locks_over(servers) as others:
        dead = locks_over(servers)
        locks = await dead.__aenter__()
        held = locks.lock([b"a"], deadline=soon())
        lease = await held.__aenter__()
        started = CLOCK.monotonic()
        assert locks._renewing is not None
        locks._renewing.cancel()  # It renews nothing and gives nothing back any more.
        await hold(others, soon())
        assert LEASE * 0.9 <= CLOCK.monotonic() - started < LEASE + 1.0
        assert not lease.is_held
        await held.__aexit__(None, None, None)
        await dead.__aexit__(None, None, None)


async def test_operators_see_what_is_held_by_whom_and_what_is_left_over() -> None:
    async with lock_nodes(3) as (servers, tables), AsyncExitStack() as opened:
        nodes = [await opened.enter_async_context(connection_to(server.port)) for server in servers]
        locks = await opened.enter_async_context(RemoteLocks(nodes, CLOCK, SystemRandomness(), LEASE))
        gone = Holder("host9", "liteio_gateway", 99)
        assert tables[0].acquire(b"x" * 16, [bucket_lock_name("photos")], gone)
        await asyncio.sleep(0.01)
        async with locks.lock([object_lock_name(BucketId("b1"), b"a/b")], deadline=soon()) as lease:
            report = await report_locks([nodes], deadline=soon())
            left, held = report.holdings
            assert (held.owner, held.holder) == (lease.owner, locks.holder)  # type: ignore[attr-defined]
            assert held.holder.pid == os.getpid()
            assert held.subjects == ((LockKind.OBJECT, "b1", b"a/b"),)
            assert (held.has_quorum, set(held.nodes)) == (True, {node.url for node in nodes})
            assert 0 <= held.held_seconds < LEASE
            assert 0 < held.left_seconds <= LEASE
            assert (left.holder, left.has_quorum, left.nodes) == (gone, False, (nodes[0].url,))
            assert left.subjects == ((LockKind.BUCKET, "photos", b""),)
            assert (report.silent, report.opening, report.is_whole) == ({}, {}, True)
            assert not (await report_locks([nodes], limit=1, deadline=soon())).is_whole
        await servers[2].stop(1.0)
        report = await report_locks([nodes], deadline=soon(2.0))
        assert list(report.silent) == [nodes[2].url]


async def test_operators_see_which_tables_grant_nothing_yet() -> None:
    async with lock_nodes(1, is_first=False) as (servers, _), connection_to(servers[0].port) as node:
        report = await report_locks([[node]], deadline=soon())
        assert 0 < report.opening[node.url] <= LEASE


async def test_a_lock_of_several_groups_is_weighed_by_the_nodes_of_its_own() -> None:
    async with lock_nodes(4) as (servers, tables), AsyncExitStack() as opened:
        nodes = [await opened.enter_async_context(connection_to(server.port)) for server in servers]
        tables[3].acquire(b"x" * 16, [b"alone"])
        groups = (nodes[:3], nodes[3:])
        for group, has_quorum in ((0, False), (1, True)):
            report = await report_locks(groups, group_of=lambda name, group=group: group, deadline=soon())  # type: ignore[misc]
            assert [holding.has_quorum for holding in report.holdings] == [has_quorum]


class CountingTable(LockTable):
    granted = refused = 0

    def acquire(self, owner: bytes, names: Sequence[bytes], holder: Holder = Holder()) -> bool:  # noqa: B008
        is_granted = super().acquire(owner, names, holder)
        self.granted += is_granted
        self.refused += not is_granted
        return is_granted


async def hold(locks: RemoteLocks, deadline: Deadline) -> None:
    async with locks.lock([b"a"], deadline=deadline) as lease:
        assert lease.is_held
