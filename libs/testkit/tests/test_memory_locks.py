"""Locks in memory: turns, timeouts, broken leases, lies."""

import pytest

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_contracts.locks import LockTimeout
from liteio_testkit.lock_bench import longest_crowd
from liteio_testkit.memory_locks import LyingLocks, MemoryLocks

CLOCK = SystemClock()


def soon(seconds: float = 5) -> Deadline:
    return Deadline.after(seconds, CLOCK)


async def test_one_at_a_time_holds_a_name() -> None:
    assert await longest_crowd([(MemoryLocks(), [b"a"])] * 5) == 1


async def test_opposite_orders_do_not_wait_for_each_other() -> None:
    locks = MemoryLocks()
    names = [[b"a", b"b"], [b"b", b"a"], [b"b", b"a", b"b"]] * 3
    assert await longest_crowd((locks, mine) for mine in names) == 1


async def test_other_names_are_free() -> None:
    locks = MemoryLocks()
    assert await longest_crowd((locks, [name]) for name in (b"a", b"b", b"c")) == 3


async def test_waiting_ends_at_the_deadline_and_leaves_nothing() -> None:
    locks = MemoryLocks()
    async with locks.lock([b"b"], deadline=soon()):
        with pytest.raises(LockTimeout):
            async with locks.lock([b"a", b"b"], deadline=soon(0.01)):
                pass
        async with locks.lock([b"a"], deadline=soon(0.01)):
            assert locks.held_count == 2
    assert locks.held_count == 0


async def test_a_broken_lease_says_so_and_others_get_the_lock() -> None:
    locks = MemoryLocks()
    async with locks.lock([b"a"], deadline=soon()) as first:
        locks.break_leases()
        assert not first.is_held
        async with locks.lock([b"a"], deadline=soon(0.01)) as second:
            assert second.is_held
    assert locks.held_count == 0


async def test_lying_locks_grant_everything() -> None:
    assert await longest_crowd([(LyingLocks(), [b"a"])] * 5) == 5
