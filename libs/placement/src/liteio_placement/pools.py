"""Across pools: the topology with its numbered epochs, and the sets in which a name may live.

Free space moves, so weights by free space could not be computed again later: they are stored, an epoch at a time. A
name lives in one set at a time, and that is the set some live epoch gives it. Pure functions, frozen by tests/vectors.
"""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from liteio_base.check import BrokenBelief
from liteio_base.ids import DeploymentId
from liteio_base.limits import SET_DRIVES_MAX
from liteio_placement.errors import TopologyRefused
from liteio_placement.sets import drive_order, set_index

_HASH_BITS: Final = 32
WEIGHT_TOTAL_MAX: Final = (
    1 << 24
)  # leaves 256 hash values a unit of weight, so no share is off by more than 1/256 of it


@dataclass(frozen=True, slots=True)
class Pool:
    """`set_count` sets of `set_width` drives each, `parity` of them parity. Never changes once formatted."""

    set_count: int
    set_width: int
    parity: int

    def __post_init__(self) -> None:
        if self.set_count < 1 or not 1 <= self.set_width <= SET_DRIVES_MAX:
            raise TopologyRefused(
                f"{self.set_count} sets of {self.set_width} drives", "pool", f"use sets of 1 to {SET_DRIVES_MAX} drives"
            )
        if not 0 <= self.parity <= self.set_width // 2:
            raise TopologyRefused(
                f"parity {self.parity} in sets of {self.set_width}", "pool", f"use 0 to {self.set_width // 2}"
            )

    @property
    def drive_count(self) -> int:
        return self.set_count * self.set_width


@dataclass(frozen=True, slots=True)
class Epoch:
    """Numbered weights: (pool index, integer weight) pairs; a pool of weight 0, or not named, takes no new names."""

    number: int
    weights: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        where = f"epoch {self.number}"
        pools = [pool for pool, _ in self.weights]
        if self.number < 1:
            raise TopologyRefused("its number is below 1", where, "count epochs from 1")
        if len(set(pools)) != len(pools):
            raise TopologyRefused("it names a pool twice", where, "give each pool one weight")
        if any(weight < 0 for _, weight in self.weights) or not 0 < self.weight_total <= WEIGHT_TOTAL_MAX:
            raise TopologyRefused(
                "its weights are not usable", where, f"use weights of 0 and more with a sum of 1 to {WEIGHT_TOTAL_MAX}"
            )

    @property
    def weight_total(self) -> int:
        return sum(weight for _, weight in self.weights)


@dataclass(frozen=True, slots=True)
class Location:
    """One set in which a name may live, and the newest epoch that says so."""

    epoch: int
    pool: int
    set_index: int


@dataclass(frozen=True, slots=True)
class Topology:
    """The pools, in the order in which they were added, and the live epochs, oldest first.

    `number` grows with every change; commits carry it and drives refuse an older one. Raises TopologyRefused.
    """

    number: int
    deployment_id: DeploymentId
    pools: tuple[Pool, ...]
    epochs: tuple[Epoch, ...]

    def __post_init__(self) -> None:
        if not self.pools or not self.epochs:
            raise TopologyRefused("it has no pool or no epoch", "topology", "give at least one of each")
        numbers = [epoch.number for epoch in self.epochs]
        if numbers != sorted(set(numbers)):
            raise TopologyRefused(f"its epochs are {numbers}", "topology", "list each once, oldest first")
        named = {pool for epoch in self.epochs for pool, _ in epoch.weights}
        if unknown := sorted(named - set(range(len(self.pools)))):
            raise TopologyRefused(f"epochs name the pools {unknown}", "topology", f"there are {len(self.pools)} pools")

    @classmethod
    def of_one_pool(cls, deployment_id: DeploymentId, pool: Pool) -> "Topology":
        """The topology of a store that was just formatted."""
        return cls(1, deployment_id, (pool,), (Epoch(1, ((0, 1),)),))

    def locate(self, name: bytes) -> list[Location]:
        """The sets in which `name` may live, newest epoch first, each set once: where to read, in this order.

        The first is where a name that is found in none is written. Nearly always there is one.
        """
        return _once_each(self._locate_in(epoch, name) for epoch in reversed(self.epochs))

    def epochs_to(self, name: bytes, pool: int, set_index: int) -> frozenset[int]:
        """The numbers of the live epochs that place `name` in this set."""
        found = (self._locate_in(epoch, name) for epoch in self.epochs)
        return frozenset(each.epoch for each in found if (each.pool, each.set_index) == (pool, set_index))

    def drive_order(self, name: bytes, location: Location) -> tuple[int, ...]:
        """The slots of the location's set in shard order; see `sets.drive_order`."""
        width = self.pools[location.pool].set_width
        return drive_order(name, location.set_index, width, self.deployment_id)

    def _locate_in(self, epoch: Epoch, name: bytes) -> Location:
        pool = choose_pool(name, epoch)
        return Location(epoch.number, pool, set_index(name, self.deployment_id, self.pools[pool].set_count))


def choose_pool(name: bytes, epoch: Epoch) -> int:
    """The pool that the epoch's weights give `name`: CRC-32 of the name, scaled to the sum of weights."""
    if len(epoch.weights) == 1:
        return epoch.weights[0][0]
    point = zlib.crc32(name) * epoch.weight_total >> _HASH_BITS
    for pool, weight in epoch.weights:
        if point < weight:
            return pool
        point -= weight
    raise BrokenBelief("a point below the sum of weights falls into one of them")


def _once_each(locations: Iterable[Location]) -> list[Location]:
    seen: dict[tuple[int, int], Location] = {}
    for location in locations:
        seen.setdefault((location.pool, location.set_index), location)
    return list(seen.values())
