"""`SimLoop`: an asyncio event loop whose time is virtual and whose order is drawn from a seed.

When nothing is ready the clock jumps to the next timer, so an hour of timeouts costs no time. Callbacks that are ready
at once run in a seeded order. Two runs with one seed do the same, so long as the code asks nothing but its loop, clock
and randomness, and PYTHONHASHSEED is the same (sets of text or bytes iterate by it).
"""

import asyncio
import gc
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from contextvars import Context
from typing import Any, TypeVar, TypeVarTuple, Unpack

from liteio_testkit.seeded_randomness import SeededRandomness

Result = TypeVar("Result")
Args = TypeVarTuple("Args")

TURNS_MAX = 3_000_000  # a run that needs more spins without sleeping
_TURNS_A_COLLECTION = 20_000


class SimDeadlock(Exception):
    """Nothing is ready, no timer is set, and the program has not ended. Names the tasks that wait."""


class SimStuck(Exception):
    """More loop turns, or more virtual time, than the run was given."""


class SimTask(asyncio.Task[Any]):
    """A task that hashes by its number, not by its address: sets of tasks iterate alike in every run."""

    def __init__(self, number: int, coroutine: Coroutine[Any, Any, Any], **options: Any) -> None:
        self._number = number  # before super(), which puts the task into a set
        super().__init__(coroutine, **options)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimFuture(asyncio.Future[Any]):
    """As SimTask."""

    def __init__(self, number: int, *, loop: asyncio.AbstractEventLoop) -> None:
        self._number = number
        super().__init__(loop=loop)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class SimLoop(asyncio.BaseEventLoop):
    """Runs in one thread, without sockets. `run_in_executor` does the work at once, in place.

    turns: loop turns so far. seconds_max: virtual seconds after which the run is stuck. failures: what tasks raised and
    nobody awaited.
    """

    # What BaseEventLoop keeps and its subclasses use; the standard library's stubs leave it out.
    _ready: "deque[asyncio.Handle]"
    _scheduled: "list[asyncio.TimerHandle]"

    def __init__(self, randomness: SeededRandomness, *, seconds_max: float, shuffles: bool = True) -> None:
        super().__init__()
        self._randomness = randomness
        self._seconds_max = seconds_max
        self._shuffles = shuffles
        self._now = 0.0
        self._numbers = 0
        self._selector = _NoSelector(self)
        self._clock_resolution = 1e-9
        self.turns = 0
        self.failures: list[BaseException] = []
        self.set_task_factory(self._make_task)
        self.set_exception_handler(self._note_failure)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._now

    def create_future(self) -> SimFuture:
        return SimFuture(self._next_number(), loop=self)

    def run_in_executor(
        self, executor: Any, func: Callable[[Unpack[Args]], Result], *args: *Args
    ) -> "asyncio.Future[Result]":
        """A thread's timing can not be replayed, so there is none: the work is done here and now."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as problem:
            future.set_exception(problem)
        return future

    # -- what BaseEventLoop asks of its subclass

    def _write_to_self(self) -> None:
        """There is one thread and nothing to wake."""

    def _process_events(self, event_list: list[Any]) -> None:
        """There are no sockets, hence no events."""

    def turn(self, timeout: float | None) -> None:
        """Between two turns: move time to the next timer when nothing is ready, and draw the order of what is."""
        self.turns += 1
        if self.turns % _TURNS_A_COLLECTION == 0:
            gc.collect()  # Off otherwise: finalizers may schedule, so collection has its fixed turns.
        if self.turns > TURNS_MAX:
            raise SimStuck(f"{TURNS_MAX} loop turns by {self._now:.3f} virtual seconds: {self._waiting()}")
        if self._shuffles and len(self._ready) > 1:
            self._shuffle()
        if timeout is None:
            raise SimDeadlock(f"nothing to wait for at {self._now:.3f} virtual seconds: {self._waiting()}")
        if timeout > 0:
            self._now = max(self._now, self._scheduled[0].when())
            if self._now > self._seconds_max:
                raise SimStuck(f"{self._seconds_max} virtual seconds have passed: {self._waiting()}")

    def _shuffle(self) -> None:
        """Fisher-Yates over the ready callbacks, drawn from the seed."""
        ready = list(self._ready)
        for last in range(len(ready) - 1, 0, -1):
            at = self._randomness.below(last + 1)
            ready[last], ready[at] = ready[at], ready[last]
        self._ready = deque(ready)

    # -- helpers

    def _next_number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _make_task(
        self,
        loop: asyncio.AbstractEventLoop,
        coroutine: Coroutine[Any, Any, Result] | Generator[Any, None, Result],
        context: Context | None = None,
    ) -> "asyncio.Future[Result]":
        number = self._next_number()
        made: Any = coroutine
        return SimTask(number, made, loop=self, name=f"sim-{number}", context=context)

    def _note_failure(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        problem = context.get("exception")
        self.failures.append(problem if problem is not None else RuntimeError(context.get("message")))

    def _waiting(self) -> str:
        tasks = sorted((task for task in asyncio.all_tasks(self)), key=hash)
        return "; ".join(f"{task.get_name()} {_where(task)}" for task in tasks[:20]) or "no task"


class _NoSelector:
    """Where BaseEventLoop would wait for sockets, time passes."""

    def __init__(self, loop: SimLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        self._loop.turn(timeout)
        return []


def _where(task: asyncio.Task[Any]) -> str:
    stack = task.get_stack(limit=1)
    coroutine = task.get_coro()
    name = getattr(coroutine, "__qualname__", repr(coroutine))
    return f"{name} at line {stack[-1].f_lineno}" if stack else name
