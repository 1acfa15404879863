"""What is to be done with the drives of a pool, decided from what each says of itself. Pure.

The rules are those of docs/formats/format-json.md. The drives may be one machine's or many nodes': everybody who is
given the same reports decides the same.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

import msgspec

from liteio_base.ids import DeploymentId
from liteio_formats.format_json import DriveFormat


class FormatRefused(Exception):
    """The drives can not be opened as they are. The message says what is wrong, where, and what to do."""


@dataclass(frozen=True, slots=True)
class Layout:
    """How the drives of a pool are arranged: `set_count` sets of `set_width` drives, in the order given."""

    set_count: int
    set_width: int
    parity: int
    pool: int = 0

    @property
    def drive_count(self) -> int:
        return self.set_count * self.set_width

    def place_of(self, number: int) -> tuple[int, int]:
        """Set and slot of the drive that is the `number`-th, from 0."""
        return divmod(number, self.set_width)


class DriveCondition(IntEnum):
    """What was found at a drive's path. The numbers cross the wire."""

    BLANK = 0  # nothing on it: to be formatted
    PENDING = 1  # prepared for `identity`, and not taken on: its format was cut short
    FORMATTED = 2  # it is `identity`
    UNUSABLE = 3  # left alone, for the `reason`


class DriveReport(msgspec.Struct, frozen=True, array_like=True):
    """What a drive says of itself. `identity` of one that is FORMATTED or PENDING, `reason` of one that is UNUSABLE."""

    condition: DriveCondition
    identity: DriveFormat | None = None
    is_mount_point: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, by the drive's number.

    `deployment_id` None: there is no deployment yet; `is_first`: then all are to be formatted for a new one, else some
    stand in the way and `reasons` says which. `resume`: take on what was prepared. `replace`: format, not
    authoritative, with `mount_points` as the others know them. `reasons`: what can not be used, and why.
    """

    deployment_id: DeploymentId | None = None
    is_first: bool = False
    resume: frozenset[int] = frozenset()
    replace: frozenset[int] = frozenset()
    mount_points: tuple[tuple[bool, ...], ...] = ()
    reasons: Mapping[int, str] = field(default_factory=dict)


def judge(reports: Sequence[DriveReport | None], layout: Layout) -> Verdict:
    """`reports` in the order of the layout; None for a drive whose machine has not answered. Raises FormatRefused when
    the drives belong to another layout, or as many to one store as to another."""
    reasons = {
        number: report.reason
        for number, report in enumerate(reports)
        if report is not None and report.condition is DriveCondition.UNUSABLE
    }
    formats = {
        number: report.identity
        for number, report in enumerate(reports)
        if report is not None and report.condition is DriveCondition.FORMATTED and report.identity is not None
    }
    if formats:
        return _join(reports, layout, formats, reasons)
    unknown = [number for number, report in enumerate(reports) if report is None]
    return Verdict(is_first=not reasons and not unknown, reasons=reasons | dict.fromkeys(unknown, "its node is away"))


def mount_points_of(reports: Sequence[DriveReport | None], layout: Layout) -> tuple[tuple[bool, ...], ...]:
    """Of every slot whether it is a mount point: what the first format remembers."""
    flags = [report is not None and report.is_mount_point for report in reports]
    width = layout.set_width
    return tuple(tuple(flags[start : start + width]) for start in range(0, len(flags), width))


def misplacement(identity: DriveFormat, deployment_id: DeploymentId, number: int, layout: Layout) -> str:
    """Why this drive must not serve as the `number`-th of the pool; "" when it may."""
    place = layout.place_of(number)
    if identity.deployment_id != deployment_id:
        return (
            f"it belongs to another deployment ({identity.deployment_id}): put the drive of this store in its place, "
            "or an empty one"
        )
    if identity.pool != layout.pool:
        return f"it is a drive of pool {identity.pool}, and stands in pool {layout.pool}"
    if (identity.set_index, identity.slot) != place:
        return (
            f"it is the drive of set {identity.set_index}, slot {identity.slot}, and stands in the place of set "
            f"{place[0]}, slot {place[1]}; give the drives in their first order"
        )
    return ""


def require_layout(known: DriveFormat, layout: Layout) -> None:
    """Raises FormatRefused when the drive was formatted into another layout than this."""
    if (known.set_count, known.set_width, known.parity) != (layout.set_count, layout.set_width, layout.parity):
        raise FormatRefused(
            f"the drives were formatted as {known.set_count} set(s) of {known.set_width} drives with parity "
            f"{known.parity}, but {layout.set_count} set(s) of {layout.set_width} with parity {layout.parity} are "
            "asked for; give the same drives and parity as the first time"
        )


def _join(
    reports: Sequence[DriveReport | None],
    layout: Layout,
    formats: Mapping[int, DriveFormat],
    reasons: dict[int, str],
) -> Verdict:
    """An existing deployment: refuse what is foreign or misplaced, format what was replaced."""
    deployment_id = _deployment_of(formats)
    known = next(drive for drive in formats.values() if drive.deployment_id == deployment_id)
    require_layout(known, layout)
    for number, drive in formats.items():
        if reason := misplacement(drive, deployment_id, number, layout):
            reasons[number] = reason
    resume, replace = set(), set()
    for set_index in range(layout.set_count):
        numbers = range(set_index * layout.set_width, (set_index + 1) * layout.set_width)
        blank, unknown = [], 0
        for number in numbers:
            report = reports[number]
            if report is None:
                unknown += 1
            elif _is_prepared_for(report, deployment_id, number, layout):
                resume.add(number)
            elif report.condition in (DriveCondition.BLANK, DriveCondition.PENDING):
                blank.append(number)
        if len(blank) + unknown > layout.parity:
            # More than the set can lose: most likely they are not mounted, and formatting them would hide it.
            reasons |= dict.fromkeys(blank, _too_many(len(blank), unknown, set_index))
            continue
        for number in blank:
            report = reports[number]
            set_index, slot = layout.place_of(number)
            if known.was_mount_point[set_index][slot] and not (report is not None and report.is_mount_point):
                reasons[number] = "it was a mount point and nothing is mounted there now; mount the drive"
            else:
                replace.add(number)
    return Verdict(
        deployment_id=deployment_id,
        resume=frozenset(resume),
        replace=frozenset(replace),
        mount_points=known.was_mount_point,
        reasons=reasons,
    )


def _deployment_of(formats: Mapping[int, DriveFormat]) -> DeploymentId:
    """The one that most drives belong to. Raises FormatRefused when that could be either of two: whoever guessed wrong
    would format the empty drives for the wrong store."""
    numbers: dict[DeploymentId, list[int]] = defaultdict(list)
    for number, drive in sorted(formats.items()):
        numbers[drive.deployment_id].append(number + 1)
    deployment_id, *others = sorted(numbers, key=lambda one: len(numbers[one]), reverse=True)
    if others and len(numbers[others[0]]) == len(numbers[deployment_id]):
        told = "; ".join(f"drives {', '.join(map(str, those))} to {one}" for one, those in numbers.items())
        raise FormatRefused(
            "which store is meant can not be told, since as many drives belong to one deployment as to another "
            f"(counted from 1, {told}): put drives of one store in all places, or empty ones"
        )
    return deployment_id


def _is_prepared_for(report: DriveReport, deployment_id: DeploymentId, number: int, layout: Layout) -> bool:
    """Whether the drive only lacks the last step of the first format, which was cut short."""
    if report.condition is not DriveCondition.PENDING or report.identity is None:
        return False
    return not misplacement(report.identity, deployment_id, number, layout)


def _too_many(blank_count: int, unknown_count: int, set_index: int) -> str:
    if unknown_count:
        return (
            f"it is empty, as {blank_count} drives of set {set_index} are, and {unknown_count} are on nodes that do "
            "not answer: start the nodes, or mount the drives"
        )
    return f"it is empty, and so are {blank_count} drives of set {set_index}: mount them"
