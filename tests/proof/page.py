"""docs/proof.md: what was run, where, and what came of it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

from tests.proof.sections import Section

_LINES_MAX = 60  # of one section


@dataclass(frozen=True, slots=True)
class Outcome:
    """`exit_code` 0 is success."""

    section: Section
    exit_code: int
    seconds: float
    output: str

    @property
    def verdict(self) -> str:
        return "passed" if self.exit_code == 0 else f"FAILED (exit code {self.exit_code})"


def render(date: str, facts: Iterable[tuple[str, str]], outcomes: list[Outcome], hidden: Iterable[str]) -> str:
    """The page. `hidden` are texts, such as folders of this machine, that are replaced by `…`."""
    lines = [
        "# Proof",
        "",
        f"Written by `make proof` on {date} (UTC). Every section can be run again alone, by its command.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {what} | {fact} |" for what, fact in facts),
        "",
        "| Section | Outcome | Took |",
        "|---|---|---|",
        *(f"| {one.section.title} | {one.verdict} | {_duration(one.seconds)} |" for one in outcomes),
    ]
    for one in outcomes:
        lines += ["", f"## {one.section.title}", "", one.section.claim, "", f"`{one.section.command}`", ""]
        lines += [f"**{one.verdict}**", "", "```", *told(one, hidden), "```"]
    return "\n".join(lines) + "\n"


def told(outcome: Outcome, hidden: Iterable[str]) -> list[str]:
    """The lines that are the result; of a failure the last ones as well."""
    lines = [line.rstrip() for line in outcome.output.splitlines()]
    shown = [line for line in lines if line and re.search(outcome.section.told, line)]
    if outcome.exit_code != 0:
        shown = [*shown, "…", *lines[-20:]]
    for text in hidden:
        shown = [line.replace(text, "…") for line in shown]
    return [line[:300] for line in shown[-_LINES_MAX:]]


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
