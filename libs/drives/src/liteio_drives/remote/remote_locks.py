"""`RemoteLocks`: LockAPI over the lock tables of the storage nodes; more than half of them must grant.

A lease is counted from the moment before it was asked for, on this process's monotonic clock, less a margin for clocks
that do not run alike; so the holder knows that it is over before any table does. A node that can not be reached has not
renewed.
"""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Self

from liteio_base.check import check
from liteio_base.clock import Clock, Randomness
from liteio_base.deadline import Deadline
from liteio_contracts.locks import Lease, LockTimeout
from liteio_contracts.storage_errors import StorageError
from liteio_drives.remote.limits import HOLDER_TEXT_MAX, LEASE_SECONDS, LOCK_OWNER_BYTES, LOCK_WAIT_SECONDS
from liteio_drives.remote.messages import NODE, Holder
from liteio_drives.remote.node_connection import NodeConnection
from liteio_drives.turns import Turns

_CLOCK_MARGIN: Final = 0.1  # of a lease: two clocks that differ by ten percent still agree
_RENEW_EVERY: Final = 0.3  # of a lease: three tries before it is over
_CALL_SECONDS: Final = 2.0
_SILENCE_SECONDS: Final = 4.0  # with fewer than a quorum of nodes answering: then they will not soon either
_LATE_SECONDS: Final = 0.05  # for the other nodes, once it is clear that no quorum grants
_PAUSE_SECONDS_MIN: Final = 0.005
_PAUSE_SECONDS_MAX: Final = 0.25


def this_process() -> Holder:
    """As operators know it: `python -m liteio_gateway` is liteio_gateway."""
    module = getattr(sys.modules["__main__"], "__spec__", None)
    program = module.name.removesuffix(".__main__") if module is not None else os.path.basename(sys.argv[0])
    return Holder(socket.gethostname()[:HOLDER_TEXT_MAX], program[:HOLDER_TEXT_MAX], os.getpid())


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


class _Asking:
    """One request for a lease, to all nodes. `decided` is done as soon as a quorum has granted or refused it: a node
    that hangs is not waited for, and what it grants later still counts. When no quorum can come about any more the
    others have a moment left to say which it is."""

    def __init__(self, lease: RemoteLease, until: float) -> None:
        self.lease, self._until = lease, until
        self._loop = asyncio.get_running_loop()
        self._left = len(lease.untils)
        self._next = self._granted = self.refusals = 0
        self.decided: asyncio.Future[None] = self._loop.create_future()

    @property
    def answers(self) -> int:
        return self._granted + self.refusals

    def add(self, call: asyncio.Future[Any]) -> None:
        """The next node's answer."""
        call.add_done_callback(partial(self._note, self._next))
        self._next += 1

    def _note(self, number: int, call: asyncio.Future[Any]) -> None:
        self._left -= 1
        if not call.cancelled() and call.exception() is None:
            if call.result() is True:
                self._granted += 1
                self.lease.untils[number] = self._until
            else:
                self.refusals += 1
        quorum = self.lease.quorum
        if max(self._granted, self.refusals) >= quorum or not self._left:
            self._decide()
        elif self._granted + self._left < quorum:
            self._loop.call_later(_LATE_SECONDS, self._decide)

    def _decide(self) -> None:
        if not self.decided.done():
            self.decided.set_result(None)


