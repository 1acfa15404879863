"""A thousand drives on paper: nodes, pools and sets, and the counts of many keys placed over them by the real rules."""

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from math import comb
from statistics import NormalDist
from typing import NamedTuple

from liteio_base.ids import BucketId, DeploymentId
from liteio_erasure.code import CodeParams
from liteio_placement.layout import arrange
from liteio_placement.pools import Epoch, Location, Pool, Topology
from liteio_placement.sets import placement_name

DEPLOYMENT = DeploymentId("0123456789abcdef0123456789abcdef")
BUCKET = BucketId("b" * 32)


class Shape(NamedTuple):
    """A pool's machines: `nodes` of `drives` each."""

    nodes: int
    drives: int

    def __str__(self) -> str:
        return f"{self.nodes} x {self.drives}"


@dataclass(frozen=True)
class FleetPool:
    """A pool as it would be formatted: for each set the node of each slot."""

    shape: Shape
    nodes_of_sets: tuple[tuple[int, ...], ...]
    code: CodeParams

    @classmethod
    def of(cls, shape: Shape) -> "FleetPool":
        sets = arrange([[node] * shape.drives for node in range(shape.nodes)])
        return cls(shape, tuple(sets), CodeParams.for_set(len(sets[0])))

    @property
    def pool(self) -> Pool:
        return Pool(len(self.nodes_of_sets), self.code.width, self.code.m)

    def lost_by_set(self, nodes: set[int]) -> list[int]:
        """How many drives each set loses with these nodes."""
        return [sum(node in nodes for node in slots) for slots in self.nodes_of_sets]


def names(count: int, stem: str = "photos/2026/") -> Iterator[bytes]:
    return (placement_name(BUCKET, f"{stem}{number:08d}.jpg".encode()) for number in range(count))


class Spread(NamedTuple):
    """Counts of the mean and the fullest of `cells` equal cells, and what chance alone would make of the fullest."""

    cells: int
    mean: float
    greatest: int
    expected_greatest: float

    @property
    def ratio(self) -> float:
        return self.greatest / self.mean

    @property
    def expected_ratio(self) -> float:
        return self.expected_greatest / self.mean


def spread(counts: Counter[int], cells: int, trials: int, chance: float) -> Spread:
    """`counts` by cell; each of `trials` fell into a given cell with `chance`, so it holds Binomial(trials, chance)."""
    mean = trials * chance
    deviation = (mean * (1 - chance)) ** 0.5
    # The expected maximum of `cells` independent normal variables (Blom's approximation).
    reach = NormalDist().inv_cdf((cells - 0.375) / (cells + 0.25)) if cells > 1 else 0.0
    return Spread(cells, mean, max(counts.values()), mean + deviation * reach)


def fresh(pools: list[FleetPool], weights: dict[int, int]) -> Topology:
    epoch = Epoch(1, tuple(sorted(weights.items())))
    return Topology(1, DEPLOYMENT, tuple(each.pool for each in pools), (epoch,))


class Balance(NamedTuple):
    """Of one pool's keys: how they spread over its sets, and their data shards over its drives."""

    keys: int
    by_set: Spread
    by_drive: Spread


def balances(topology: Topology, pools: list[FleetPool], key_count: int) -> list[Balance]:
    """Place so many keys and count, pool by pool."""
    sets = [Counter[int]() for _ in pools]
    drives = [Counter[int]() for _ in pools]
    for name in names(key_count):
        location = topology.locate(name)[0]
        sets[location.pool][location.set_index] += 1
        width, k = pools[location.pool].code.width, pools[location.pool].code.k
        first = location.set_index * width
        drives[location.pool].update(first + slot for slot in topology.drive_order(name, location)[:k])
    found = []
    for pool, by_set, by_drive in zip(pools, sets, drives, strict=True):
        keys, set_count, code = by_set.total(), len(pool.nodes_of_sets), pool.code
        cells = set_count * code.width
        chance = code.k / code.width / set_count
        found.append(
            Balance(
                keys,
                spread(by_set, set_count, keys, 1 / set_count),
                spread(by_drive, cells, keys, chance),
            )
        )
    return found


class Growth(NamedTuple):
    """What adding a pool did to old keys and does to new ones."""

    moved: int  # old keys that are not found in the set in which they lie
    one_place: int  # old keys that have one place still
    new_by_pool: Counter[int]


def grow(before: Topology, pool: Pool, weights: dict[int, int], key_count: int) -> Growth:
    """Keys placed before a pool is added, looked for after, and as many new ones."""
    epoch = Epoch(before.epochs[-1].number + 1, tuple(sorted(weights.items())))
    after = Topology(before.number + 1, DEPLOYMENT, (*before.pools, pool), (*before.epochs, epoch))
    moved = one_place = 0
    for name in names(key_count):
        home, places = _cell(before.locate(name)[0]), [_cell(place) for place in after.locate(name)]
        moved += home not in places
        one_place += len(places) == 1
    new = Counter(after.locate(name)[0].pool for name in names(key_count, "photos/2027/"))
    return Growth(moved, one_place, new)


def _cell(location: Location) -> tuple[int, int]:
    return location.pool, location.set_index


class NodeLoss(NamedTuple):
    """sets_touched: by one node. drives_a_set: the most that a set loses with it. nodes_borne: that may always go."""

    sets_touched: int
    drives_a_set: int
    nodes_borne: int


def node_loss(pool: FleetPool) -> NodeLoss:
    lost = [pool.lost_by_set({node}) for node in range(pool.shape.nodes)]
    worst = max(max(each) for each in lost)
    return NodeLoss(max(sum(count > 0 for count in each) for each in lost), worst, pool.code.m // worst)


class Outage(NamedTuple):
    """`nodes` that go at the same time, and how likely some set then has fewer than K drives: counted, and on paper."""

    nodes: int
    counted: float
    paper: float


def outage(pool: FleetPool, nodes: int, draws: int, seed: int) -> Outage:
    """Draw `nodes` of the pool at random, again and again."""
    randomness = random.Random(seed)
    hits = 0
    for _ in range(draws):
        gone = set(randomness.sample(range(pool.shape.nodes), nodes))
        hits += max(pool.lost_by_set(gone)) > pool.code.m
    return Outage(nodes, hits / draws, _on_paper(pool, nodes))


def _on_paper(pool: FleetPool, nodes: int) -> float:
    """Sets over the same nodes fail together, so each group of nodes counts once; groups are taken as independent."""
    groups = {tuple(sorted(Counter(slots).items())) for slots in pool.nodes_of_sets}
    stands = 1.0
    for group in groups:
        members, per_node = len(group), group[0][1]
        bearable = pool.code.m // per_node
        ways = comb(pool.shape.nodes, nodes)
        fails = sum(
            comb(members, hit) * comb(pool.shape.nodes - members, nodes - hit)
            for hit in range(bearable + 1, min(members, nodes) + 1)
        )
        stands *= 1 - fails / ways
    return 1 - stands
