"""A set of drives, and asking several of them at once."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Generic, TypeVar

import msgspec

from liteio_base.check import check
from liteio_base.deadline import Deadline
from liteio_contracts.storage import TAKES_WRITES, DriveState, DriveStatus, StorageAPI
from liteio_contracts.storage_errors import DriveTimeout, StorageError
from liteio_erasure.code import CodeParams
from liteio_objects.alarms import Alarms
from liteio_objects.pace import Pace, Paces

T = TypeVar("T")

# How long a drive that is not slow is waited for when enough others have answered: long enough that a healthy
# store reads and writes N of N, short enough for a client to bear.
GRACE_SECONDS: Final = 1.0
# In between it is seen whether those that have not answered are known to be slow by now.
LOOK_SECONDS: Final = 0.3
_SLACK_SECONDS: Final = 0.002  # an alarm may ring a little early
_NEVER: Final = sys.maxsize

Answers = dict[int, T | StorageError]
"""What each drive asked has said, by slot: a value, or its error. A slot that is absent was not asked or has not
answered."""


@dataclass(frozen=True, slots=True)
class DriveSet:
    """The drives of one set, by slot, and what this process has seen of them."""

    drives: tuple[StorageAPI, ...]
    code: CodeParams
    set_index: int
    alarms: Alarms = field(default_factory=Alarms, repr=False, compare=False)
    paces: Paces = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        check(len(self.drives) == self.code.width, "a set has as many drives as its code has shards")
        object.__setattr__(self, "paces", Paces(self.code.width, self.code.m))

    @property
    def slots(self) -> range:
        return range(len(self.drives))

    def quick_slots(self, order: Iterable[int]) -> list[int]:
        """`order` with the drives that are slow or late moved to its end, and behind them those in trouble."""
        late = self.paces.late(asyncio.get_running_loop().time())
        return sorted(order, key=lambda slot: (self.drives[slot].is_likely_slow, slot in late))

    def first_and_rest(self, order: Sequence[int], count: int) -> tuple[Sequence[int], Sequence[int]]:
        """The first `count` of the quick slots, and the others."""
        first = order[:count]
        is_calm = self.paces.is_calm
        for slot in first:
            if not is_calm or self.drives[slot].is_likely_slow:
                order = self.quick_slots(order)
                return order[:count], order[count:]
        return first, order[count:]

    def hedge_seconds(self, pace: Pace) -> float:
        """How long an answer is waited for before another drive is asked as well."""
        return pace.hedge_seconds(asyncio.get_running_loop().time())

    def is_slow(self, slot: int) -> bool:
        """Whether the drive is waited for last."""
        if self.drives[slot].is_likely_slow:
            return True
        return not self.paces.is_calm and slot in self.paces.slow(asyncio.get_running_loop().time())


async def ask_status(drive_set: DriveSet, slot: int, *, deadline: Deadline) -> DriveStatus:
    """The drive's own word; and unless it is in worse trouble, whether it is slow beside its siblings. Raises
    StorageError."""
    paces = drive_set.paces
    with timed(paces.statuses, slot):
        status = await drive_set.drives[slot].status(deadline=deadline)
    reason = paces.reason(slot, asyncio.get_running_loop().time())
    if not reason or status.state not in TAKES_WRITES:
        return status
    return msgspec.structs.replace(status, state=DriveState.SLOW, reason=reason)


@contextmanager
def timed(pace: Pace, slot: int) -> Iterator[None]:
    """Around one call to the drive of `slot`: how it ends and after how long is told to `pace`."""
    clock = asyncio.get_running_loop().time
    began = clock()
    try:
        yield
        pace.saw_answer(slot, began, clock())
    except StorageError as error:
        pace.saw_error(slot, error, began, clock())
        raise
    except asyncio.CancelledError:
        pace.saw_end_of_patience(slot, began, clock())
        raise


async def ask(call: Awaitable[T]) -> T | StorageError:
    """The drive's answer, its error as a value. Anything that is no StorageError is a bug and passes through."""
    try:
        return await call
    except StorageError as error:
        return error


