"""MinIO's load generator `warp`, run against one server, and the figures of what it prints with `--json`.

Two shapes are known: that of releases before 1.0 ("operations", a list) and that of 1.0 and later ("by_op_type", where
request times are kept by client and by segment of time). Source: warp's pkg/aggregate, `Aggregated` and `Realtime`.
"""

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.credentials import ACCESS_KEY, SECRET_KEY
from tests.bench.lines import Scale
from tests.bench.load import DELETED_TOGETHER

_OVERTIME_SECONDS: Final = 300.0  # it prepares objects first, and clears its bucket after


class WarpFailed(Exception):
    """It ended badly, or printed nothing that is understood. The text ends with what it said."""


@dataclass(frozen=True, slots=True)
class WarpRun:
    """`operation` is what is counted of a command's operations: those of its preparation are not."""

    name: str
    command: tuple[str, ...]
    operation: str


@dataclass(frozen=True, slots=True)
class WarpFigure:
    """Times are in milliseconds; None where warp gives none: first bytes are of reads, and mixed has no one time."""

    operations_a_second: float
    p50_ms: float | None
    p99_ms: float | None
    first_byte_p50_ms: float | None
    first_byte_p99_ms: float | None
    errors: int


def warp_runs(scale: Scale) -> tuple[WarpRun, ...]:
    small = ("--obj.size", "4KiB")
    objects = ("--objects", str(scale.small_keys))
    return (
        WarpRun("warp put 4 KiB", ("put", *small), "PUT"),
        WarpRun("warp get 4 KiB", ("get", *small, *objects), "GET"),
        WarpRun("warp stat 4 KiB", ("stat", *small, *objects), "STAT"),
        WarpRun("warp list", ("list", *small, *objects), "LIST"),
        WarpRun(
            "warp delete 4 KiB", ("delete", *small, "--objects", str(scale.small_keys * 4), "--batch", "1"), "DELETE"
        ),
        WarpRun(
            f"warp delete 4 KiB, {DELETED_TOGETHER} keys a request",
            ("delete", *small, "--batch", str(DELETED_TOGETHER)),
            "DELETE",
        ),
        WarpRun("warp mixed 4 KiB", ("mixed", *small, *objects), ""),
        WarpRun("warp multipart 8 x 8 MiB", ("multipart", "--parts", "8", "--part.size", "8MiB"), "GET"),
        WarpRun("warp versioned 4 KiB", ("versioned", *small, *objects), ""),
    )


def run_warp(program: str, run: WarpRun, port: int, scale: Scale, folder: Path) -> WarpFigure:
    """Raises WarpFailed."""
    command = [program, *run.command, "--json", "--no-color", "--host", f"127.0.0.1:{port}"]
    command += ["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY, "--concurrent", str(scale.clients)]
    command += ["--duration", f"{scale.seconds:g}s", "--benchdata", str(folder / "warp")]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=scale.seconds + _OVERTIME_SECONDS
        )
    except subprocess.TimeoutExpired as expired:
        raise WarpFailed(f"it did not end within {expired.timeout:.0f} s") from None
    if done.returncode != 0:
        raise WarpFailed(f"exit code {done.returncode}: {(done.stderr or done.stdout).strip()[-500:]}")
    return figure_of(done.stdout, run.operation)


def figure_of(printed: str, operation: str) -> WarpFigure:
    """Of one operation, or of all together when it is "". Words may stand around the JSON. Raises WarpFailed."""
    start, end = printed.find("{"), printed.rfind("}")
    try:
        told = json.loads(printed[start : end + 1])
        return _figure(told, operation)
    except (ValueError, KeyError, TypeError, AttributeError, ZeroDivisionError, StopIteration) as trouble:
        detail = f"{type(trouble).__name__}: {trouble}"
        raise WarpFailed(f"what it printed is not understood ({detail}): {printed.strip()[-500:]}") from None


def _figure(told: Mapping[str, Any], operation: str) -> WarpFigure:
    if "by_op_type" in told:
        part = told["by_op_type"][operation] if operation else told["total"]
        requests = [segment for client in (part["requests_by_client"] or {}).values() for segment in client]
        singles = [one["single_sized_requests"] for one in requests if one.get("single_sized_requests")]
        errors = part["total_errors"]
    elif operation:
        part = next(one for one in told["operations"] if one["type"] == operation)
        singles = [one for one in [part.get("single_sized_requests")] if one]
        errors = part["errors"]
    else:
        part, singles = {"throughput": told["mixed_server_stats"]}, []
        errors = told["mixed_server_stats"]["errors"]
    throughput = part["throughput"]
    if not operation:
        singles = []  # the times of different operations have no common middle
    return WarpFigure(
        operations_a_second=throughput["ops"] / throughput["measure_duration_millis"] * 1000,
        p50_ms=_weighted(singles, "dur_median_millis"),
        p99_ms=_weighted(singles, "dur_99_millis"),
        first_byte_p50_ms=_weighted(list(_first_bytes(singles)), "median_millis"),
        first_byte_p99_ms=_weighted(list(_first_bytes(singles)), "p99_millis"),
        errors=errors,
    )


def _first_bytes(singles: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for one in singles:
        if one.get("first_byte"):
            yield {**one["first_byte"], "requests": one["requests"]}


def _weighted(parts: list[dict[str, Any]], name: str) -> float | None:
    """The mean over segments, each weighed by its requests: warp's own way to tell one figure of several segments."""
    weights = sum(part["requests"] for part in parts)
    return sum(part[name] * part["requests"] for part in parts) / weights if weights else None
