"""A set of drives, and asking several of them at once."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from liteio_base.check import check
from liteio_base.deadline import Deadline
from liteio_contracts.storage import StorageAPI
from liteio_contracts.storage_errors import DriveTimeout, StorageError
from liteio_erasure.code import CodeParams

T = TypeVar("T")

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
    asked = list(slots)
    if len(asked) == 1:
        return {asked[0]: await ask(call(drive_set.drives[asked[0]]))}
    answers = await asyncio.gather(*(ask(call(drive_set.drives[slot])) for slot in asked))
    return dict(zip(asked, answers, strict=True))


async def ask_until(
    drive_set: DriveSet,
    slots: Iterable[int],
    call: Callable[[StorageAPI], Awaitable[T]],
    is_enough: Callable[[Answers[T]], bool],
    *,
    deadline: Deadline,
    grace_seconds: float = 0.0,
    adopt: Callable[["asyncio.Task[T | StorageError]"], None] | None = None,
) -> Answers[T]:
    """Ask `slots` at once; return when all have answered; or when `is_enough` holds and either `grace_seconds` have
    passed
    since the start or only drives marked slow are still to answer; or at the deadline. Calls still under way are
    cancelled, or given to `adopt` where their effect matters.
    """
    tasks = {asyncio.ensure_future(ask(call(drive_set.drives[slot]))): slot for slot in slots}
    answers: Answers[T] = {}
    started = deadline.clock.monotonic()
    pending = set(tasks)
    try:
        while pending:
            left = deadline.seconds_left()
            if is_enough(answers):
                if all(drive_set.drives[tasks[task]].is_likely_slow for task in pending):
                    break
                left = min(left, grace_seconds - (deadline.clock.monotonic() - started))
            if left <= 0:
                break
            done, pending = await asyncio.wait(pending, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                answers[tasks[task]] = task.result()
    finally:
        for task in pending:
            if adopt is None:
                task.cancel()
            else:
                adopt(task)
    for task in pending:
        answers[tasks[task]] = DriveTimeout("no answer in time")
    return answers


def values(answers: Mapping[int, T | StorageError]) -> dict[int, T]:
    """The answers that are no errors."""
    return {slot: answer for slot, answer in answers.items() if not isinstance(answer, StorageError)}


def errors(answers: Mapping[int, T | StorageError]) -> list[StorageError]:
    return [answer for answer in answers.values() if isinstance(answer, StorageError)]