def ask_drives(
    drive_set: DriveSet, slots: Iterable[int], call: Callable[[StorageAPI], Awaitable[T]]
) -> Coroutine[Any, Any, Answers[T]]:
    """Ask `slots` at once and wait for all: every call carries a deadline of its own."""
    gathering: _Gathering[T] = _Gathering(drive_set, _NEVER, None, None)
    return gathering.run(slots, call, None, 0.0)


def ask_most(
    drive_set: DriveSet,
    slots: Iterable[int],
    call: Callable[[StorageAPI], Awaitable[T]],
    *,
    deadline: Deadline,
    adopt: Callable[["asyncio.Future[T]"], None] | None = None,
) -> Coroutine[Any, Any, Answers[T]]:
    """Ask `slots` at once; a drive that hangs is not waited for longer than the grace when W others have answered."""
    gathering: _Gathering[T] = _Gathering(drive_set, drive_set.code.write_quorum, None, adopt)
    return gathering.run(slots, call, deadline.seconds_left(), GRACE_SECONDS)


def ask_until(
    drive_set: DriveSet,
    slots: Iterable[int],
    call: Callable[[StorageAPI], Awaitable[T]],
    needed: int,
    is_enough: Callable[[Answers[T]], bool] | None = None,
    *,
    deadline: Deadline,
    grace_seconds: float = 0.0,
    adopt: Callable[["asyncio.Future[T]"], None] | None = None,
    telling_errors: tuple[type[StorageError], ...] = (),
    pace: Pace | None = None,
) -> Coroutine[Any, Any, Answers[T]]:
    """Ask `slots` at once; return when all have answered; or when `needed` have given values or `telling_errors`,
    `is_enough` holds and either `grace_seconds` have passed since the start or only slow drives are still to answer; or
    at the deadline. Calls still under way are cancelled, or given to `adopt` where their effect matters. `pace`: of the
    set, and for this kind of call, hears how long the drives take.
    """
    gathering: _Gathering[T] = _Gathering(drive_set, needed, is_enough, adopt, telling_errors, pace)
    return gathering.run(slots, call, deadline.seconds_left(), grace_seconds)


