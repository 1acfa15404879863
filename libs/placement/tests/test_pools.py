from collections import Counter

import pytest

from liteio_base.ids import BucketId, DeploymentId
from liteio_placement import Epoch, Location, Pool, Topology, TopologyRefused, choose_pool, placement_name, set_index

DEPLOYMENT = DeploymentId("000102030405060708090a0b0c0d0e0f")
POOLS = (Pool(4, 8, 4), Pool(2, 16, 4), Pool(1, 4, 2))


def names(count: int, pattern: str = "photos/2024/{:06d}.jpg") -> list[bytes]:
    return [placement_name(BucketId("ab" * 16), pattern.format(number).encode()) for number in range(count)]


@pytest.mark.parametrize("pattern", ["photos/2024/{:06d}.jpg", "{}", "logs/{:08x}"])
@pytest.mark.parametrize("weights", [(1, 1), (1, 2, 3), (900, 90, 10), (0, 5, 5)])
def test_pools_fill_by_weight(weights: tuple[int, ...], pattern: str) -> None:
    epoch = Epoch(1, tuple(enumerate(weights)))
    counts = Counter(choose_pool(name, epoch) for name in names(20_000, pattern))
    for pool, weight in enumerate(weights):
        expected = 20_000 * weight / sum(weights)
        assert abs(counts[pool] - expected) <= 5 * expected**0.5


def test_pool_and_set_are_independent() -> None:
    epoch = Epoch(1, ((0, 1), (1, 1)))
    in_second = [name for name in names(20_000) if choose_pool(name, epoch) == 1]
    counts = Counter(set_index(name, DEPLOYMENT, 4) for name in in_second)
    assert sum((counts[cell] - len(in_second) / 4) ** 2 / (len(in_second) / 4) for cell in range(4)) < 30


def test_a_fresh_store_has_one_location_a_name() -> None:
    topology = Topology.of_one_pool(DEPLOYMENT, POOLS[0])
    for name in names(50):
        assert topology.locate(name) == [Location(1, 0, set_index(name, DEPLOYMENT, 4))]


def test_a_new_epoch_moves_no_name_out_of_its_old_set() -> None:
    before = Topology(1, DEPLOYMENT, POOLS[:1], (Epoch(1, ((0, 1),)),))
    after = Topology(2, DEPLOYMENT, POOLS[:2], (Epoch(1, ((0, 1),)), Epoch(2, ((0, 1), (1, 1)))))
    fresh = 0
    for name in names(2000):
        [old] = before.locate(name)
        now = after.locate(name)
        assert (old.pool, old.set_index) in {(place.pool, place.set_index) for place in now}
        assert now[0].epoch == 2
        fresh += len(now) == 2 and now[0].pool == 1
    assert 900 < fresh < 1100


def test_a_heavier_first_pool_only_draws_names_from_the_others() -> None:
    light, heavy = Epoch(1, ((0, 2), (1, 2))), Epoch(2, ((0, 3), (1, 1)))
    moves = Counter((choose_pool(name, light), choose_pool(name, heavy)) for name in names(4000))
    assert moves[0, 1] == 0
    assert 850 < moves[1, 0] < 1150


def test_epochs_are_looked_through_newest_first() -> None:
    first, second, third = Epoch(1, ((0, 1),)), Epoch(4, ((1, 1),)), Epoch(9, ((2, 1),))
    topology = Topology(3, DEPLOYMENT, POOLS, (first, second, third))
    name = names(1)[0]
    assert [place.epoch for place in topology.locate(name)] == [9, 4, 1]
    assert [place.pool for place in topology.locate(name)] == [2, 1, 0]


def test_the_epochs_that_lead_to_a_set_are_told() -> None:
    topology = Topology(3, DEPLOYMENT, POOLS, (Epoch(1, ((0, 1),)), Epoch(2, ((1, 1),)), Epoch(3, ((0, 1), (1, 0)))))
    name = names(1)[0]
    newest, older = topology.locate(name)
    assert topology.epochs_to(name, newest.pool, newest.set_index) == {1, 3}
    assert topology.epochs_to(name, older.pool, older.set_index) == {2}
    other = (newest.set_index + 1) % POOLS[0].set_count
    assert topology.epochs_to(name, 0, other) == frozenset()


def test_drive_order_has_the_width_of_the_pool() -> None:
    topology = Topology(1, DEPLOYMENT, POOLS, (Epoch(1, ((2, 1),)),))
    name = names(1)[0]
    assert sorted(topology.drive_order(name, topology.locate(name)[0])) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("number", "weights"),
    [(0, ((0, 1),)), (1, ()), (1, ((0, 0),)), (1, ((0, -1), (1, 2))), (1, ((0, 1), (0, 1))), (1, ((0, 1 << 25),))],
)
def test_unusable_epochs_are_refused(number: int, weights: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(TopologyRefused):
        Epoch(number, weights)


def test_contradicting_topologies_are_refused() -> None:
    epoch = Epoch(1, ((0, 1),))
    for pools, epochs in [
        ((), (epoch,)),
        (POOLS, ()),
        (POOLS, (Epoch(2, ((0, 1),)), epoch)),
        (POOLS, (epoch, epoch)),
        (POOLS, (Epoch(1, ((3, 1),)),)),
    ]:
        with pytest.raises(TopologyRefused):
            Topology(1, DEPLOYMENT, pools, epochs)


@pytest.mark.parametrize(("sets", "width", "parity"), [(0, 4, 2), (1, 0, 0), (1, 17, 4), (1, 4, 3), (1, 4, -1)])
def test_impossible_pools_are_refused(sets: int, width: int, parity: int) -> None:
    with pytest.raises(TopologyRefused):
        Pool(sets, width, parity)
