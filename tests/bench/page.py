"""docs/benchmarks.md: liteio beside its peers, with what each does for a write and what the machine can do at most."""

import statistics
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from tests.bench.lines import LISTED_BYTES, MEMORY_GOAL, Line
from tests.bench.load import DELETED_TOGETHER
from tests.bench.measuring import Figure
from tests.bench.peers import Findings
from tests.bench.servers import Server
from tests.bench.warp import WarpFigure, warp_runs

BASES: Final = ("minio", "seaweedfs", "liteio-previous")
_WIDTH: Final = 126


@dataclass(frozen=True, slots=True)
class Ratio:
    """Of operations a second, over the rounds that both were measured in. None of it counts when there were errors."""

    median: float
    lowest: float
    highest: float
    has_errors: bool

    def __str__(self) -> str:
        spread = f"{self.median:.2f} ({self.lowest:.2f}-{self.highest:.2f})"
        return f"{spread} **with errors**" if self.has_errors else spread


def ratio_of(found: Findings, server: str, base: str, line: str) -> Ratio | None:
    """None when they have no round in common."""
    ours, theirs = found.rounds_of(server, line), found.rounds_of(base, line)
    rounds = [number for number in ours if number in theirs and theirs[number].operations_a_second > 0]
    if not rounds:
        return None
    ratios = [ours[number].operations_a_second / theirs[number].operations_a_second for number in rounds]
    has_errors = any(ours[number].errors or theirs[number].errors for number in rounds)
    return Ratio(statistics.median(ratios), min(ratios), max(ratios), has_errors)


def memory_ratio(found: Findings, server: str, base: str) -> float | None:
    """Of the highest peaks over all lines and rounds."""
    peaks = [
        max((one.memory_mib for (of, _, _), one in found.figures.items() if of == name), default=0.0)
        for name in (server, base)
    ]
    return peaks[0] / peaks[1] if all(peaks) else None


def render(found: Findings, facts: Iterable[tuple[str, str]], command: str) -> str:
    """The whole page. `facts` are of the machine and the run."""
    parts = [
        "# Benchmarks",
        _head(command),
        _table(("", ""), facts),
        *(f"## liteio beside {server.title}\n\n{_ratios(found, server)}" for server in _bases(found)),
        "## What each line is\n\n" + _loads(found),
        "## All figures\n\n" + _all_figures(found),
        "## With warp\n\n" + _warp(found) if found.warp else "",
        "## What this machine can do at most\n\n" + _limits(found),
        "## What each server does\n\n" + _servers(found),
        "## What to know of this run\n\n" + _wrapped(*(f"- {note}" for note in found.notes)) if found.notes else "",
    ]
    return "\n\n".join(part.strip() for part in parts if part) + "\n"


def _head(command: str) -> str:
    return _wrapped(
        f"Written by `{command}`. Each server was started on folders of its own on one disk, one server at a time, "
        "filled once, and measured in rounds, in alternation, started anew for each. Nothing is pinned; load and "
        "server share the machine's processors. A figure is the median of the rounds; a ratio is the median of the "
        "rounds' ratios, with the lowest and the highest. A line in whose load something went wrong is marked."
    )


def _ratios(found: Findings, base: Server) -> str:
    """Operations a second of each liteio as times the base's, with the goal where there is one."""
    ours = [server for server in found.servers if server.name.startswith("liteio") and server.name != base.name]
    has_goal = base.name == "minio"
    head = ["load", *(["goal"] if has_goal else []), *(server.title for server in ours)]
    rows = []
    for line in found.lines:
        ratios = [ratio_of(found, server.name, base.name, line.name) for server in ours]
        cells = [_told_ratio(ratio, line.goal if has_goal else None) for ratio in ratios]
        rows.append([line.name, *([f"{line.goal:.1f}"] if has_goal else []), *cells])
    memory = [memory_ratio(found, server.name, base.name) for server in ours]
    cells = [_told_memory(ratio, MEMORY_GOAL if has_goal else None) for ratio in memory]
    rows.append(["peak memory (PSS)", *([f"at most {MEMORY_GOAL:.1f}"] if has_goal else []), *cells])
    return _table(head, rows)


def _told_ratio(ratio: Ratio | None, goal: float | None) -> str:
    if ratio is None:
        return "not measured"
    is_reached = goal is not None and ratio.median >= goal and not ratio.has_errors
    return f"{ratio}{', reached' if is_reached else ''}"


def _told_memory(ratio: float | None, goal: float | None) -> str:
    if ratio is None:
        return "not measured"
    return f"{ratio:.2f}{', reached' if goal is not None and ratio <= goal else ''}"


