"""The page tells figures as they are: errors are marked, goals are judged, what was not measured is called so."""

import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import pytest  # the path comes first
from tests.bench.lines import LINES, QUICK
from tests.bench.measuring import Figure
from tests.bench.page import memory_ratio, ratio_of, render
from tests.bench.peers import Findings
from tests.bench.physical import Limit
from tests.bench.servers import Server
from tests.bench.warp import WarpFigure, warp_runs

PUT, GET = LINES[0], LINES[1]


def figure(rate: float, memory_mib: float = 100.0, errors: dict[str, int] | None = None) -> Figure:
    return Figure(rate, 1.0, 2.0, 0.5, 0.9, 3.0, memory_mib, errors or {})


def findings(ours: list[Figure], theirs: list[Figure]) -> Findings:
    servers = [
        Server(name, title, f"What {title} does.", lambda folder, ports: [], lambda: "version 1")
        for name, title in (("liteio", "liteio"), ("minio", "MinIO"))
    ]
    found = Findings(servers, [PUT, GET], QUICK)
    for name, figures in (("liteio", ours), ("minio", theirs)):
        for number, one in enumerate(figures, 1):
            found.figures[name, PUT.name, number] = one
    return found


def row_of(page: str, section: str, line: str) -> list[str]:
    text = page.partition(f"## {section}")[2].partition("\n## ")[0]
    [row] = [row for row in text.splitlines() if row.startswith(f"| {line} |")]
    return [cell.strip() for cell in row.strip("|").split("|")]


def test_a_ratio_is_of_the_same_rounds_with_its_spread() -> None:
    found = findings([figure(300), figure(900), figure(400)], [figure(100), figure(100), figure(200), figure(1)])
    ratio = ratio_of(found, "liteio", "minio", PUT.name)
    assert ratio is not None
    assert (ratio.median, ratio.lowest, ratio.highest, ratio.has_errors) == (3.0, 2.0, 9.0, False)


def test_a_goal_is_reached_by_the_median_alone() -> None:
    reached = render(findings([figure(300)], [figure(100)]), [], "c")
    assert row_of(reached, "liteio beside MinIO", PUT.name) == [PUT.name, "3.0", "3.00 (3.00-3.00), reached"]
    missed = render(findings([figure(299)], [figure(100)]), [], "c")
    assert row_of(missed, "liteio beside MinIO", PUT.name)[2] == "2.99 (2.99-2.99)"


def test_errors_on_either_side_are_marked_and_reach_no_goal() -> None:
    wrong = {"PUT was answered 503": 12}
    for found in (
        findings([figure(900, errors=wrong)], [figure(100)]),
        findings([figure(900)], [figure(100, errors=wrong)]),
    ):
        page = render(found, [], "c")
        assert row_of(page, "liteio beside MinIO", PUT.name)[2] == "9.00 (9.00-9.00) **with errors**"
        assert "**12 x PUT was answered 503**" in page


def test_what_was_not_measured_is_called_so() -> None:
    page = render(findings([figure(300)], [figure(100)]), [], "c")
    assert row_of(page, "liteio beside MinIO", GET.name)[2] == "not measured"
    assert page.count("| GET 4 KiB | MinIO | not measured |") == 1


def test_memory_is_judged_by_the_highest_peaks() -> None:
    found = findings([figure(1, 50), figure(1, 300)], [figure(1, 200), figure(1, 100)])
    assert memory_ratio(found, "liteio", "minio") == 1.5
    row = row_of(render(found, [], "c"), "liteio beside MinIO", "peak memory (PSS)")
    assert row == ["peak memory (PSS)", "at most 1.0", "1.50"]
    small = render(findings([figure(1, 50)], [figure(1, 100)]), [], "c")
    assert row_of(small, "liteio beside MinIO", "peak memory (PSS)")[2] == "0.50, reached"


def test_the_page_tells_machine_limits_versions_and_what_is_missing() -> None:
    found = findings([figure(300)], [figure(100)])
    found.limits = [Limit("MD5, one core", 650.4, "MiB")]
    found.notes = ["SeaweedFS is not measured: it is not there."]
    found.versions = {"liteio": 10_000, "minio": 1234}
    page = render(found, [("Kernel", "Linux")], "python -m tests.bench peers")
    for text in (
        "| Kernel | Linux |",
        "| MD5, one core | 650 MiB |",
        "- SeaweedFS is not measured: it is not there.",
        "liteio 10,000, MinIO 1,234",
        "- **MinIO** (version 1): What MinIO does.",
        "`python -m tests.bench peers`",
    ):
        assert text in " ".join(page.split()), text
    assert "## With warp" not in page


def test_figures_of_warp_have_a_table_of_their_own() -> None:
    found = findings([figure(300)], [figure(100)])
    name = warp_runs(QUICK)[0].name
    found.warp = {("minio", name, 1): WarpFigure(10.0, 1.0, 2.0, None, None, 0)}
    found.warp["minio", name, 2] = replace(found.warp["minio", name, 1], operations_a_second=30.0, errors=3)
    page = render(found, [], "c")
    assert f"| {name} | MinIO | 20.0 | 1.0 | 2.0 |  |  | **3** |" in page


@pytest.mark.parametrize("count", [1, 3])
def test_text_is_wrapped_and_tables_are_not(count: int) -> None:
    found = findings([figure(300)] * count, [figure(100)] * count)
    found.notes = ["word " * 100]
    assert all(len(line) <= 126 for line in render(found, [], "c").splitlines() if not line.startswith("|"))
