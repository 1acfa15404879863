"""Locks spread over several services: a name always has the same one, and all of a request are held together."""

import pytest

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_cluster.spread_locks import SpreadLocks, group_of
from liteio_contracts.locks import LockTimeout
from liteio_testkit.memory_locks import MemoryLocks

NAMES = [b"name-%d" % number for number in range(20)]


def soon(seconds: float = 0.05) -> Deadline:
    return Deadline.after(seconds, SystemClock())


async def test_all_names_of_a_request_are_held_whatever_their_groups() -> None:
    groups = [MemoryLocks() for _ in range(3)]
    locks, other = SpreadLocks(groups), SpreadLocks(groups)
    assert {group_of(name, 3) for name in NAMES} == {0, 1, 2}
    async with locks.lock(NAMES, deadline=soon()) as lease:
        assert lease.is_held
        for name in NAMES:
            with pytest.raises(LockTimeout):
                async with other.lock([name], deadline=soon(0.01)):
                    pass
    async with other.lock(NAMES, deadline=soon()):
        pass


async def test_what_was_taken_is_given_back_when_one_group_refuses() -> None:
    groups = [MemoryLocks() for _ in range(3)]
    locks, other = SpreadLocks(groups), SpreadLocks(groups)
    last = next(name for name in NAMES if group_of(name, 3) == 2)
    async with other.lock([last], deadline=soon()):
        with pytest.raises(LockTimeout):
            async with locks.lock(NAMES, deadline=soon()):
                pass
        async with other.lock([name for name in NAMES if name != last], deadline=soon()):
            pass


def test_a_name_stays_in_its_group() -> None:
    assert [group_of(name, 3) for name in NAMES[:4]] == [2, 0, 1, 2]
