"""Duties: loops of which each runs in one process of a store at a time, whoever has its lock.

A process that ends gives its duties up: at once where the kernel holds the locks, within a lease where lock tables do.
One that lives keeps them. Nothing rests on this: every step of a duty is idempotent, and two at once only repeat work.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from liteio_base.clock import Clock, Randomness
from liteio_base.deadline import Deadline
from liteio_contracts.locks import Lease, LockAPI, LockTimeout

_log = logging.getLogger(__name__)

TRY_SECONDS: Final = 2.0  # how long one try may take; tables that answer say at once who has a lock
TRY_EVERY_SECONDS: Final = 5.0
# Every duty that another process has is tried for again and again, at every node: with many duties less often each.
TRY_EVERY_SECONDS_A_DUTY: Final = 0.05
LOOK_EVERY_SECONDS: Final = 1.0

Work = Callable[[], Awaitable[object]]


class Duties:
    """The duties of this process. `held` are those that it has now, by name."""

    def __init__(self, locks: LockAPI, clock: Clock, randomness: Randomness) -> None:
        self._locks, self._clock, self._randomness = locks, clock, randomness
        self._count = 0
        self.held: dict[str, float] = {}
        """Since when, on the monotonic clock."""

    async def keep(self, name: str, work: Work) -> None:
        """Run `work`, which never ends, whenever this process has the duty; until cancelled. An error of `work` gives
        the duty up and is raised."""
        self._count += 1
        try:
            while True:
                try:
                    deadline = Deadline.after(TRY_SECONDS, self._clock)
                    async with self._locks.lock((duty_lock(name),), deadline=deadline) as lease:
                        await self._serve(name, lease, work)
                except LockTimeout:
                    pass
                pause = max(TRY_EVERY_SECONDS, self._count * TRY_EVERY_SECONDS_A_DUTY)
                await self._clock.sleep(self._randomness.uniform(pause / 2, pause))
        finally:
            self._count -= 1

    async def _serve(self, name: str, lease: Lease, work: Work) -> None:
        self.held[name] = self._clock.monotonic()
        task = asyncio.ensure_future(work())
        looking = asyncio.ensure_future(self._until_lost(lease))
        try:
            await asyncio.wait({task, looking}, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                task.result()
            else:
                _log.warning("%s: its lock could not be renewed; another process may do it now", name)
        finally:
            del self.held[name]
            for one in (task, looking):
                one.cancel()
            await asyncio.gather(task, looking, return_exceptions=True)

    async def _until_lost(self, lease: Lease) -> None:
        while lease.is_held:
            await self._clock.sleep(LOOK_EVERY_SECONDS)


def duty_lock(name: str) -> bytes:
    """The lock of a duty."""
    return b"duty\x00" + name.encode()
