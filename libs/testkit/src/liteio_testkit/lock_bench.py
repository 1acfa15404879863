"""What tests of every kind of lock ask."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_contracts.locks import LockAPI

_SECONDS: Final = 5.0  # more than any test needs


async def longest_crowd(takers: Iterable[tuple[LockAPI, Sequence[bytes]]], *, inside_seconds: float = 0.0) -> int:
    """How many hold their names at once at most, when each taker holds its own for `inside_seconds`."""
    deadline = Deadline.after(_SECONDS, SystemClock())
    inside = crowd = 0

    async def work(locks: LockAPI, names: Sequence[bytes]) -> None:
        nonlocal inside, crowd
        async with locks.lock(names, deadline=deadline) as lease:
            assert lease.is_held
            inside += 1
            crowd = max(crowd, inside)
            await asyncio.sleep(inside_seconds)
            inside -= 1

    async with asyncio.TaskGroup() as group:
        for locks, names in takers:
            group.create_task(work(locks, names))
    return crowd
