"""Each planted bug is caught, within a bounded number of seeds."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.sim.plants import PLANTS, planted
from tests.sim.sim_drive import SimDrive

ROOT = Path(__file__).parents[2]
SEEDS_MAX = 400


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.timeout(900)
def test_a_planted_bug_is_caught(plant: str) -> None:
    command = [sys.executable, "-m", "tests.sim.run", "--count", str(SEEDS_MAX), "--plant", plant, "--stop"]
    ran = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONHASHSEED": "0"}, capture_output=True, text=True, check=False
    )
    caught = re.search(r"^(\d+) seeds in .*, 1 failed", ran.stdout, re.MULTILINE)
    assert caught is not None, f"{plant} was not caught by {SEEDS_MAX} seeds\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}"
    assert "Violation" in ran.stdout, ran.stdout[-5000:]  # by a check, not because the plant broke the program
    print(f"{plant}: caught by seed {caught[1]}")


def test_a_plant_leaves_nothing_behind() -> None:
    from liteio_objects.settling import Settler

    before = Settler._fence
    with planted("rollback without fences") as drive_class:
        assert Settler._fence is not before
        assert drive_class is SimDrive
    assert Settler._fence is before


def test_an_unknown_plant_is_refused() -> None:
    with pytest.raises(ValueError, match="no such plant"), planted("nothing of the kind"):
        pass
