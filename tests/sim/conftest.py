"""Lets the modules of the simulation be imported as `tests.sim.…`, in the tests as by `python -m tests.sim.run`."""

import sys
from pathlib import Path

import pytest

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--sim-seed", type=int, help="run this seed alone, and show the whole trace when it fails")
