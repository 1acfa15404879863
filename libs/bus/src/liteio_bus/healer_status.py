"""Asking all healers of a store what they do, and putting their answers together."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from liteio_bus.connection import Bus
from liteio_bus.services import ANSWERS_SECONDS, ask_statuses
from liteio_contracts.messages import HealerStatus, RebuildStatus, ScanStatus, UnhealedKey


@dataclass(frozen=True, slots=True)
class StoreHealing:
    """What the healers of a store say together. Counts of the queue are the newest that one told; None when none did.

    `scans`: the newest of each set and kind.
    """

    healers: tuple[HealerStatus, ...] = ()
    queue_length: int | None = None
    dead_letters: int | None = None
    rate_objects: float = 0.0
    rate_bytes: float = 0.0
    rebuilds: tuple[RebuildStatus, ...] = ()
    scans: tuple[ScanStatus, ...] = ()
    unhealed: tuple[UnhealedKey, ...] = ()

    @property
    def is_yielding(self) -> bool:
        return any(healer.is_yielding for healer in self.healers)


async def ask_healers(bus: Bus, *, seconds: float = ANSWERS_SECONDS) -> StoreHealing:
    """All that answer in time. Raises BusUnavailable."""
    found = []
    for answer in await ask_statuses(bus, "healer", seconds=seconds):
        try:
            found.append(HealerStatus.model_validate_json(answer))
        except ValidationError:
            continue  # of another version, or no answer of ours
    return merge_healers(found)


def merge_healers(healers: Iterable[HealerStatus]) -> StoreHealing:
    by_age = sorted(healers, key=lambda healer: healer.time_ns)
    rebuilds = {(one.set_index, one.slot): one for healer in by_age for one in healer.rebuilds}
    unhealed = {(one.set_index, one.space, one.bucket_id, one.key_quoted): one for h in by_age for one in h.unhealed}
    return StoreHealing(
        healers=tuple(sorted(by_age, key=lambda healer: (healer.host, healer.pid))),
        queue_length=_newest([healer.queue_length for healer in by_age]),
        dead_letters=_newest([healer.dead_letters for healer in by_age]),
        rate_objects=sum(healer.rate_objects for healer in by_age),
        rate_bytes=sum(healer.rate_bytes for healer in by_age),
        rebuilds=tuple(one for _, one in sorted(rebuilds.items())),
        scans=_newest_scans([one for healer in by_age for one in healer.scans]),
        unhealed=tuple(one for _, one in sorted(unhealed.items())),
    )


def _newest(told: Sequence[int | None]) -> int | None:
    return next((count for count in reversed(told) if count is not None), None)


def _newest_scans(scans: Sequence[ScanStatus]) -> tuple[ScanStatus, ...]:
    newest: dict[tuple[bool, int], ScanStatus] = {}
    for scan in sorted(scans, key=lambda scan: scan.began_ns):
        newest[scan.is_deep, scan.set_index] = scan
    return tuple(scan for _, scan in sorted(newest.items()))
