"""Running one row: in a process of its own, so that hung threads and planted bugs end with it, and within its time."""

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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Final

from tests.faults.registry import Row, Trial
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


def run_row(row: Row, seed: int, *, is_full: bool) -> Seen:
    """Run it to its end. Nothing is raised for what it finds."""
    ours, theirs = multiprocessing.Pipe(duplex=False)
    began = time.monotonic()
    with _folders() as (folder, disk):
        trial = Trial(row.count(is_full=is_full), seed, is_full, folder, disk)
        process = multiprocessing.get_context("fork").Process(target=_run_apart, args=(row, trial, theirs))
        process.start()
        theirs.close()
        try:
            told = _hear(ours, row.seconds_max(is_full=is_full))
        finally:
            _end(process.pid)
            process.join()
    has_held, text = told if told is not None else (False, f"not over after {row.seconds_max(is_full=is_full):.0f} s")
    return Seen(row, seed, is_full, has_held, time.monotonic() - began, text)


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


def _hear(answers: Connection, seconds: float) -> tuple[bool, str] | None:
    try:
        if not answers.poll(seconds):
            return None
        has_held, text = answers.recv()
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