@dataclass(eq=False, slots=True)
class RemoteLocks:
    """Use as a context: it owns the task that renews what is held."""

    nodes: Sequence[NodeConnection]
    clock: Clock
    randomness: Randomness
    lease_seconds: float = LEASE_SECONDS
    holder: Holder = field(default_factory=this_process)
    _turns: Turns[bytes] = field(default_factory=Turns)
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

    def lock(
        self, names: Sequence[bytes], *, deadline: Deadline, on_ask: Callable[[], object] | None = None
    ) -> AbstractAsyncContextManager[Lease]:
        """Raises LockTimeout."""
        return self._hold(tuple(sorted(set(names))), deadline, on_ask)

    @asynccontextmanager
    async def _hold(
        self, names: tuple[bytes, ...], deadline: Deadline, on_ask: Callable[[], object] | None
    ) -> AsyncIterator[Lease]:
        async with AsyncExitStack() as turns:
            for name in names:  # They are sorted, so that two callers never wait for each other.
                if not self._turns.begin(name):
                    await self._turns.wait(name, deadline)
                turns.callback(self._turns.end, name)
            lease = await self._acquire(names, deadline, on_ask)
            self._held.add(lease)
            try:
                yield lease
            finally:
                self._held.discard(lease)
                lease.is_released = True
                self._release_soon(lease.owner)

    async def _acquire(
        self, names: tuple[bytes, ...], deadline: Deadline, on_ask: Callable[[], object] | None
    ) -> RemoteLease:
        """A new owner for each try, so that a late grant of an earlier one is never taken for this one's."""
        began, pause = self.clock.monotonic(), _PAUSE_SECONDS_MIN
        heard_at = began
        owner = self._new_owner()
        while not deadline.has_passed:
            if on_ask is not None:
                on_ask()
            asked = await self._try_once(owner, names, deadline)
            if asked.lease.is_held:
                return asked.lease
            now = self.clock.monotonic()
            if asked.answers >= self.quorum:
                heard_at = now
            elif now - heard_at >= _SILENCE_SECONDS:
                raise LockTimeout("too few nodes answer")
            owner = self._new_owner()
            if asked.refusals >= self.quorum:
                await self._wait_for_turn(owner, names, now - began, deadline)
            else:  # Several have a part of it each, or nodes are away: let chance decide who is first the next time.
                await self.clock.sleep(min(self.randomness.uniform(pause / 2, pause), deadline.seconds_left()))
                pause = min(2 * pause, _PAUSE_SECONDS_MAX)
        raise LockTimeout("the lock is held by another, or too few nodes answer")

    def _new_owner(self) -> bytes:
        return self.randomness.token_bytes(LOCK_OWNER_BYTES)

    async def _try_once(self, owner: bytes, names: tuple[bytes, ...], deadline: Deadline) -> _Asking:
        """Whether the lease is held then, and what the nodes said."""
        lease = RemoteLease(owner, self.clock, self.quorum, [0.0] * len(self.nodes))
        asking = _Asking(lease, self._lease_end())
        soon = deadline.sooner(_CALL_SECONDS)
        try:
            for node in self.nodes:
                asking.add(node.call(NODE, "lock.acquire", owner, names, self.holder, deadline=soon))
            await asking.decided
        except BaseException:
            self._release_soon(owner)
            raise
        if not lease.is_held:
            self._release_soon(owner)
        return asking

    async def _wait_for_turn(
        self, owner: bytes, names: tuple[bytes, ...], waited_seconds: float, deadline: Deadline
    ) -> None:
        """Until a quorum of nodes says that it is the turn of `owner`, or for a while."""
        patience = self.randomness.uniform(LOCK_WAIT_SECONDS / 2, LOCK_WAIT_SECONDS)
        soon = deadline.sooner(patience)
        waits = [node.call(NODE, "lock.wait", owner, names, waited_seconds, deadline=soon) for node in self.nodes]
        for wait in waits:
            self._let_end(wait)
        told, left = 0, set(waits)
        while left and told < self.quorum:
            done, left = await asyncio.wait(left, return_when=asyncio.FIRST_COMPLETED)
            told += sum(not wait.cancelled() and wait.exception() is None for wait in done)
        if told < self.quorum:  # Likely in vain: not at once, also when nobody let this one wait.
            await self.clock.sleep(self.randomness.uniform(0, _PAUSE_SECONDS_MIN))

    def _lease_end(self) -> float:
        return self.clock.monotonic() + self.lease_seconds * (1 - _CLOCK_MARGIN)

    async def _ask_all(self, method: str, *arguments: Any, deadline: Deadline) -> list[Any]:
        """Each node's answer, None from one that gave none. The calls are made before anything is waited for."""
        calls = [node.call(NODE, method, *arguments, deadline=deadline) for node in self.nodes]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, StorageError):
                raise answer
        return [None if isinstance(answer, StorageError) else answer for answer in answers]

    def _release_soon(self, owner: bytes) -> None:
        """Nobody waits for it; if it does not arrive the lease runs out."""

        deadline = Deadline.after(_CALL_SECONDS, self.clock)
        for node in self.nodes:
            release = node.call(NODE, "lock.release", (owner,), deadline=deadline, is_lazy=True)
            self._let_end(release)

    def _let_end(self, call: asyncio.Future[None]) -> None:
        """Nobody hears of its end, be it good or bad."""
        self._cleanups.add(call)
        call.add_done_callback(self._note_end)

    def _note_end(self, call: asyncio.Future[None]) -> None:
        self._cleanups.discard(call)
        if not call.cancelled():
            call.exception()

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
