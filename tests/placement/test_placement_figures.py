"""The figures of docs/architecture.md hold in small: placement is as even as chance, moves nothing, and bears nodes."""

import pytest

from liteio_placement.pools import Topology

from .fleet import FleetPool, Shape, balances, fresh, grow, node_loss, outage

KEYS = 20_000


@pytest.mark.parametrize("shape", [Shape(125, 8), Shape(128, 8)])
def test_keys_and_data_shards_are_spread_as_evenly_as_chance_does(shape: Shape) -> None:
    pool = FleetPool.of(shape)
    [found] = balances(fresh([pool], {0: 1}), [pool], KEYS)
    for each in (found.by_set, found.by_drive):
        # The greatest of many counts lies within a standard deviation or so of what is expected of it.
        assert abs(each.greatest - each.expected_greatest) < 1.5 * each.mean**0.5


def test_pools_take_their_share_of_keys() -> None:
    pools = [FleetPool.of(Shape(64, 8)), FleetPool.of(Shape(48, 10)), FleetPool.of(Shape(1, 8))]
    found = balances(fresh(pools, {0: 512, 1: 480, 2: 8}), pools, KEYS)
    for balance, share in zip(found, (0.512, 0.48, 0.008), strict=True):
        assert abs(balance.keys - share * KEYS) < 4 * (KEYS * share * (1 - share)) ** 0.5


@pytest.mark.parametrize("weights", [{0: 1, 1: 1}, {0: 1000, 1: 200}, {0: 0, 1: 1}])
def test_a_new_pool_moves_no_key_and_takes_its_share_of_new_ones(weights: dict[int, int]) -> None:
    first, second = FleetPool.of(Shape(125, 8)), FleetPool.of(Shape(25, 8))
    grown = grow(fresh([first], {0: 1}), second.pool, weights, KEYS)
    share = weights[1] / sum(weights.values())
    assert grown.moved == 0
    assert abs(grown.new_by_pool[1] - share * KEYS) <= 4 * (KEYS * share * (1 - share)) ** 0.5
    assert abs(grown.one_place - (1 - share) * KEYS) <= 4 * (KEYS * share * (1 - share)) ** 0.5


def test_it_would_be_seen_if_keys_moved(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = Topology.locate
    monkeypatch.setattr(Topology, "locate", lambda self, name: looked(self, name)[:1])
    first, second = FleetPool.of(Shape(125, 8)), FleetPool.of(Shape(25, 8))
    assert grow(fresh([first], {0: 1}), second.pool, {0: 1, 1: 1}, 1000).moved > 400


@pytest.mark.parametrize("shape", [Shape(125, 8), Shape(128, 8), Shape(8, 125), Shape(10, 100), Shape(4, 2)])
def test_a_node_costs_a_set_no_more_than_its_share(shape: Shape) -> None:
    pool = FleetPool.of(shape)
    loss = node_loss(pool)
    assert loss.drives_a_set == max(1, pool.code.width // shape.nodes)
    assert loss.nodes_borne >= 1


def test_outages_are_as_likely_as_on_paper() -> None:
    pool = FleetPool.of(Shape(125, 8))
    borne = outage(pool, pool.code.m, 500, seed=1)
    assert (borne.counted, borne.paper) == (0.0, 0.0)
    more = outage(pool, 20, 2000, seed=1)
    assert 0.3 < more.paper < 0.6
    assert abs(more.counted - more.paper) < 0.06
