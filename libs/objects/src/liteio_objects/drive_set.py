"""A set of drives, and asking several of them at once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from liteio_base.check import check
from liteio_base.deadline import Deadline
from liteio_contracts.storage import StorageAPI
from liteio_contracts.storage_errors import DriveTimeout, StorageError
from liteio_erasure.code import CodeParams

T = TypeVar("T")

# How long a drive that is not marked slow is waited for when enough others have answered: long enough that a healthy
# store reads and writes N of N, short enough for a client to bear.
GRACE_SECONDS: Final = 1.0

Answers = dict[int, T | StorageError]
"""What each drive asked has said, by slot: a value, or its error. A slot that is absent was not asked or has not
answered."""


@dataclass(frozen=True, slots=True)
class DriveSet:
    """The drives of one set, by slot."""

    drives: tuple[StorageAPI, ...]
    code: CodeParams
    set_index: int

    def __post_init__(self) -> None:
        check(len(self.drives) == self.code.width, "a set has as many drives as its code has shards")

    @property
    def slots(self) -> range:
        return range(len(self.drives))

    def quick_slots(self, order: Iterable[int]) -> list[int]:
        """`order` with the drives that are likely slow moved to its end."""
        return sorted(order, key=lambda slot: self.drives[slot].is_likely_slow)


async def ask(call: Awaitable[T]) -> T | StorageError:
    """The drive's answer, its error as a value. Anything that is no StorageError is a bug and passes through."""
    try:
        return await call
    except StorageError as error:
        return error


async def ask_drives(
    drive_set: DriveSet, slots: Iterable[int], call: Callable[[StorageAPI], Awaitable[T]]
) -> Answers[T]:
    """Ask `slots` at once and wait for all: every call carries a deadline of its own."""
    gathering: _Gathering[T] = _Gathering(drive_set, _never_enough, None)
    return await gathering.run(slots, call, None, 0.0)


async def ask_most(
    drive_set: DriveSet,
    slots: Iterable[int],
    call: Callable[[StorageAPI], Awaitable[T]],
    *,
    deadline: Deadline,
    adopt: Callable[["asyncio.Future[T]"], None] | None = None,
) -> Answers[T]:
    """Ask `slots` at once; a drive that hangs is not waited for longer than the grace when W others have answered."""
    write_quorum = drive_set.code.write_quorum

    def is_enough(answers: Answers[T]) -> bool:
        return len(answers) >= write_quorum and len(values(answers)) >= write_quorum

    return await ask_until(
        drive_set, slots, call, is_enough, deadline=deadline, grace_seconds=GRACE_SECONDS, adopt=adopt
    )


async def ask_until(
    drive_set: DriveSet,
    slots: Iterable[int],
    call: Callable[[StorageAPI], Awaitable[T]],
    is_enough: Callable[[Answers[T]], bool],
    *,
    deadline: Deadline,
    grace_seconds: float = 0.0,
    adopt: Callable[["asyncio.Future[T]"], None] | None = None,
) -> Answers[T]:
    """Ask `slots` at once; return when all have answered; or when `is_enough` holds and either `grace_seconds` have
    passed since the start or only drives marked slow are still to answer; or at the deadline. Calls still under way are
    cancelled, or given to `adopt` where their effect matters.
    """
    gathering: _Gathering[T] = _Gathering(drive_set, is_enough, adopt)
    return await gathering.run(slots, call, deadline.seconds_left(), grace_seconds)


class _Gathering(Generic[T]):
    """Calls to several drives under way. One future and one timer serve them all: asyncio.wait costs three times as
    much, and every request asks at least twice."""

    def __init__(
        self,
        drive_set: DriveSet,
        is_enough: Callable[[Answers[T]], bool],
        adopt: Callable[["asyncio.Future[T]"], None] | None,
    ) -> None:
        self._drive_set, self._is_enough, self._adopt = drive_set, is_enough, adopt
        self._loop = asyncio.get_running_loop()
        self._finished: asyncio.Future[None] = self._loop.create_future()
        self._pending: dict[asyncio.Future[T], int] = {}
        self._answers: Answers[T] = {}
        self._grace_ends = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._has_enough = False

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
            self._grace_ends = self._loop.time() + grace_seconds
            self._timer = self._loop.call_later(seconds, self._finish)
        try:
            await self._finished
        finally:
            self._let_go()
        return self._answers

    def _note(self, task: "asyncio.Future[T]") -> None:
        slot = self._pending.pop(task, None)
        error = DriveTimeout("the call was cancelled") if task.cancelled() else task.exception()
        if slot is None:
            return
        if error is None:
            self._answers[slot] = task.result()
        elif isinstance(error, StorageError):
            self._answers[slot] = error
        elif not self._finished.done():  # No drive's trouble but a bug: it passes through.
            self._finished.set_exception(error)
        if not self._pending:
            self._finish()
        elif not self._has_enough and self._is_enough(self._answers):
            self._has_enough = True
            self._shorten()
        elif self._has_enough and self._only_slow_are_left():
            self._finish()

    def _shorten(self) -> None:
        """Enough have answered: the rest get what is left of the grace."""
        left = self._grace_ends - self._loop.time()
        if left <= 0 or self._only_slow_are_left():
            self._finish()
        elif self._timer is not None and self._timer.when() > self._grace_ends:
            self._timer.cancel()
            self._timer = self._loop.call_later(left, self._finish)

    def _only_slow_are_left(self) -> bool:
        return all(self._drive_set.drives[slot].is_likely_slow for slot in self._pending.values())

    def _finish(self) -> None:
        if not self._finished.done():
            self._finished.set_result(None)

    def _let_go(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        for task, slot in self._pending.items():
            self._answers[slot] = DriveTimeout("no answer in time", slot=slot)
            if self._adopt is None:
                task.cancel()
            else:
                self._adopt(task)
        self._pending.clear()


def _never_enough(answers: object) -> bool:
    return False


def values(answers: Mapping[int, T | StorageError]) -> dict[int, T]:
    """The answers that are no errors."""
    return {slot: answer for slot, answer in answers.items() if not isinstance(answer, StorageError)}


def errors(answers: Mapping[int, T | StorageError]) -> list[StorageError]:
    return [answer for answer in answers.values() if isinstance(answer, StorageError)]
