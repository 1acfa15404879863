"""A lock service that answers wrongly loses nothing: the drives' compare-and-set decides, and without it much is lost.

The seeds of `make sim` have honest locks, locks that everybody has at once, and erratic ones, a third each: the store
keeps its promises with all of them. Here is shown that it is the compare-and-set which does it.
"""

from collections.abc import Iterator
from itertools import count, islice

import pytest
from tests.sim.plants import planted
from tests.sim.recorder import Violation
from tests.sim.scenario import run_seed
from tests.sim.world import Draw, Shape

SEEDS_MAX = 60  # within which the planted bug must show


def erratic_seeds() -> Iterator[int]:
    """Seeds in whose world the locks are erratic."""
    return (seed for seed in count(1) if Shape.draw(Draw(seed).fork("world")).locks == "erratic")


def test_a_third_of_all_seeds_has_each_kind_of_locks() -> None:
    kinds = [Shape.draw(Draw(seed).fork("world")).locks for seed in range(1, 301)]
    for kind in ("honest", "lying", "erratic"):
        assert 60 < kinds.count(kind) < 140


@pytest.mark.timeout(900)
def test_without_the_compare_and_set_erratic_locks_lose_something() -> None:
    with planted("compare-and-set skipped") as drive_class:
        for seed in islice(erratic_seeds(), SEEDS_MAX):
            try:
                run_seed(seed, drive_class)
            except Violation:
                print(f"caught by seed {seed}")
                return
    raise AssertionError(f"not caught by {SEEDS_MAX} seeds")
