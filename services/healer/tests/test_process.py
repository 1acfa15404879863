"""The healer as a process: it starts over folders, stops in order, and refuses what it can not use."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from liteio_healer.settings import CONFIG_VARIABLE


def start(config: dict[str, object]) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        (sys.executable, "-m", "liteio_healer"),
        env=os.environ | {CONFIG_VARIABLE: json.dumps(config)},
        stderr=subprocess.PIPE,
        text=True,
    )


@contextmanager
def stopping(process: "subprocess.Popen[str]") -> Iterator[None]:
    """Leave nothing running behind a test that failed."""
    try:
        yield
    finally:
        process.kill()


@pytest.fixture
def drives(tmp_path: Path) -> list[str]:
    folders = [tmp_path / f"d{number}" for number in range(1, 5)]
    for folder in folders:
        folder.mkdir()
    return [str(folder) for folder in folders]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_stops_in_order(drives: list[str], number: signal.Signals) -> None:
    with start({"drives": drives}) as healer, stopping(healer):
        deadline = time.monotonic() + 20
        while not all((Path(drive) / ".liteio.sys" / "index.db").exists() for drive in drives):
            assert healer.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        time.sleep(0.5)  # the loops have begun
        healer.send_signal(number)
        _, said = healer.communicate(timeout=20)
    assert healer.returncode == 0, said
    assert "Traceback" not in said


@pytest.mark.parametrize(("change", "said"), [({"secret": 1}, "secret"), ({}, "format.json")])
def test_what_it_can_not_use_ends_it_with_code_2(drives: list[str], change: dict[str, object], said: str) -> None:
    for drive in drives:
        folder = Path(drive) / ".liteio.sys"
        folder.mkdir()
        (folder / "format.json").write_text("of another program")
    with start({"drives": drives, **change}) as healer, stopping(healer):
        _, lines = healer.communicate(timeout=20)
    assert healer.returncode == 2, lines
    assert "liteio healer:" in lines
    assert said in lines
