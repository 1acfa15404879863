"""What placement refuses, each saying what is wrong, where, and what to do about it.

PlacementError
├── PatternRefused   an endpoint pattern that can not be expanded
├── LayoutRefused    drives that can not be divided into sets
└── TopologyRefused  pools and epochs that contradict each other
"""


class PlacementError(Exception):
    """`problem` is what is wrong, `where` the text or thing it was found in, `remedy` what to do."""

    def __init__(self, problem: str, where: str, remedy: str) -> None:
        super().__init__(f"{where}: {problem}; {remedy}")
        self.problem, self.where, self.remedy = problem, where, remedy


class PatternRefused(PlacementError):
    """An endpoint pattern that can not be expanded."""


class LayoutRefused(PlacementError):
    """Drives that can not be divided into sets. `widths` are the set widths that would work for them."""

    def __init__(self, problem: str, where: str, remedy: str, widths: tuple[int, ...] = ()) -> None:
        super().__init__(problem, where, remedy)
        self.widths = widths


class TopologyRefused(PlacementError):
    """Pools and epochs that contradict each other."""
