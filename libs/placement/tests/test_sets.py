from collections import Counter
from itertools import permutations
from time import perf_counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_base.check import BrokenBelief
from liteio_base.ids import BucketId, DeploymentId
from liteio_placement import drive_order, placement_name, set_index
from liteio_placement.sets import _siphash

DEPLOYMENT = DeploymentId("000102030405060708090a0b0c0d0e0f")
OTHER = DeploymentId("f" * 32)


def names(count: int, pattern: str = "photos/2024/{:06d}.jpg") -> list[bytes]:
    bucket = BucketId("0123456789abcdef" * 2)
    return [placement_name(bucket, pattern.format(number).encode()) for number in range(count)]


def chi_square(counts: Counter[int], cells: int) -> float:
    expected = counts.total() / cells
    return sum((counts[cell] - expected) ** 2 / expected for cell in range(cells))


def test_siphash_is_siphash_2_4() -> None:
    """The vector in appendix A of the SipHash paper (Aumasson, Bernstein: SipHash, 2012)."""
    assert _siphash(bytes(range(15)), DEPLOYMENT) == 0xA129CA6149BE45E5


def test_names_keep_buckets_and_keys_apart() -> None:
    assert placement_name(BucketId("ab"), b"c\0d") == b"ab\0c\0d"
    assert placement_name(BucketId(""), b"key") == b"\0key"


@pytest.mark.parametrize("pattern", ["photos/2024/{:06d}.jpg", "{}", "a/b/c/{:x}/part"])
@pytest.mark.parametrize("sets", [2, 3, 16, 100])
def test_sets_fill_evenly(sets: int, pattern: str) -> None:
    counts = Counter(set_index(name, DEPLOYMENT, sets) for name in names(10_000, pattern))
    assert chi_square(counts, sets) < sets + 5 * (2 * sets) ** 0.5 + 15


def test_the_set_depends_on_the_deployment() -> None:
    sample = names(1000)
    moved = sum(set_index(name, DEPLOYMENT, 16) != set_index(name, OTHER, 16) for name in sample)
    assert moved > 850


@given(st.binary(max_size=50), st.integers(0, 10_000), st.integers(1, 16))
def test_drive_order_is_a_permutation(name: bytes, index: int, width: int) -> None:
    assert sorted(drive_order(name, index, width, DEPLOYMENT)) == list(range(width))


def test_every_order_of_a_small_set_is_equally_likely() -> None:
    counts = Counter(drive_order(name, 0, 4, DEPLOYMENT) for name in names(12_000))
    orders = list(permutations(range(4)))
    expected = 12_000 / len(orders)
    assert sum((counts[order] - expected) ** 2 / expected for order in orders) < 70  # 23 degrees of freedom


def test_every_drive_of_a_wide_set_holds_every_shard_equally_often() -> None:
    orders = [drive_order(name, 3, 16, DEPLOYMENT) for name in names(8_000)]
    for shard in range(16):
        assert chi_square(Counter(order[shard] for order in orders), 16) < 60  # 15 degrees of freedom


def test_the_order_is_independent_of_the_set_and_salted_by_it() -> None:
    in_one_set = [name for name in names(16_000) if set_index(name, DEPLOYMENT, 4) == 0]
    first_drives = Counter(drive_order(name, 0, 4, DEPLOYMENT)[0] for name in in_one_set)
    assert chi_square(first_drives, 4) < 30
    same = sum(drive_order(name, 0, 8, DEPLOYMENT) == drive_order(name, 1, 8, DEPLOYMENT) for name in names(500))
    assert same < 5


def test_drive_order_is_cheap() -> None:
    """The budget is 5 µs; eight times that is allowed here, because a test machine may be busy with other things."""
    sample = names(200)
    best = min(_seconds_for(sample) for _ in range(5))
    assert best / len(sample) < 40e-6


def _seconds_for(sample: list[bytes]) -> float:
    started = perf_counter()
    for name in sample:
        drive_order(name, 0, 16, DEPLOYMENT)
    return perf_counter() - started


def test_impossible_sets_are_broken_beliefs() -> None:
    with pytest.raises(BrokenBelief):
        set_index(b"name", DEPLOYMENT, 0)
    with pytest.raises(BrokenBelief):
        drive_order(b"name", 0, 17, DEPLOYMENT)
    with pytest.raises(BrokenBelief):
        set_index(b"name", DeploymentId("00"), 2)
