"""Row 72: bugs planted on purpose, each of which its row must catch. The product knows nothing of them."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Final
from unittest.mock import patch

from tests.faults.registry import Trial, all_rows, require, row
from tests.faults.running import run_row
from tests.sim.plants import planted
from tests.support.disk import DiskFiles

from liteio_erasure import bitrot
from liteio_objects.repairs import RepairQueue

_SECONDS: Final = 240.0  # a plant asks more of its row than a bounded run does


@dataclass(frozen=True, slots=True)
class Plant:
    """`row` must fail with it; `count` is as much of the row as surely meets it."""

    name: str
    row: int
    count: int
    change: Callable[[], AbstractContextManager[object]]


def _no_folder_sync() -> AbstractContextManager[object]:
    return patch.object(DiskFiles, "sync_folder", lambda self, path: None)


@contextmanager
def _no_hash() -> Iterator[None]:
    """Every block is taken as it comes."""
    original = bitrot.wrong_blocks
    with ExitStack() as changes:
        for module in list(sys.modules.values()):
            if module.__name__.startswith("liteio_") and getattr(module, "wrong_blocks", None) is original:
                changes.enter_context(patch.object(module, "wrong_blocks", lambda *arguments: []))
        yield


def _drops_repairs() -> AbstractContextManager[object]:
    return patch.object(RepairQueue, "add", lambda self, drive_set, name: None)


PLANTS = (
    Plant("folders are not synced", 4, 60, _no_folder_sync),
    Plant("hashes are not compared", 13, 18, _no_hash),
    Plant("acknowledged by W-1 drives", 48, 600, lambda: planted("ack at W-1")),
    Plant("a rollback does not fence", 48, 600, lambda: planted("rollback without fences")),
    Plant("versions are ordered by wall clocks", 42, 200, lambda: planted("order by wall clock")),
    Plant("what needs a repair is forgotten", 22, 1, _drops_repairs),
)


@row(
    72,
    "six planted bugs",
    "each is planted in the store's code, and the row that should catch it is run",
    unit="bugs",
    bounded=6,
    full=6,
    seconds=360,
)
def planted_bugs(trial: Trial) -> str:
    rows = all_rows()
    for plant in PLANTS:
        chosen = replace(rows[plant.row], bounded=plant.count, seconds=_SECONDS)
        with plant.change():
            seen = run_row(chosen, trial.seed, is_full=False)
        require(not seen.has_held, f"{plant.name}: row {plant.row} did not notice it: {seen.told}")
        require("FaultFound" in seen.told, f"{plant.name}: row {plant.row} only broke down: {seen.told}")
    return f"{len(PLANTS)} of {len(PLANTS)} caught: " + "; ".join(f"{one.name} (row {one.row})" for one in PLANTS)
