"""What warp prints is understood in both of its shapes, and what is not understood is told."""

import json
import stat
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import pytest  # the path comes first
from tests.bench.lines import QUICK
from tests.bench.warp import WarpFailed, WarpFigure, WarpRun, figure_of, run_warp, warp_runs

THROUGHPUT = {"ops": 3000, "measure_duration_millis": 1500, "errors": 0, "objects": 3000.0, "bytes": 1.0}
FIRST_BYTE = {"median_millis": 3, "p99_millis": 9}
SINGLE = {"requests": 10, "dur_median_millis": 5, "dur_99_millis": 20, "first_byte": FIRST_BYTE}

OLD: dict[str, Any] = {
    "type": "single",
    "operations": [
        {"type": "PUT", "errors": 0, "throughput": {**THROUGHPUT, "ops": 1}, "single_sized_requests": None},
        {"type": "GET", "errors": 4, "throughput": THROUGHPUT, "single_sized_requests": SINGLE},
    ],
}
OLD_MIXED = {"type": "mixed", "operations": [], "mixed_server_stats": {**THROUGHPUT, "errors": 2}}

LATER = {**SINGLE, "requests": 30, "dur_median_millis": 9, "first_byte": {"median_millis": 7, "p99_millis": 13}}
PART = {
    "total_errors": 4,
    "throughput": THROUGHPUT,
    "requests_by_client": {"c1": [{"single_sized_requests": SINGLE}, {"single_sized_requests": LATER}]},
}
NEW = {"v": 2, "total": {**PART, "total_errors": 2}, "by_op_type": {"GET": PART, "PUT": {**PART, "total_errors": 0}}}


def test_the_shape_before_1_0_gives_the_operation_that_was_asked_for() -> None:
    assert figure_of(f"warp: preparing\n{json.dumps(OLD)}\ndone", "GET") == WarpFigure(2000.0, 5, 20, 3, 9, 4)


def test_the_shape_of_1_0_weighs_its_segments_by_their_requests() -> None:
    assert figure_of(json.dumps(NEW), "GET") == WarpFigure(2000.0, 8, 20, 6, 12, 4)


@pytest.mark.parametrize("told", [OLD_MIXED, NEW], ids=["before 1.0", "1.0"])
def test_a_mixture_has_a_rate_and_errors_and_no_one_time(told: dict[str, Any]) -> None:
    assert figure_of(json.dumps(told), "") == WarpFigure(2000.0, None, None, None, None, 2)


@pytest.mark.parametrize(
    "printed", ["", "no JSON", "{}", json.dumps({"operations": []}), json.dumps({"by_op_type": {}}), "{broken}"]
)
def test_what_is_not_understood_is_told_with_what_was_printed(printed: str) -> None:
    with pytest.raises(WarpFailed, match="not understood") as told:
        figure_of(printed, "GET")
    assert str(told.value).endswith(printed)


def program(folder: Path, script: str) -> str:
    path = folder / "warp"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_warp_is_run_with_the_clients_the_time_and_the_server(tmp_path: Path) -> None:
    (tmp_path / "told.json").write_text(json.dumps(NEW))
    warp = program(tmp_path, f'echo "$@" > {tmp_path}/arguments; cat {tmp_path}/told.json')
    figure = run_warp(warp, WarpRun("x", ("get", "--obj.size", "4KiB"), "GET"), 9123, QUICK, tmp_path)
    assert figure.errors == 4
    arguments = (tmp_path / "arguments").read_text()
    assert arguments.startswith("get --obj.size 4KiB --json")
    assert "--host 127.0.0.1:9123 " in arguments
    assert "--concurrent 20 --duration 2s" in arguments


def test_a_warp_that_fails_is_told_with_what_it_said(tmp_path: Path) -> None:
    warp = program(tmp_path, "echo no such flag >&2; exit 3")
    with pytest.raises(WarpFailed, match="exit code 3: no such flag"):
        run_warp(warp, warp_runs(QUICK)[0], 9123, QUICK, tmp_path)
