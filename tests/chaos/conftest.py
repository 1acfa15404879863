"""Breaks real servers. LITEIO_PROOF=1 runs the full numbers; LITEIO_SEED=n repeats the operations of a run."""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import pytest  # the path comes first


@pytest.fixture
def seed() -> int:
    """Of the operations; printed, so that a failure can be repeated."""
    chosen = int(os.environ.get("LITEIO_SEED") or int.from_bytes(os.urandom(3)))
    print(f"LITEIO_SEED={chosen}")
    return chosen


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    for one in terminalreporter.stats.get("skipped", []):
        terminalreporter.write_line(f"skipped: {one.nodeid}: {one.longrepr}")
