from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_placement import LayoutRefused, SetLayout, arrange, choose_layout, group_by, possible_widths


@pytest.mark.parametrize("drives", range(1, 17))
def test_up_to_16_drives_of_one_machine_are_one_set(drives: int) -> None:
    assert choose_layout(drives) == SetLayout(1, drives)


@pytest.mark.parametrize(
    ("drives", "hosts", "expected"),
    [
        (18, 1, SetLayout(2, 9)),
        (20, 1, SetLayout(2, 10)),
        (32, 1, SetLayout(2, 16)),
        (34, 1, SetLayout(17, 2)),
        (4, 4, SetLayout(1, 4)),
        (16, 4, SetLayout(1, 16)),
        (24, 6, SetLayout(2, 12)),
        (32, 4, SetLayout(2, 16)),
        (32, 32, SetLayout(2, 16)),
        (20, 20, SetLayout(2, 10)),
        (40, 5, SetLayout(4, 10)),
        (64, 3 + 1, SetLayout(4, 16)),
    ],
)
def test_the_widest_even_sets_are_chosen(drives: int, hosts: int, expected: SetLayout) -> None:
    assert choose_layout(drives, hosts) == expected


def test_a_given_width_is_used() -> None:
    assert choose_layout(16, 4, 8) == SetLayout(2, 8)
    assert choose_layout(16, 1, 2) == SetLayout(8, 2)
    assert choose_layout(1, 1, 1) == SetLayout(1, 1)


def test_a_width_that_does_not_fit_is_refused_naming_those_that_do() -> None:
    with pytest.raises(LayoutRefused, match="set widths that do: 2, 4, 8, 16") as refusal:
        choose_layout(16, 4, 5)
    assert refusal.value.widths == (2, 4, 8, 16)
    with pytest.raises(LayoutRefused):
        choose_layout(4, 1, 1)


def test_a_width_that_divides_but_lies_unevenly_over_the_hosts_is_refused() -> None:
    with pytest.raises(LayoutRefused) as refusal:
        choose_layout(24, 6, 8)
    assert refusal.value.widths == (2, 3, 6, 12)


def test_drives_that_fit_no_width_are_refused_naming_counts_that_would() -> None:
    with pytest.raises(LayoutRefused, match=r"17 drives: .*use 16 or 18 drives"):
        choose_layout(17)
    with pytest.raises(LayoutRefused, match="17 drives on 17 hosts"):
        choose_layout(17, 17)
    with pytest.raises(LayoutRefused, match="equally many"):
        choose_layout(7, 2)


@given(st.integers(1, 40), st.integers(1, 20))
def test_sets_hold_every_drive_once_and_every_host_equally(hosts: int, per_host: int) -> None:
    drives = [[(host, number) for number in range(per_host)] for host in range(hosts)]
    for width in possible_widths(hosts * per_host, hosts):
        sets = arrange(drives, width)
        assert Counter(drive for chosen in sets for drive in chosen) == Counter(d for host in drives for d in host)
        for chosen in sets:
            assert len(chosen) == width
            counts = Counter(host for host, _ in chosen)
            assert len(set(counts.values())) == 1
            assert len(counts) == min(hosts, width)


def test_neighbouring_slots_lie_on_different_hosts() -> None:
    assert arrange([["a1", "a2"], ["b1", "b2"]]) == [("a1", "b1", "a2", "b2")]
    assert arrange([["a1", "a2"], ["b1", "b2"]], 2) == [("a1", "b1"), ("a2", "b2")]
    assert arrange([["a"], ["b"], ["c"], ["d"]], 2) == [("a", "b"), ("c", "d")]
    assert arrange([["d1", "d2", "d3"]]) == [("d1", "d2", "d3")]


def test_uneven_hosts_are_refused() -> None:
    with pytest.raises(LayoutRefused, match="2, 1 drives"):
        arrange([["a1", "a2"], ["b1"]])


def test_drives_are_grouped_by_host_in_order() -> None:
    assert group_by(["b1", "a1", "b2"], ["b", "a", "b"]) == [["b1", "b2"], ["a1"]]
