"""How drives are divided into sets when a pool is formatted: the width of a set, and which drive takes which slot.

A set has 2 to 16 drives (a lone drive makes a set of 1), all sets of a pool are equally wide, and every set takes
equally many drives from each host it touches, so that the loss of a host costs every set the same.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from liteio_base.check import check
from liteio_base.limits import SET_DRIVES_MAX
from liteio_placement.errors import LayoutRefused

_WIDTH_MIN = 2
Drive = TypeVar("Drive")


@dataclass(frozen=True, slots=True)
class SetLayout:
    """`set_count` sets of `set_width` drives."""

    set_count: int
    set_width: int

    @property
    def drive_count(self) -> int:
        return self.set_count * self.set_width


def choose_layout(drive_count: int, host_count: int = 1, width: int | None = None) -> SetLayout:
    """The sets for `drive_count` drives spread evenly over `host_count` hosts: the widest that fit, or of `width`.

    Raises LayoutRefused naming the widths, or for drives that fit none the drive counts, that would work.
    """
    check(drive_count >= 1 and host_count >= 1, "there is at least one drive on at least one host")
    where = _describe(drive_count, host_count)
    if drive_count % host_count:
        raise LayoutRefused("the hosts do not have equally many drives", where, "give every host the same number")
    widths = possible_widths(drive_count, host_count)
    if not widths:
        counts = " or ".join(str(count) for count in _near_counts(drive_count, host_count))
        raise LayoutRefused(f"no set width of 2 to {SET_DRIVES_MAX} divides them", where, f"use {counts} drives")
    if width is not None and width not in widths:
        choices = ", ".join(map(str, widths))
        raise LayoutRefused(f"sets of {width} drives do not fit", where, f"set widths that do: {choices}", widths)
    chosen = widths[-1] if width is None else width
    return SetLayout(drive_count // chosen, chosen)


def possible_widths(drive_count: int, host_count: int = 1) -> tuple[int, ...]:
    """The set widths that divide the drives and lie evenly over the hosts, ascending; (1,) for a lone drive."""
    if drive_count == 1:
        return (1,)
    widths = range(_WIDTH_MIN, min(SET_DRIVES_MAX, drive_count) + 1)
    return tuple(width for width in widths if drive_count % width == 0 and _is_even_over(width, host_count))


def arrange(hosts: Sequence[Sequence[Drive]], width: int | None = None) -> list[tuple[Drive, ...]]:
    """The drives of each set in slot order. `hosts` holds each host's drives, in an order all nodes agree on.

    Neighbouring slots lie on different hosts where there are several. Raises LayoutRefused as `choose_layout` does.
    """
    if len({len(drives) for drives in hosts}) > 1:
        sizes = ", ".join(str(len(drives)) for drives in hosts)
        raise LayoutRefused(
            f"the hosts have {sizes} drives", f"{len(hosts)} hosts", "give every host the same number of drives"
        )
    layout = choose_layout(sum(map(len, hosts)), len(hosts), width)
    per_round = min(layout.set_width, len(hosts))
    interleaved = [
        drives[number]
        for first in range(0, len(hosts), per_round)
        for number in range(len(hosts[0]))
        for drives in hosts[first : first + per_round]
    ]
    return [tuple(interleaved[at : at + layout.set_width]) for at in range(0, len(interleaved), layout.set_width)]


def group_by(drives: Sequence[Drive], hosts: Sequence[Hashable]) -> list[list[Drive]]:
    """`drives` gathered by the host of each, hosts in the order of their first drive: what `arrange` takes."""
    groups: dict[Hashable, list[Drive]] = {}
    for drive, host in zip(drives, hosts, strict=True):
        groups.setdefault(host, []).append(drive)
    return list(groups.values())


def _is_even_over(width: int, host_count: int) -> bool:
    """Every set takes the same number of drives from all hosts, or one drive from each of `width` hosts."""
    return width % host_count == 0 or host_count % width == 0


def _near_counts(drive_count: int, host_count: int) -> list[int]:
    """The next smaller and next greater number of drives on these hosts that can be divided."""
    below = range(drive_count - host_count, 0, -host_count)
    above = range(drive_count + host_count, drive_count + SET_DRIVES_MAX * host_count + 1, host_count)
    fits = [next((count for count in side if possible_widths(count, host_count)), None) for side in (below, above)]
    return [count for count in fits if count is not None]


def _describe(drive_count: int, host_count: int) -> str:
    return f"{drive_count} drives" if host_count == 1 else f"{drive_count} drives on {host_count} hosts"
