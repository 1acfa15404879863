"""What is wrong with what a user told us: all of it at once, each with where it was said and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Problem:
    """`what` is wrong, `where` it was said (a flag, a variable, a file), and the `remedy`."""

    what: str
    where: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}\n    → {self.remedy}"


class StartRefused(Exception):
    """A user's mistakes, found before or while starting. The command prints them and ends with exit code 2."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{problem.where}: {problem.what}" for problem in problems))
        self.problems = tuple(problems)

    @property
    def report(self) -> str:
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        return "\n".join((f"liteio: {count}", *(f"  {problem}" for problem in self.problems)))


class Mistake(ValueError):
    """A value that can not be used, raised by a validator. Becomes a Problem once it is known where it was said."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what)
        self.what, self.remedy = what, remedy
