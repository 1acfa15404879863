"""The rows of the fault matrix: what goes wrong, how it is brought about, and the program that shows what holds then.

A module under tests/faults/rows registers its rows:

    @row(13, "one bit wrong in 1 to M shards", "bits flipped in shard files", unit="flips", bounded=12, full=400)
    async def any_flip_is_mended(trial: Trial) -> str:
        ...                                   # raises, an AssertionError mostly, when what must hold does not
        return f"{trial.count} reads right"   # what was seen

`trial.count` is what it is to do, in the row's unit. A row leaves nothing behind but what is under `trial.folder`.
"""

import importlib
import pkgutil
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from liteio_base.check import check

Program = Callable[["Trial"], str | Awaitable[str]]
_PACKAGE: Final = "tests.faults.rows"


class FaultFound(AssertionError):
    """What must hold under a fault did not."""


def require(is_so: bool, what: object) -> None:
    """Raises FaultFound."""
    if not is_so:
        raise FaultFound(str(what))


@dataclass(frozen=True, slots=True)
class Trial:
    """One run of a row. `folder` is a fresh one, in memory where there is such a place; `disk` lies on a disk."""

    count: int
    seed: int
    is_full: bool
    folder: Path
    disk: Path

    @property
    def chance(self) -> random.Random:
        """A new one from the seed, each time the same."""
        return random.Random(self.seed)


class Lane(StrEnum):
    """What a row may run beside: one of another lane."""

    PROCESS = "process"  # works in one process
    CLUSTER = "cluster"  # starts many, and waits for them much of the time
    ALONE = "alone"  # measures times, or takes the whole machine


@dataclass(frozen=True, slots=True)
class Row:
    """`fault` and `injection` are phrases for the page; `unit` is what `bounded` and `full` count. `needs` tells why it
    can not run here, "" when it can."""

    number: int
    fault: str
    injection: str
    unit: str
    bounded: int
    full: int
    seconds: float  # a row that takes longer than this, bounded, hangs; 30 times that in full
    needs: Callable[[], str]
    lane: Lane
    program: Program

    def count(self, *, is_full: bool) -> int:
        return self.full if is_full else self.bounded

    def seconds_max(self, *, is_full: bool) -> float:
        return self.seconds * (30 if is_full else 1)


_rows: dict[int, Row] = {}


def row(
    number: int,
    fault: str,
    injection: str,
    *,
    unit: str,
    bounded: int,
    full: int,
    seconds: float = 120.0,
    needs: Callable[[], str] = lambda: "",
    lane: Lane = Lane.PROCESS,
) -> Callable[[Program], Program]:
    """Register the function as the row of this number."""

    def register(program: Program) -> Program:
        check(number not in _rows, f"row {number} is there only once")
        _rows[number] = Row(number, fault, injection, unit, bounded, full, seconds, needs, lane, program)
        return program

    return register


def all_rows() -> dict[int, Row]:
    """Every row by its number, in order."""
    package = importlib.import_module(_PACKAGE)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{_PACKAGE}.{module.name}")
    return dict(sorted(_rows.items()))
