"""Endpoint patterns to places on nodes: the same on every node."""

import pytest

from liteio_base.ids import DeploymentId
from liteio_cluster.plan import PoolPlan, target_of, topology_of
from liteio_placement.errors import LayoutRefused, PatternRefused

FOUR_BY_TWO = "https://node{1...4}.lan:9100/mnt/disk{1...2}"


def test_neighbouring_slots_lie_on_different_nodes() -> None:
    plan = PoolPlan.of_patterns(FOUR_BY_TWO)
    assert [endpoint.origin[12] for endpoint in plan.endpoints] == list("12341234")
    assert (plan.layout.set_count, plan.layout.set_width, plan.layout.parity) == (1, 8, 4)
    assert plan.drives_of("https://node2.lan:9100") == {1: "/mnt/disk1", 5: "/mnt/disk2"}


def test_a_set_lies_evenly_over_hosts_that_have_several_nodes() -> None:
    """Whatever the order in which they are named."""
    plan = PoolPlan.of_patterns("https://node{1...4}.lan:{9100...9104}/mnt/disk1")
    assert (plan.layout.set_count, plan.layout.set_width) == (5, 4)
    for first in range(0, 20, 4):
        assert [endpoint.origin[12] for endpoint in plan.endpoints[first : first + 4]] == list("1234")


def test_neighbouring_drives_of_a_host_are_on_different_nodes_of_it() -> None:
    first, second = "http://n{1...2}:9100/d{1...2}", "http://n{1...2}:9101/d{3...4}"
    plan = PoolPlan.of_patterns([first, second])
    assert [endpoint.origin[7:] for endpoint in plan.endpoints] == ["n1:9100", "n2:9100", "n1:9101", "n2:9101"] * 2


def test_every_set_has_as_many_drives_on_each_node() -> None:
    plan = PoolPlan.of_patterns("https://node{1...8}:9100/d{1...4}")
    for set_index in range(plan.layout.set_count):
        assert len(plan.origins_of_set(set_index)) == 8


def test_a_plan_comes_back_from_its_record() -> None:
    plan = PoolPlan.of_patterns(FOUR_BY_TWO, parity=2)
    [record] = topology_of(plan, DeploymentId("d" * 32)).pools
    assert PoolPlan.of_record(record, 0) == plan


def test_a_place_is_named_by_deployment_pool_set_and_slot() -> None:
    layout = PoolPlan.of_patterns("https://node{1...4}:9100/d{1...8}").layout
    assert target_of(DeploymentId("ab"), layout, 17) == "ab/0/1/1"


@pytest.mark.parametrize(
    ("host", "own_names", "origin"),
    [
        ("node2.lan", (), "https://node2.lan:9100"),
        ("NODE2.lan:9100", (), "https://node2.lan:9100"),
        ("", ("me", "node3.lan"), "https://node3.lan:9100"),
    ],
)
def test_a_node_finds_itself(host: str, own_names: tuple[str, ...], origin: str) -> None:
    assert PoolPlan.of_patterns(FOUR_BY_TWO).origin_of_host(host, lambda: own_names) == origin


@pytest.mark.parametrize(
    ("host", "own_names", "origins"),
    [
        ("node2.lan", (), ("https://node2.lan:9100", "https://node2.lan:9101")),
        ("node2.lan:9101", (), ("https://node2.lan:9101",)),
        ("", ("me", "node3.lan"), ("https://node3.lan:9100", "https://node3.lan:9101")),
    ],
)
def test_a_host_finds_its_nodes(host: str, own_names: tuple[str, ...], origins: tuple[str, ...]) -> None:
    plan = PoolPlan.of_patterns("https://node{1...4}.lan:910{0...1}/mnt/disk1")
    assert plan.origins_of_host(host, lambda: own_names) == origins


@pytest.mark.parametrize(
    ("patterns", "host", "said"),
    [
        (FOUR_BY_TWO, "node9.lan", "no drive is on this host.*node1.lan:9100, node2"),
        (FOUR_BY_TWO, "", "does not show; say --node-host"),
        ("http://a:{1...2}/d", "a", "several nodes.*a:1, a:2"),
        ("http://a:{1...2}/d", "", "several nodes.*a:1, a:2"),
    ],
)
def test_a_node_that_can_not_be_told_is_refused_with_the_choices(patterns: str, host: str, said: str) -> None:
    with pytest.raises(LayoutRefused, match=said):
        PoolPlan.of_patterns(patterns).origin_of_host(host, lambda: ("elsewhere",))


@pytest.mark.parametrize(
    ("patterns", "parity", "said"),
    [
        ("/mnt/disk{1...4}", None, "folders without a node"),
        (FOUR_BY_TWO, 5, "choose 0 to 4"),
        ("http://n1/d{1...2},http://n2/d1", None, "same number"),
    ],
)
def test_plans_that_can_not_be_are_refused(patterns: str, parity: int | None, said: str) -> None:
    with pytest.raises((LayoutRefused, PatternRefused), match=said):
        PoolPlan.of_patterns(patterns, parity)


def test_one_host_alone_needs_no_name() -> None:
    assert PoolPlan.of_patterns("http://n1:9100/d{1...4}").origin_of_host("") == "http://n1:9100"
    assert PoolPlan.of_patterns("http://n1:{1...2}/d").origins_of_host("") == ("http://n1:1", "http://n1:2")
