"""Every row of the fault matrix, as much of it as a change can wait for. LITEIO_SEED=n repeats a run's choices."""

import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest
from tests.faults.page import keeps_earlier, render, text_of, title_of
from tests.faults.registry import Lane, Program, Row, Trial, all_rows
from tests.faults.running import Seen, run_row, run_rows
from tests.proof.page import texts_of
from tests.support import server
from tests.support.paths import REPOSITORY

SEED = int(os.environ.get("LITEIO_SEED") or int.from_bytes(os.urandom(3)))
AT_ONCE = min(2, os.cpu_count() or 1)


class Matrix:
    """The rows that are asked for, run by one process, whose hashes are fixed: two at a time where they may."""

    def __init__(self, numbers: list[int]) -> None:
        rows = ",".join(map(str, numbers))
        command = [sys.executable, "-m", "tests.faults", "--rows", rows, "--seed", str(SEED), "--no-page", "--json"]
        command += ["--at-once", str(AT_ONCE)]
        self._process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        self._told: dict[int, dict[str, Any]] = {}

    def told(self, number: int) -> dict[str, Any]:
        """What is known of the row, once it is over."""
        assert self._process.stdout is not None
        while number not in self._told:
            line = self._process.stdout.readline()
            assert line, f"the run ended with {self._process.wait()} before row {number}"
            found = json.loads(line)
            self._told[found["row"]] = found
        return self._told[number]

    def end(self) -> None:
        self._process.terminate()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


@pytest.fixture(scope="module")
def matrix(request: pytest.FixtureRequest) -> Iterator[Matrix]:
    asked = [_parameters(item)["number"] for item in request.session.items if _parameters(item).get("number")]
    made = Matrix(asked)
    yield made
    made.end()


def _parameters(item: pytest.Item) -> dict[str, Any]:
    return dict(item.callspec.params) if isinstance(item, pytest.Function) and hasattr(item, "callspec") else {}


@pytest.mark.parametrize("number", list(all_rows()))
@pytest.mark.timeout(400)
def test_the_row_holds(number: int, matrix: Matrix) -> None:
    seen = matrix.told(number)
    if "left_out" in seen:
        pytest.skip(f"row {number}: {seen['left_out']}")
    print(f"row {number}, LITEIO_SEED={SEED}: {seen['told']} ({seen['seconds']:.1f} s)")
    assert seen["has_held"], f"row {number}, {all_rows()[number].fault}, LITEIO_SEED={SEED}:\n{seen['told']}"


def fails(trial: Trial) -> str:
    raise AssertionError("it was lost")


async def hangs(trial: Trial) -> str:
    import asyncio

    await asyncio.sleep(60)
    return ""


def holds(trial: Trial) -> str:
    (trial.folder / "left").write_text("")
    return f"{trial.count} times, seed {trial.seed}"


def row_of(program: Program, seconds: float = 20.0, *, number: int = 7, lane: Lane = Lane.PROCESS) -> Row:
    return Row(number, "all goes wrong", "by a test", "times", 3, 300, seconds, lambda: "", lane, program)


def test_a_row_that_raises_or_hangs_did_not_hold() -> None:
    seen = run_row(row_of(fails), 5, is_full=False)
    assert (seen.has_held, "it was lost" in seen.told) == (False, True)
    seen = run_row(row_of(hangs, 0.3), 5, is_full=False)
    assert (seen.has_held, seen.told) == (False, "not over after 0 s")


def naps(trial: Trial) -> str:
    began = time.monotonic()
    time.sleep(0.5)
    return f"{began} {time.monotonic()}"


def test_rows_of_two_lanes_run_side_by_side_and_those_that_measure_alone() -> None:
    lanes = [Lane.PROCESS, Lane.CLUSTER, Lane.ALONE, Lane.PROCESS, Lane.CLUSTER, Lane.ALONE]
    rows = [row_of(naps, number=number, lane=lane) for number, lane in enumerate(lanes)]
    seen = list(run_rows(rows, 5, is_full=False, at_once=2))
    assert {one.row.number: one.has_held for one in seen} == dict.fromkeys(range(6), True)
    times = {one.row.number: [float(at) for at in one.told.split()] for one in seen}
    beside = {(a, b) for a in times for b in times if a < b and times[a][0] < times[b][1] and times[b][0] < times[a][1]}
    assert {(0, 1), (3, 4)} <= beside
    assert all({lanes[a], lanes[b]} == {Lane.PROCESS, Lane.CLUSTER} for a, b in beside)


def test_what_runs_is_ended_with_the_run() -> None:
    rows = [row_of(holds), row_of(hangs, number=8, lane=Lane.CLUSTER)]
    with closing(run_rows(rows, 5, is_full=False, at_once=2)) as run:
        assert next(run).row.number == 7
        [hanging] = multiprocessing.active_children()
    assert not hanging.is_alive()


def test_a_port_is_given_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server may be down, and its port free, when another row looks for one."""
    monkeypatch.setattr(server, "_OWN_PORTS", range(29_000, 29_200))
    given = {server.free_port() for _ in range(100)}
    assert len(given) == 100
    monkeypatch.setattr(server, "_OWN_PORTS", [*given, *given])
    with pytest.raises(RuntimeError, match="no free port"):
        server.free_port()


def test_the_page_tells_what_was_seen_and_keeps_what_was_not_run() -> None:
    held = run_row(row_of(holds), 5, is_full=True)
    title = title_of(held.row)
    text = text_of(held, "2026-01-01 10:00", "abc", ())
    assert "**held**, 300 times, in full" in text
    assert "Seen: 300 times, seed 5." in text
    texts = {"1. another": "\nsomething\n", title: text}
    assert texts_of(render(texts)) == texts
    in_part = run_row(row_of(holds), 5, is_full=False)
    assert keeps_earlier(text, in_part)
    assert not keeps_earlier(text_of(in_part, "now", "abc", ()), in_part)
    broken = Seen(held.row, 5, False, False, 1.0, "lost in /home/x")
    assert not keeps_earlier(text, broken)
    told = text_of(broken, "now", "abc", ["/home/x"])
    assert "**DID NOT HOLD**" in told
    assert "lost in …" in told
