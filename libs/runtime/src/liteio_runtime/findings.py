"""What `liteio doctor` finds."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """GOOD; WARN: works, and may bite later; BAD: does not work, or data is at risk."""

    GOOD = "ok"
    WARN = "warn"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """`subject`: what was looked at. `remedy` only where something should be done."""

    level: Level
    subject: str
    what: str
    remedy: str = ""

    def __str__(self) -> str:
        line = f"  {self.level:<5} {self.subject:<28} {self.what}"
        return f"{line}\n{'':36} → {self.remedy}" if self.remedy else line


def good(subject: str, what: str) -> Finding:
    return Finding(Level.GOOD, subject, what)


def warn(subject: str, what: str, remedy: str) -> Finding:
    return Finding(Level.WARN, subject, what, remedy)


def bad(subject: str, what: str, remedy: str) -> Finding:
    return Finding(Level.BAD, subject, what, remedy)
