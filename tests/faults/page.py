"""docs/operations/faults.md: every row with what was seen when it was run last."""

from collections.abc import Iterable, Mapping
from textwrap import wrap
from typing import Final

from tests.faults.open_faults import OPEN
from tests.faults.registry import Row
from tests.faults.running import Seen
from tests.proof.page import join_sections, without

_HEAD: Final = """\
# Faults

What was done to the store, and what was seen. Written by `.venv/bin/python -m tests.faults`, which fails when a row
does not hold; `--rows 1,9` runs some, `--full` all of what they can do. A row that was not run again keeps what an
earlier run wrote, and one that held in full keeps that when it holds again in part. Rows are numbered once and for all.
"""
_FULL: Final = "in full"
_WIDTH: Final = 118


def render(texts: Mapping[str, str]) -> str:
    """The page, of the rows' texts by their titles."""
    return join_sections(f"{_HEAD}\n{open_text()}", texts)


def open_text() -> str:
    """What does not hold, or was not tried, for the head of the page."""
    lines = ["Open, and so no part of what the rows below tell:", ""]
    for one in OPEN:
        lines += wrap(f"- Row {one.row}: {one.text}", _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(lines) + "\n"


def title_of(row: Row) -> str:
    return f"{row.number}. {row.fault[0].upper()}{row.fault[1:]}"


def text_of(seen: Seen, date: str, commit: str, hidden: Iterable[str]) -> str:
    """One row. `hidden`: texts that are replaced by `…`."""
    row = seen.row
    count = row.count(is_full=seen.is_full)
    verdict = "held" if seen.has_held else "DID NOT HOLD"
    extent = _FULL if seen.is_full else "in part"
    when = f"seed {seen.seed}, {date} (UTC), commit {commit}"
    lines = [
        "",
        *wrap(f"Done: {row.injection}.", _WIDTH),
        "",
        f"**{verdict}**, {count:,} {row.unit}, {extent}, in {seen.seconds:.0f} s; {when}",
        "",
    ]
    told = without(seen.told.rstrip().splitlines(), hidden)
    lines += wrap(f"Seen: {' '.join(told)}.", _WIDTH) if seen.has_held else ["```", *told[-40:], "```"]
    return "\n".join(lines) + "\n"


def keeps_earlier(earlier: str, seen: Seen) -> bool:
    """Whether what an earlier run wrote says more."""
    return seen.has_held and not seen.is_full and "**held**" in earlier and f", {_FULL}," in earlier
