"""Running rows: each in a process of its own, so that hung threads and planted bugs end with it, and in its time."""

import asyncio
import inspect
import io
import logging
import multiprocessing
import os
import shutil
import signal
import tempfile
import time
import traceback
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Final

from tests.faults.registry import Lane, Row, Trial
from tests.support.processes import kill, tree_of

_MEMORY: Final = Path("/dev/shm")
_PREFIX: Final = "liteio-faults-"
_LOG_LINES: Final = 15
_LINE_MAX: Final = 2000


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of a row: `told` are its figures, or what was wrong."""

    row: Row
    seed: int
    is_full: bool
    has_held: bool
    seconds: float
    told: str


class Running:
    """A row under way. Whoever started it ends it."""

    def __init__(self, row: Row, seed: int, *, is_full: bool) -> None:
        self.row, self._seed, self._is_full = row, seed, is_full
        self._began = time.monotonic()
        self._folders = ExitStack()
        folder, disk = self._folders.enter_context(_folders())
        trial = Trial(row.count(is_full=is_full), seed, is_full, folder, disk)
        self.answer, theirs = multiprocessing.Pipe(duplex=False)
        self._process = multiprocessing.get_context("fork").Process(target=_run_apart, args=(row, trial, theirs))
        self._process.start()
        theirs.close()

    @property
    def seconds_left(self) -> float:
        """0 when it should be over."""
        return max(0.0, self._began + self.row.seconds_max(is_full=self._is_full) - time.monotonic())

    def seen(self) -> Seen:
        """What came of it: once `answer` can be read, or no time is left."""
        has_held, told = _hear(self.answer) or (
            False,
            f"not over after {self.row.seconds_max(is_full=self._is_full):.0f} s",
        )
        return Seen(self.row, self._seed, self._is_full, has_held, time.monotonic() - self._began, told)

    def end(self) -> None:
        """Its process and all below it, and its folders."""
        _end(self._process.pid)
        self._process.join()
        self.answer.close()
        self._folders.close()


def run_row(row: Row, seed: int, *, is_full: bool) -> Seen:
    """Run it to its end. Nothing is raised for what it finds."""
    [seen] = run_rows([row], seed, is_full=is_full)
    return seen


def run_rows(rows: Sequence[Row], seed: int, *, is_full: bool, at_once: int = 1) -> Generator[Seen]:
    """Run them all, and tell of each when it ends. `at_once`: how many may run side by side, of different lanes; then
    those that run alone come first. Close it to end what runs."""
    waiting = sorted(rows, key=lambda row: row.lane is not Lane.ALONE) if at_once > 1 else list(rows)
    running: list[Running] = []
    try:
        while waiting or running:
            while (row := _next(waiting, running, at_once)) is not None:
                waiting.remove(row)
                running.append(Running(row, seed, is_full=is_full))
            wait([one.answer for one in running], min(one.seconds_left for one in running))
            for one in [one for one in running if one.answer.poll() or not one.seconds_left]:
                seen = one.seen()
                running.remove(one)
                one.end()
                yield seen
    finally:
        for one in running:
            one.end()


def _next(waiting: Sequence[Row], running: Sequence[Running], at_once: int) -> Row | None:
    """Which row may begin now."""
    lanes = {one.row.lane for one in running}
    if len(running) >= at_once or Lane.ALONE in lanes:
        return None
    return next((row for row in waiting if row.lane not in lanes and not (row.lane is Lane.ALONE and lanes)), None)


def run_here(row: Row, trial: Trial) -> str:
    """In this process. Raises what the row raises."""
    told = row.program(trial)
    if isinstance(told, str):
        return told
    assert inspect.iscoroutine(told)
    return str(asyncio.run(told))


def _run_apart(row: Row, trial: Trial, answer: Connection) -> None:
    os.setsid()
    said = io.StringIO()  # what the drives and the store log of their troubles, of interest when the row does not hold
    logging.basicConfig(stream=said, level=logging.WARNING, force=True)
    try:
        answer.send((True, run_here(row, trial)))
    except BaseException:
        lines = [*said.getvalue().splitlines()[-_LOG_LINES:], *traceback.format_exc().splitlines()]
        answer.send((False, "\n".join(line[:_LINE_MAX] for line in lines)))
    # Threads that hang in a fault are left where they are.
    answer.close()
    os._exit(0)


def _hear(answer: Connection) -> tuple[bool, str] | None:
    """None when it has said nothing."""
    try:
        if not answer.poll():
            return None
        has_held, text = answer.recv()
        return bool(has_held), str(text)
    except EOFError:
        return False, "the process ended without a word"


def _end(root: int | None) -> None:
    """The row's process and all below it, servers that lead sessions of their own too."""
    assert root is not None
    for process in reversed(tree_of(root)):
        kill(process)
    try:
        os.killpg(root, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended, and left nobody behind


@contextmanager
def _folders() -> Iterator[tuple[Path, Path]]:
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_MEMORY if _MEMORY.is_dir() else None))
    disk = Path(tempfile.mkdtemp(prefix=_PREFIX))
    try:
        yield folder, disk
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(disk, ignore_errors=True)
