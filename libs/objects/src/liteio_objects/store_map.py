"""Where keys live in this store: the sets of all its pools, and the sets and drive order of a name.

Sets are numbered through, pool after pool: pools are only ever appended, so a set keeps its number.
"""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from liteio_base.check import check
from liteio_base.ids import BucketId, DeploymentId
from liteio_contracts.storage import KeyName
from liteio_formats.keys import split_upload_key
from liteio_formats.record import Space
from liteio_formats.topology import TopologyRecord
from liteio_objects.drive_set import DriveSet
from liteio_placement.pools import Epoch, Location, Pool, Topology
from liteio_placement.sets import drive_order, placement_name, set_index


class Place(NamedTuple):
    """A set in which a name may live, and its drives in the name's order: shard i lies on slot order[i].

    topology_number: of the topology that says so. is_only: no other set may hold the name.
    """

    drive_set: DriveSet
    order: tuple[int, ...]
    topology_number: int
    is_only: bool


class StoreMap:
    """The sets of a store under one topology. Pure, and never changed: every gateway computes the same places."""

    def __init__(
        self, deployment_id: DeploymentId, sets: Sequence[DriveSet], record: TopologyRecord | None = None
    ) -> None:
        """Without a record these are the sets of one pool, as they were formatted, and can not grow. Raises
        TopologyRefused for a record that contradicts itself."""
        check(len(sets) > 0, "a store has at least one set")
        topology = _of_one_pool(deployment_id, sets) if record is None else topology_of(record)
        check(topology.deployment_id == deployment_id, "the topology is this deployment's")
        counts = [pool.set_count for pool in topology.pools]
        check(len(sets) == sum(counts), "the topology's pools have as many sets as there are")
        check([each.set_index for each in sets] == list(range(len(sets))), "sets are numbered through")
        self.topology, self.sets, self.record = topology, tuple(sets), record
        self.number = topology.number
        self._deployment_id = deployment_id
        self._firsts = [0, *accumulate(counts)]
        self._only_pool = self._pool_sets(_only_pool(topology.epochs))

    def place(self, bucket_id: BucketId, key: bytes) -> Place:
        """Where the object `key`, its uploads and their parts live; one that is nowhere yet is written there. It is the
        first of `places`, and the only one when it says so."""
        name = placement_name(bucket_id, key)
        if self._only_pool is None:
            return self._places(name)[0]
        index = set_index(name, self._deployment_id, len(self._only_pool))
        drive_set = self._only_pool[index]
        order = drive_order(name, index, drive_set.code.width, self._deployment_id)
        return Place(drive_set, order, self.number, True)

    def places(self, bucket_id: BucketId, key: bytes) -> list[Place]:
        """The sets in which `key` may live, in the order in which to look for it: newest epoch first."""
        if self._only_pool is not None:
            return [self.place(bucket_id, key)]
        return self._places(placement_name(bucket_id, key))

    def sets_of(self, name: KeyName) -> Sequence[DriveSet]:
        """Where an object's or an upload's key may live, newest epoch first. A bucket is decided by the first set; a
        part's key does not tell."""
        if name.space is Space.BUCKET:
            return self.sets[:1]
        check(name.space is not Space.PART, "a part lives where its object's key says")
        key = split_upload_key(name.key)[0] if name.space is Space.UPLOAD else name.key
        return [place.drive_set for place in self.places(name.bucket_id, key)]

    def pool_of(self, drive_set: DriveSet) -> int:
        """The index of the pool that a set belongs to."""
        return next(pool for pool, first in enumerate(self._firsts[1:]) if drive_set.set_index < first)

    def epochs_to(self, drive_set: DriveSet, bucket_id: BucketId, key: bytes) -> frozenset[int]:
        """The numbers of the live epochs that place an object's key in this set."""
        pool = self.pool_of(drive_set)
        index = drive_set.set_index - self._firsts[pool]
        return self.topology.epochs_to(placement_name(bucket_id, key), pool, index)

    def sets_of_pool(self, pool: int) -> Sequence[DriveSet]:
        return self.sets[self._firsts[pool] : self._firsts[pool + 1]]

    def _pool_sets(self, pool: int | None) -> Sequence[DriveSet] | None:
        return None if pool is None else self.sets_of_pool(pool)

    def _places(self, name: bytes) -> list[Place]:
        locations = self.topology.locate(name)
        return [self._place_at(name, location, len(locations) == 1) for location in locations]

    def _place_at(self, name: bytes, location: Location, is_only: bool) -> Place:
        drive_set = self.sets[self._firsts[location.pool] + location.set_index]
        return Place(drive_set, self.topology.drive_order(name, location), self.number, is_only)


def topology_of(record: TopologyRecord) -> Topology:
    """Raises TopologyRefused."""
    return Topology(
        record.number,
        record.deployment_id,
        tuple(Pool(pool.set_count, pool.set_width, pool.parity) for pool in record.pools),
        tuple(Epoch(epoch.number, epoch.weights) for epoch in record.epochs),
    )


def _of_one_pool(deployment_id: DeploymentId, sets: Sequence[DriveSet]) -> Topology:
    code = sets[0].code
    return Topology.of_one_pool(deployment_id, Pool(len(sets), code.width, code.m))


def _only_pool(epochs: Sequence[Epoch]) -> int | None:
    """The pool that every live epoch gives every name; None when there are several."""
    pools = {pool for epoch in epochs for pool, weight in epoch.weights if weight}
    return pools.pop() if len(pools) == 1 else None
