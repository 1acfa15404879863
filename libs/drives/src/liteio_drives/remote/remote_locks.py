"""`RemoteLocks`: LockAPI over the lock tables of the storage nodes; more than half of them must grant.

A lease is counted from the moment before it was asked for, on this process's monotonic clock, less a margin for clocks
that do not run alike; so the holder knows that it is over before any table does. A node that can not be reached has not
renewed.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Self

from liteio_base.check import check
from liteio_base.clock import Clock, Randomness
from liteio_base.deadline import Deadline
from liteio_contracts.locks import Lease, LockTimeout
from liteio_contracts.storage_errors import StorageError
from liteio_drives.remote.limits import LEASE_SECONDS, LOCK_OWNER_BYTES
from liteio_drives.remote.messages import NODE
from liteio_drives.remote.node_connection import NodeConnection

_CLOCK_MARGIN: Final = 0.1  # of a lease: two clocks that differ by ten percent still agree
_RENEW_EVERY: Final = 0.3  # of a lease: three tries before it is over
_CALL_SECONDS: Final = 2.0
_PAUSE_SECONDS_MIN: Final = 0.005
_PAUSE_SECONDS_MAX: Final = 0.25


@dataclass(eq=False, slots=True)
class RemoteLease:
    """Held until `until`, or until it is given back."""

    owner: bytes
    clock: Clock
    quorum: int
    untils: list[float]  # a node's lease each, by node
    is_released: bool = False

    @property
    def until(self) -> float:
        """When fewer than a quorum of the nodes' leases is left."""
        return sorted(self.untils, reverse=True)[self.quorum - 1]

    @property
    def is_held(self) -> bool:
        return not self.is_released and self.clock.monotonic() < self.until


@dataclass(eq=False, slots=True)
class RemoteLocks:
    """Use as a context: it owns the task that renews what is held."""

    nodes: Sequence[NodeConnection]
    clock: Clock
    randomness: Randomness
    lease_seconds: float = LEASE_SECONDS
    _held: set[RemoteLease] = field(default_factory=set)
    _cleanups: set[asyncio.Future[None]] = field(default_factory=set)
    _renewing: asyncio.Task[None] | None = None

    def __post_init__(self) -> None:
        check(self.nodes, "locks need at least one node")

    @property
    def quorum(self) -> int:
        return len(self.nodes) // 2 + 1

    async def __aenter__(self) -> Self:
        self._renewing = asyncio.create_task(self._renew_for_ever())
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._renewing is not None:
            self._renewing.cancel()
            await asyncio.gather(self._renewing, *self._cleanups, return_exceptions=True)

    def lock(self, names: Sequence[bytes], *, deadline: Deadline) -> AbstractAsyncContextManager[Lease]:
        """Raises LockTimeout."""
        return self._hold(tuple(sorted(set(names))), deadline)

    @asynccontextmanager
    async def _hold(self, names: tuple[bytes, ...], deadline: Deadline) -> AsyncIterator[Lease]:
        lease = await self._acquire(names, deadline)
        self._held.add(lease)
        try:
            yield lease
        finally:
            self._held.discard(lease)
            lease.is_released = True
            self._release_soon(lease.owner)

    async def _acquire(self, names: tuple[bytes, ...], deadline: Deadline) -> RemoteLease:
        pause = _PAUSE_SECONDS_MIN
        while not deadline.has_passed:
            lease = await self._try_once(names, deadline)
            if lease is not None:
                return lease
            await self.clock.sleep(min(self.randomness.uniform(pause / 2, pause), deadline.seconds_left()))
            pause = min(2 * pause, _PAUSE_SECONDS_MAX)
        raise LockTimeout("the lock is held by another, or too few nodes answer")

    async def _try_once(self, names: tuple[bytes, ...], deadline: Deadline) -> RemoteLease | None:
        """A new owner each time, so that a late grant of an earlier try is never taken for this one."""
        owner = self.randomness.token_bytes(LOCK_OWNER_BYTES)
        until = self._lease_end()
        try:
            granted = await self._ask_all("lock.acquire", owner, names, deadline=deadline.sooner(_CALL_SECONDS))
        except BaseException:
            self._release_soon(owner)
            raise
        lease = RemoteLease(owner, self.clock, self.quorum, [until if answer is True else 0.0 for answer in granted])
        if lease.is_held:
            return lease
        self._release_soon(owner)
        return None

    def _lease_end(self) -> float:
        return self.clock.monotonic() + self.lease_seconds * (1 - _CLOCK_MARGIN)

    async def _ask_all(self, method: str, *arguments: Any, deadline: Deadline) -> list[Any]:
        """Each node's answer, None from one that gave none."""

        async def ask(node: NodeConnection) -> Any:
            try:
                return await node.call(NODE, method, *arguments, deadline=deadline)
            except StorageError:
                return None

        if len(self.nodes) == 1:
            return [await ask(self.nodes[0])]
        return list(await asyncio.gather(*map(ask, self.nodes)))

    def _release_soon(self, owner: bytes) -> None:
        """Nobody waits for it; if it does not arrive the lease runs out."""

        deadline = Deadline.after(_CALL_SECONDS, self.clock)
        for node in self.nodes:
            release = node.call(NODE, "lock.release", (owner,), deadline=deadline, is_lazy=True)
            self._cleanups.add(release)
            release.add_done_callback(self._note_release)

    def _note_release(self, release: asyncio.Future[None]) -> None:
        self._cleanups.discard(release)
        if not release.cancelled():
            release.exception()

    async def _renew_for_ever(self) -> None:
        while True:
            await self.clock.sleep(self.lease_seconds * _RENEW_EVERY)
            held = [lease for lease in self._held if lease.is_held]
            if held:
                await self._renew(held)

    async def _renew(self, held: Sequence[RemoteLease]) -> None:
        until = self._lease_end()
        owners = tuple(lease.owner for lease in held)
        patience = min(_CALL_SECONDS, self.lease_seconds * _RENEW_EVERY)
        answers = await self._ask_all("lock.renew", owners, deadline=Deadline.after(patience, self.clock))
        for number, renewed in enumerate(answers):
            for lease, is_renewed in zip(held, renewed or (), strict=False):
                if is_renewed:
                    lease.untils[number] = max(lease.untils[number], until)
                else:  # This node may have given it to another: what it granted before counts no more.
                    lease.untils[number] = 0.0