def _loads(found: Findings) -> str:
    scale = found.scale
    versions = ", ".join(f"{server.title} {found.versions.get(server.name, 0):,}" for server in found.servers)
    return _wrapped(
        f"{scale.clients} clients in two processes, each on a connection of its own, for {scale.seconds:g} s a line; "
        f"{scale.large_clients} clients where objects are of 64 MiB. Signature Version 4, bodies unsigned.",
        "",
        f"- GET, STAT: {scale.small_keys:,} objects, in turn. PUT: new keys, which DELETE then deletes.",
        f"- DELETE of {DELETED_TOGETHER} keys a request, which is what warp measures unless told otherwise: a "
        "second, p50 and p99 are those of requests.",
        "- mixed: 45 % GET, 30 % STAT, 15 % PUT, 10 % DELETE, as warp mixes them.",
        f"- LIST: {scale.listed_keys:,} keys of {LISTED_BYTES} bytes in a bucket; each client walks it page by page.",
        f"- versioned PUT: all clients to one key. {scale.versions:,} versions are put before, or as many as "
        f"{scale.fill_seconds:g} s give; when measuring began there were: {versions}.",
        f"- 1 MiB: PUT over {scale.medium_keys} objects, GET of them. 64 MiB: PUT over {scale.large_keys} objects, in "
        "parts of 8 MiB one after the other, GET of them. What is read was just written, and may be in the page cache.",
    )


def _all_figures(found: Findings) -> str:
    head = (
        "load",
        "server",
        "per second",
        "p50 ms",
        "p99 ms",
        "first byte p50",
        "p99",
        "CPU ms each",
        "PSS MiB",
        "errors",
    )
    rows = [
        _row(line, server, list(found.rounds_of(server.name, line.name).values()))
        for line in found.lines
        for server in found.servers
    ]
    return _table(head, rows)


def _row(line: Line, server: Server, figures: Sequence[Figure]) -> list[str]:
    if not figures:
        return [line.name, server.title, "not measured", *[""] * 7]

    def middle(name: str) -> float:
        return float(statistics.median(getattr(one, name) for one in figures))

    times = [f"{middle(name):.2f}" for name in ("p50_ms", "p99_ms", "first_byte_p50_ms", "first_byte_p99_ms", "cpu_ms")]
    return [
        line.name,
        server.title,
        f"{middle('operations_a_second'):,.1f}",
        *times,
        f"{middle('memory_mib'):.0f}",
        told_errors(figures),
    ]


def told_errors(figures: Iterable[Figure]) -> str:
    """All rounds' together, by what came; nothing when there were none."""
    total: dict[str, int] = {}
    for figure in figures:
        for what, count in figure.errors.items():
            total[what] = total.get(what, 0) + count
    return "; ".join(f"**{count:,} x {what}**" for what, count in sorted(total.items()))


def _warp(found: Findings) -> str:
    head = ("load", "server", "per second", "p50 ms", "p99 ms", "first byte p50", "p99", "errors")
    rows = []
    for run in warp_runs(found.scale):
        for server in found.servers:
            figures = [one for (of, what, _), one in found.warp.items() if (of, what) == (server.name, run.name)]
            if figures:
                rows.append([run.name, server.title, *_warp_cells(figures)])
    return _table(head, rows)


def _warp_cells(figures: Sequence[WarpFigure]) -> Iterator[str]:
    for name in ("operations_a_second", "p50_ms", "p99_ms", "first_byte_p50_ms", "first_byte_p99_ms"):
        values = [getattr(one, name) for one in figures if getattr(one, name) is not None]
        yield f"{statistics.median(values):,.1f}" if values else ""
    errors = sum(one.errors for one in figures)
    yield f"**{errors:,}**" if errors else ""


def _limits(found: Findings) -> str:
    return _table(("alone", "a second"), ([one.name, f"{one.figure:,.0f} {one.unit}".strip()] for one in found.limits))


def _servers(found: Findings) -> str:
    return _wrapped(*(f"- **{server.title}** ({server.version()}): {server.does}" for server in found.servers))


def _bases(found: Findings) -> list[Server]:
    return [server for name in BASES for server in found.servers if server.name == name]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cell for cell in line)} |" for line in lines)


def _wrapped(*paragraphs: str) -> str:
    return "\n".join(
        textwrap.fill(each, _WIDTH, subsequent_indent="  " * each.startswith("- "), break_on_hyphens=False)
        for each in paragraphs
    )
