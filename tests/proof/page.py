"""docs/proof.md: what was run, where, and what came of it."""

import re
from collections.abc import Iterable, Mapping
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


def render(facts: Iterable[tuple[str, str]], texts: Mapping[str, str]) -> str:
    """The page, of the sections' texts by their titles."""
    lines = [
        "# Proof",
        "",
        "Written by `make proof`. Each section can be run alone, too: `.venv/bin/python -m tests.proof --only TITLE`.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {what} | {fact} |" for what, fact in facts),
    ]
    return join_sections("\n".join(lines) + "\n", texts)


def join_sections(head: str, texts: Mapping[str, str]) -> str:
    """A page of sections by their titles."""
    return head + "".join(f"\n## {title}\n{text}" for title, text in texts.items())


def texts_of(page: str) -> dict[str, str]:
    """The sections of a page that `join_sections` made, by their titles."""
    return {
        title: text.rstrip("\n") + "\n" for title, _, text in (each.partition("\n") for each in page.split("\n## ")[1:])
    }


def text_of(outcome: Outcome, date: str, commit: str, hidden: Iterable[str]) -> str:
    """One section. `hidden` are texts, such as folders of this machine, that are replaced by `…`."""
    section = outcome.section
    lines = ["", section.claim, "", f"`{section.command}`", ""]
    lines += [f"**{outcome.verdict}** in {_duration(outcome.seconds)}, on {date} (UTC), commit {commit}", ""]
    return "\n".join([*lines, "```", *told(outcome, hidden), "```"]) + "\n"


def told(outcome: Outcome, hidden: Iterable[str]) -> list[str]:
    """The lines that are the result; of a failure the last ones as well."""
    lines = [line.rstrip() for line in outcome.output.splitlines()]
    shown = [line for line in lines if line and re.search(outcome.section.told, line)]
    if outcome.exit_code != 0:
        shown = [*shown, "…", *lines[-20:]]
    return without(shown[-_LINES_MAX:], hidden)


def without(lines: Iterable[str], hidden: Iterable[str]) -> list[str]:
    """The lines, not too long, with `…` in place of each hidden text."""
    shown = list(lines)
    for text in hidden:
        shown = [line.replace(text, "…") for line in shown]
    return [line[:300] for line in shown]


def _duration(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 120 else f"{seconds:.0f} s"