class _Gathering(Generic[T]):
    """Calls to several drives under way. One future serves them all, and one timer all gatherings: asyncio.wait costs
    three times as much, and every request asks at least twice."""

    __slots__ = (
        "_adopt",
        "_answers",
        "_began",
        "_drive_set",
        "_ends_at",
        "_finished",
        "_given",
        "_grace_ends_at",
        "_has_enough",
        "_is_enough",
        "_is_grace_over",
        "_loop",
        "_needed",
        "_pace",
        "_pending",
        "_telling_errors",
    )

    def __init__(
        self,
        drive_set: DriveSet,
        needed: int,
        is_enough: Callable[[Answers[T]], bool] | None,
        adopt: Callable[["asyncio.Future[T]"], None] | None,
        telling_errors: tuple[type[StorageError], ...] = (),
        pace: Pace | None = None,
    ) -> None:
        self._drive_set, self._needed, self._is_enough, self._adopt = drive_set, needed, is_enough, adopt
        self._telling_errors, self._pace = telling_errors, pace
        self._began = 0.0
        self._loop = asyncio.get_running_loop()
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._pending: dict[asyncio.Future[T], int] = {}
        self._answers: Answers[T] = {}
        self._given = 0  # of the answers those that are values, or telling errors
        self._ends_at: float | None = None
        self._grace_ends_at = 0.0
        self._has_enough = False
        self._is_grace_over = False

    async def run(
        self,
        slots: Iterable[int],
        call: Callable[[StorageAPI], Awaitable[T]],
        seconds: float | None,
        grace_seconds: float,
    ) -> Answers[T]:
        for slot in slots:
            asked = call(self._drive_set.drives[slot])
            answer = asked if isinstance(asked, asyncio.Future) else asyncio.ensure_future(asked)
            self._pending[answer] = slot
            answer.add_done_callback(self._note)
        if not self._pending:
            return self._answers
        if seconds is not None:
            self._set_alarm(seconds, grace_seconds)
        try:
            await self._finished
        finally:
            self._drive_set.alarms.drop(self)
            if self._pending:
                self._let_go()
        return self._answers

    def _set_alarm(self, seconds: float, grace_seconds: float) -> None:
        self._began = now = self._loop.time()
        self._ends_at = now + seconds
        self._grace_ends_at = min(self._ends_at, now + grace_seconds)
        self._is_grace_over = grace_seconds <= 0
        first = self._ends_at if self._is_grace_over else min(self._grace_ends_at, now + LOOK_SECONDS)
        self._drive_set.alarms.set(self, first, self._loop)

    def ring(self) -> None:
        """It is time to look, the grace is over, or the deadline has come."""
        if self._is_grace_over or self._ends_at is None:
            self._finish()
            return
        self._watch()
        self._is_grace_over = self._loop.time() + _SLACK_SECONDS >= self._grace_ends_at
        if self._is_over():
            self._finish()
        else:
            at = self._ends_at if self._is_grace_over else self._grace_ends_at
            self._drive_set.alarms.set(self, at, self._loop)

    def _note(self, call: "asyncio.Future[T]") -> None:
        slot = self._pending.pop(call, None)
        if slot is None:
            if not call.cancelled():
                call.exception()  # Seen: it came too late.
            return
        try:
            self._answers[slot] = call.result()
            self._given += 1
            if self._pace is not None:
                self._pace.saw_answer(slot, self._began, self._loop.time())
        except StorageError as error:
            self._answers[slot] = error
            self._given += isinstance(error, self._telling_errors)
            if self._pace is not None:
                self._pace.saw_error(slot, error, self._began, self._loop.time())
        except asyncio.CancelledError:
            self._answers[slot] = DriveTimeout("the call was cancelled")
        except BaseException as bug:  # No drive's trouble: it passes through.
            if not self._finished.done():
                self._finished.set_exception(bug)
        if not self._pending or self._is_over():
            self._finish()

    def _is_over(self) -> bool:
        """Whether the calls that are still under way are not waited for."""
        if not self._has_enough:
            if self._given < self._needed or (self._is_enough is not None and not self._is_enough(self._answers)):
                return False
            self._has_enough = True
        return self._is_grace_over or all(map(self._drive_set.is_slow, self._pending.values()))

    def _finish(self) -> None:
        if not self._finished.done():
            self._finished.set_result(None)

    def _let_go(self) -> None:
        if self._adopt is not None:
            self._watch()
        for call, slot in self._pending.items():
            self._answers[slot] = DriveTimeout("no answer in time", slot=slot)
            if self._adopt is None:
                call.cancel()
                if self._pace is not None:
                    self._pace.saw_end_of_patience(slot, self._began, self._loop.time())
            else:
                self._adopt(call)
                if self._pace is not None:
                    call.add_done_callback(partial(_note_end, self._pace, slot, self._began))
        self._pending.clear()

    def _watch(self) -> None:
        """What a drive has not answered yet tells how it is, too."""
        if self._pace is not None:
            for call, slot in self._pending.items():
                self._pace.begin_waiting(call, slot, self._began)
                call.add_done_callback(partial(self._pace.end_waiting, slot))


def watch(pace: Pace, slot: int, call: "asyncio.Future[Any]", began: float) -> None:
    """Tell `pace` of a call that began at `began` and that nobody waits for, until it ends and how it did."""
    pace.begin_waiting(call, slot, began)
    call.add_done_callback(partial(pace.end_waiting, slot))
    call.add_done_callback(partial(_note_end, pace, slot, began))


def _note_end(pace: Pace, slot: int, began: float, call: "asyncio.Future[Any]") -> None:
    if call.cancelled():
        return
    now, error = asyncio.get_running_loop().time(), call.exception()
    if error is None:
        pace.saw_answer(slot, began, now)
    elif isinstance(error, StorageError):
        pace.saw_error(slot, error, began, now)


def values(answers: Mapping[int, T | StorageError]) -> dict[int, T]:
    """The answers that are no errors."""
    return {slot: answer for slot, answer in answers.items() if not isinstance(answer, StorageError)}


def count_values(answers: Mapping[int, T | StorageError]) -> int:
    return len(answers) - len(errors(answers))


def errors(answers: Mapping[int, T | StorageError]) -> list[StorageError]:
    return [answer for answer in answers.values() if isinstance(answer, StorageError)]
