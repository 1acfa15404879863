"""`MemoryLocks`, `LyingLocks`, `ErraticLocks`: LockAPI for tests, the honest one and two bad ones."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_contracts.locks import Lease, LockTimeout
from liteio_testkit.seeded_randomness import SeededRandomness


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


class ErraticLocks:
    """A lock service that answers wrongly in every way it can, by chance: it grants to everybody, refuses, grants late
    (what was read since it was asked is old by then), has its holder find that the lease is over, and forgets what it
    gave. Only now and then it does what it should, or always while `is_calm`. As if on other machines, so that its
    callers read early.
    """

    def __init__(self, clock: Clock, randomness: SeededRandomness) -> None:
        self._clock, self._randomness = clock, randomness
        self._honest = MemoryLocks()
        self.is_calm = True

    def lock(
        self, names: Sequence[bytes], *, deadline: Deadline, on_ask: Callable[[], object] | None = None
    ) -> AbstractAsyncContextManager[Lease]:
        return self._hold(names, deadline, on_ask or (lambda: None))

    @asynccontextmanager
    async def _hold(
        self, names: Sequence[bytes], deadline: Deadline, on_ask: Callable[[], object]
    ) -> AsyncIterator[Lease]:
        on_ask()
        chance = self._randomness
        whim = 3 if self.is_calm else chance.below(6)
        if whim == 0:
            await self._clock.sleep(chance.uniform(0, 0.5))
            raise LockTimeout("refused for no reason")
        if whim == 1:
            await self._clock.sleep(chance.uniform(0, 2.0))
            if chance.chance(0.3):
                on_ask()
        if whim == 2 and chance.chance(0.5):
            self._honest.break_leases()
        if whim <= 3:
            async with self._honest.lock(names, deadline=deadline) as lease:
                yield lease
            return
        lease = MemoryLease()
        ending = asyncio.get_running_loop().call_later(chance.uniform(0, 0.1), self._end, lease) if whim == 4 else None
        try:
            yield lease
        finally:
            if ending is not None:
                ending.cancel()
            lease.is_held = False

    @staticmethod
    def _end(lease: MemoryLease) -> None:
        lease.is_held = False
