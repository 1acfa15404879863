"""Going over every key that the drives of a set hold."""

from collections.abc import AsyncIterator, Callable, Collection
from typing import Final, NamedTuple

from liteio_base.deadline import Deadline
from liteio_base.ids import SYSTEM_BUCKET, BucketId
from liteio_contracts.storage import KeyName
from liteio_formats.record import Space
from liteio_objects.drive_set import DriveSet, ask_drives, values

WALK_PAGE: Final = 500
FIRST: Final = KeyName(Space.BUCKET, SYSTEM_BUCKET, b"")
"""Where a walk begins: with the buckets, so that drives know them before what is in them."""


class Stretch(NamedTuple):
    """Some keys, in order, of one stretch of the walk. `reached`: where to go on; None at the end."""

    names: list[KeyName]
    reached: KeyName | None


def _note_nothing(slots: Collection[int]) -> None:
    return


async def walk_set(
    drive_set: DriveSet,
    deadline: Callable[[], Deadline],
    *,
    after: KeyName = FIRST,
    spaces: Collection[Space] = frozenset(Space),
    note: Callable[[Collection[int]], None] = _note_nothing,
) -> AsyncIterator[Stretch]:
    """Every key of these spaces that any answering drive holds, a stretch at a time: buckets, objects, uploads, parts.
    `note` hears which drives told of each stretch."""
    place: KeyName | None = after
    while place is not None:
        names, reached = await _page(drive_set, place, deadline(), note)
        end = _end_of(place.space)
        inside = [name for name in names if end is None or name < end]
        if reached is None or len(inside) < len(names) or (end is not None and reached >= end):
            place = _next(place.space, spaces)
        else:
            place = reached
        yield Stretch(inside, place)


async def _page(
    drive_set: DriveSet, after: KeyName, deadline: Deadline, note: Callable[[Collection[int]], None]
) -> tuple[list[KeyName], KeyName | None]:
    """Keys behind `after`, and up to where all answering drives told of them; None: to the end."""
    pages = values(
        await ask_drives(drive_set, drive_set.slots, lambda drive: drive.walk(after, WALK_PAGE, deadline=deadline))
    )
    note(pages)
    reached = min((_as_name(page[-1]) for page in pages.values() if len(page) >= WALK_PAGE), default=None)
    names = sorted({_as_name(name) for page in pages.values() for name in page})
    return [name for name in names if reached is None or name <= reached], reached


def _end_of(space: Space) -> KeyName | None:
    return KeyName(Space(space + 1), BucketId(""), b"") if space < max(Space) else None


def _next(space: Space, spaces: Collection[Space]) -> KeyName | None:
    """The beginning of the space that comes next in a walk."""
    order = (Space.BUCKET, Space.OBJECT, Space.UPLOAD, Space.PART)
    later = [each for each in order[order.index(space) + 1 :] if each in spaces]
    return KeyName(later[0], BucketId(""), b"") if later else None


def _as_name(name: KeyName) -> KeyName:
    """Names compare as tuples; what came over the wire may be a plain one."""
    return KeyName(Space(name[0]), BucketId(name[1]), name[2])
