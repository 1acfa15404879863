"""`Companies`: blind writers of one key in this process that hold its lock together, and commit in one batch.

Of two blind writes of one moment either may be the last. So whoever waits for the lock of a key to write it blindly
need not wait for the others who do: all those of a process get it at once, read the key once, and send their commits
one behind the other, each of which goes over the one before. docs/protocols/commit.md, "Rivals".
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

from liteio_base.deadline import Deadline
from liteio_base.ids import NO_TIME, HybridTime
from liteio_contracts.locks import Lease, LockTimeout


class Company:
    """Some writers and the lock that they hold. It is their lease."""

    __slots__ = ("_granted", "_lease", "_lock", "_members", "_reading", "newest")

    def __init__(self) -> None:
        self.newest: HybridTime = NO_TIME  # of the records that members have committed, or tried to
        self._members = 1
        self._granted: asyncio.Future[bool] | None = None  # made by the first who joins
        self._lock: AbstractAsyncContextManager[Lease] | None = None
        self._lease: Lease | None = None
        self._reading: asyncio.Future[Any] | None = None

    @property
    def is_held(self) -> bool:
        return self._lease is not None and self._lease.is_held

    @property
    def is_alone(self) -> bool:
        return self._members == 1

    async def lead(self, lock: AbstractAsyncContextManager[Lease]) -> None:
        """Take the lock for all. Raises what that raises, after telling the others to try for themselves."""
        try:
            self._lease = await lock.__aenter__()
        except BaseException:
            self._tell(False)
            raise
        self._lock = lock
        self._tell(True)

    async def join(self, deadline: Deadline) -> bool:
        """Wait for the lock; False when it was not to be had. Raises LockTimeout."""
        self._members += 1
        granted = self._granted = self._granted or asyncio.get_running_loop().create_future()
        try:
            await asyncio.wait((granted,), timeout=deadline.seconds_left())
            if not granted.done():
                raise LockTimeout("another writer of this process holds the lock")
        except BaseException:
            await self.leave()
            raise
        return granted.result()

    def _tell(self, is_granted: bool) -> None:
        if self._granted is not None:
            self._granted.set_result(is_granted)

    async def leave(self) -> None:
        """The last one gives the lock back."""
        self._members -= 1
        if not self._members and self._lock is not None:
            lock, self._lock = self._lock, None
            await lock.__aexit__(None, None, None)

    async def read(self, begin: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        """What the first member that asks reads, for all."""
        if self._reading is None:
            self._reading = asyncio.ensure_future(begin())
        return await asyncio.shield(self._reading)


class Companies:
    """Those whose lock is asked for, by its name: whoever comes until it is granted belongs to them."""

    def __init__(self) -> None:
        self._waiting: dict[bytes, Company] = {}

    async def enter(self, name: bytes, lock: AbstractAsyncContextManager[Lease], deadline: Deadline) -> Company:
        """A company that holds the lock; `leave` it once. Raises LockTimeout."""
        while True:
            company = self._waiting.get(name)
            if company is None:
                company = self._waiting[name] = Company()
                try:
                    await company.lead(lock)
                finally:
                    del self._waiting[name]
                return company
            if await company.join(deadline):
                return company
