"""What each client did, for docs/s3-compatibility.md."""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.paths import REPOSITORY

PAGE: Final = REPOSITORY / "docs" / "s3-compatibility.md"
BEGIN: Final = "<!-- clients: written by make proof -->"
END: Final = "<!-- end of clients -->"


@dataclass
class Uses:
    """By client: its version, and by scheme what it did. Filled by tests that passed up to there."""

    versions: dict[str, str] = field(default_factory=dict)
    works: dict[tuple[str, str], list[str]] = field(default_factory=dict)

    def note(self, client: str, version: str, scheme: str, works: Iterable[str]) -> None:
        self.versions[client] = version
        known = self.works.setdefault((client, scheme), [])
        known.extend(work for work in works if work not in known)

    def table(self) -> str:
        lines = ["| Client | Version | http | https | What it did, all bytes compared |", "|---|---|---|---|---|"]
        for client, version in sorted(self.versions.items(), key=lambda one: one[0].lower()):
            by_scheme = [self.works.get((client, scheme), []) for scheme in ("http", "https")]
            marks = ["yes" if works else "–" for works in by_scheme]
            everything = list(dict.fromkeys(work for works in by_scheme for work in works))
            lines.append(f"| {client} | {version} | {marks[0]} | {marks[1]} | {', '.join(everything)} |")
        return "\n".join(lines)


def write_table(uses: Uses, page: Path = PAGE) -> None:
    """Replace the table between the two marks. Raises ValueError when the page has no place for it."""
    text = page.read_text(encoding="utf-8")
    begin, end = text.find(BEGIN), text.find(END)
    if begin < 0 or end < begin:
        raise ValueError(f"{page} lacks the lines {BEGIN!r} and {END!r}")
    page.write_text(f"{text[: begin + len(BEGIN)]}\n\n{uses.table()}\n\n{text[end:]}", encoding="utf-8")


def version_in(text: str) -> str:
    """The first thing in `text` that looks like a version."""
    found = re.search(r"\d+(\.\d+)+[\w.+-]*", text)
    assert found, f"no version in {text!r}"
    return found.group()
