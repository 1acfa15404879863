"""Processes of a simulation: who owns which task, what dies in a crash, and what travels on without its sender.

A process owns every task that was begun in its context, however deep. A crash cancels them all and cuts its links: what
its `finally` clauses still try to send goes nowhere, as with `kill -9`. Messages under way belong to the network.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any, TypeVar

from liteio_base.deadline import Deadline
from liteio_contracts.storage import StorageAPI
from liteio_contracts.storage_errors import DriveOffline
from liteio_testkit.intercepted_drive import Answer, Call, InterceptedDrive
from liteio_testkit.sim import Sim
from liteio_testkit.sim_network import SimNetwork

T = TypeVar("T")

_CANCELS_MAX = 50


class ProcessDied(Exception):
    """The connection to the process broke: what became of the request is not known."""


class Process:
    """One incarnation of a process. `kill_at_send`: it dies in place of its n-th message from now, 0 for never."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        self.name = name
        self.is_dead = False
        self.kill_at_send = 0
        self.on_killed: Callable[[], None] = lambda: None
        self.tasks: set[asyncio.Task[Any]] = set()
        self._loop = loop
        self._ending: asyncio.Task[None] | None = None

    def begin(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run `work` as this process's own."""
        token = _owner.set(self)
        try:
            return self._loop.create_task(work)
        finally:
            _owner.reset(token)

    async def ask(self, work: Coroutine[Any, Any, T], *, patience_seconds: float | None = None) -> T:
        """A client's request. Raises ProcessDied when the process dies before it answers, and TimeoutError when the
        client hangs up after `patience_seconds`.
        """
        if self.is_dead:
            work.close()
            raise ProcessDied(self.name)
        task = self.begin(work)
        done, _ = await asyncio.wait({task}, timeout=patience_seconds)
        if self.is_dead or task.cancelled():
            task.cancel()
            raise ProcessDied(self.name)
        if not done:
            task.cancel()
            await asyncio.wait({task})
            if self.is_dead or task.cancelled():
                raise TimeoutError
        return task.result()

    def kill(self) -> None:
        """Everything ends at the next turn of the loop; nothing more is sent from now on."""
        if not self.is_dead:
            self.is_dead = True
            self.on_killed()
            token = _owner.set(None)  # The one who does it is no part of the process, even when called from within.
            try:
                self._ending = self._loop.create_task(self._end())
            finally:
                _owner.reset(token)

    async def _end(self) -> None:
        for _ in range(_CANCELS_MAX):
            left = set(self.tasks)
            if not left:
                return
            for task in left:
                task.cancel()
            await asyncio.wait(left, timeout=1.0)
        raise AssertionError(f"{self.name} is dead and still has {len(self.tasks)} tasks")

    def is_about_to_send(self) -> None:
        if self.kill_at_send:
            self.kill_at_send -= 1
            if not self.kill_at_send:
                self.kill()

    def adopt(self, task: "asyncio.Task[Any]") -> None:
        self.tasks.add(task)
        task.add_done_callback(self._forget)

    def _forget(self, task: "asyncio.Task[Any]") -> None:
        self.tasks.discard(task)
        if self.is_dead and not task.cancelled():
            task.exception()  # What a dead process was about to report nobody hears.


_owner: ContextVar[Process | None] = ContextVar("owner", default=None)


class OwnedNetwork(SimNetwork):
    """Messages belong to nobody: they arrive though their sender is dead."""

    def send(self, message: Coroutine[Any, Any, Answer]) -> "asyncio.Task[Answer]":
        token = _owner.set(None)
        try:
            return super().send(message)
        finally:
            _owner.reset(token)


class ProcessLink(InterceptedDrive):
    """A process's end of a link: counts what it sends, and sends nothing once it is dead."""

    def __init__(self, process: Process, link: StorageAPI) -> None:
        super().__init__(link)
        self._process = process

    async def intercept(self, operation: str, call: Call[Answer], deadline: Deadline) -> Answer:
        self._process.is_about_to_send()
        if self._process.is_dead:
            raise DriveOffline("the process is dead")
        return await call(deadline)


def install(sim: Sim) -> None:
    """Let every task be known to its process, and give the simulation a network that owns its messages."""
    network = OwnedNetwork(sim.randomness.fork("network"), sim.clock, sim.network.plan)
    sim.network = network
    made_before = sim.loop.get_task_factory()
    assert made_before is not None
    make: Any = made_before  # since Python 3.11 a factory takes a context too, which its type does not say

    def make_owned(loop: asyncio.AbstractEventLoop, coroutine: Any, context: Context | None = None) -> Any:
        task = make(loop, coroutine, context=context)
        owner = _owner.get()
        if owner is not None and isinstance(task, asyncio.Task):
            owner.adopt(task)
        return task

    sim.loop.set_task_factory(make_owned)
