"""The simulation in CI: 300 seeds, in chunks; and that a seed replays."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.sim.scenario import run_seed

ROOT = Path(__file__).parents[2]
SEEDS = 300
CHUNK = 75
LINES_MAX = 100_000
_HELD = ("put", "delete", "get", "list", "complete", "abort", "tag", "create")


def run_seeds(first: int, count: int, lines: int) -> subprocess.CompletedProcess[str]:
    """The runner in processes of its own: hashes are fixed there, and two seeds run at a time."""
    jobs = str(min(2, os.cpu_count() or 1))
    command = [sys.executable, "-m", "tests.sim.run", "--seed", str(first), "--count", str(count), "--jobs", jobs]
    return subprocess.run([*command, "--lines", str(lines)], cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("first", range(1, SEEDS, CHUNK))
@pytest.mark.timeout(600)
def test_the_store_keeps_its_promises(first: int, request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--sim-seed") is not None:
        pytest.skip("one seed was asked for")
    ran = run_seeds(first, CHUNK, 150)
    print(ran.stdout[-200_000:])
    assert ran.returncode == 0, f"replay a seed with `pytest tests/sim --sim-seed N`:\n{ran.stdout}{ran.stderr}"
    assert f"{CHUNK} seeds" in ran.stdout
    for what in _HELD:  # A run in which nothing succeeds proves nothing.
        asked, unknown = _count(ran.stdout, what), _count(ran.stdout, f"{what}: unknown")
        assert asked - unknown >= CHUNK // 15, f"{what}: {unknown} of {asked} have no known outcome"


def _count(printed: str, what: str) -> int:
    found = re.search(f"'{what}': ([0-9]+)", printed)
    return int(found[1]) if found else 0


@pytest.mark.timeout(600)
def test_the_seed_asked_for(request: pytest.FixtureRequest) -> None:
    seed = request.config.getoption("--sim-seed")
    if seed is None:
        pytest.skip("asked for with --sim-seed N")
    ran = run_seeds(seed, 1, LINES_MAX)
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_a_seed_replays_and_seeds_differ() -> None:
    seeds = (1, 2, 3)
    hashes = [run_seed(seed).trace_hash for seed in seeds]
    assert hashes == [run_seed(seed).trace_hash for seed in seeds]
    assert len(set(hashes)) == len(seeds)


def test_a_seed_replays_in_another_process() -> None:
    code = "from tests.sim.scenario import run_seed; print(run_seed(5).trace_hash)"
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    runs = [
        subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
        )
        for _ in range(2)
    ]
    assert runs[0].stdout == runs[1].stdout != ""
