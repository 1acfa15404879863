"""`MemoryLocks` and `LyingLocks`: LockAPI for tests, the honest one and the worst one."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from liteio_base.deadline import Deadline
from liteio_contracts.locks import Lease, LockTimeout


@dataclass(slots=True)
class MemoryLease:
    is_held: bool = True


class MemoryLocks:
    """One asyncio lock a name, given in the order of asking. `break_leases` is the test's hand on it."""

    def __init__(self) -> None:
        self._locks: dict[bytes, asyncio.Lock] = {}
        self._waiting: dict[bytes, int] = {}  # holders and waiters of a name, so that it is forgotten after the last
        self._leases: list[MemoryLease] = []

    def lock(
        self, names: Sequence[bytes], *, deadline: Deadline, on_ask: Callable[[], object] | None = None
    ) -> AbstractAsyncContextManager[Lease]:
        return self._hold_all(sorted(set(names)), deadline)

    @property
    def held_count(self) -> int:
        """Leases that are out: 0 when nobody forgot one."""
        return len(self._leases)

    def break_leases(self) -> None:
        """The lock table restarted: everybody's lease ends, and others may have the locks now."""
        for lease in self._leases:
            lease.is_held = False
        self._locks.clear()

    @asynccontextmanager
    async def _hold_all(self, names: Sequence[bytes], deadline: Deadline) -> AsyncIterator[Lease]:
        lease = MemoryLease()
        async with AsyncExitStack() as stack:
            for name in names:
                await stack.enter_async_context(self._hold(name, deadline))
            self._leases.append(lease)
            try:
                yield lease
            finally:
                # By identity: leases are equal as values, and another's must not be dropped in place of this one.
                self._leases = [other for other in self._leases if other is not lease]
                lease.is_held = False

    @asynccontextmanager
    async def _hold(self, name: bytes, deadline: Deadline) -> AsyncIterator[None]:
        lock = self._locks.setdefault(name, asyncio.Lock())
        self._waiting[name] = self._waiting.get(name, 0) + 1
        try:
            await _acquire(lock, name, deadline)
            try:
                yield
            finally:
                lock.release()
        finally:
            self._forget(name)

    def _forget(self, name: bytes) -> None:
        self._waiting[name] -= 1
        if not self._waiting[name]:
            del self._waiting[name]
            self._locks.pop(name, None)


async def _acquire(lock: asyncio.Lock, name: bytes, deadline: Deadline) -> None:
    if not lock.locked():
        await lock.acquire()
        return
    try:
        await asyncio.wait_for(lock.acquire(), deadline.seconds_left())
    except TimeoutError:
        raise LockTimeout(f"{name!r} is held by another") from None


class LyingLocks:
    """Grants everything at once to everybody: what a store must survive, its locks being a kindness only."""

    def lock(
        self, names: Sequence[bytes], *, deadline: Deadline, on_ask: Callable[[], object] | None = None
    ) -> AbstractAsyncContextManager[Lease]:
        return self._grant()

    @asynccontextmanager
    async def _grant(self) -> AsyncIterator[Lease]:
        yield MemoryLease()
