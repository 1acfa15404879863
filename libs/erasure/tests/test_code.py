import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_base.limits import BLOCK_BYTES
from liteio_erasure import CodeParams, CodeRefused, default_parity

LEGAL = [CodeParams(k, m) for k in range(1, 17) for m in range(min(k, 16 - k) + 1)]


@pytest.mark.parametrize(("k", "m"), [(0, 0), (0, 1), (-1, 0), (1, 2), (4, 5), (2, -1), (16, 1), (9, 8), (17, 0)])
def test_impossible_codes_are_refused(k: int, m: int) -> None:
    with pytest.raises(CodeRefused) as refusal:
        CodeParams(k, m)
    assert (refusal.value.k, refusal.value.m) == (k, m)


@pytest.mark.parametrize(
    ("k", "m", "write", "read"),
    [
        (1, 0, 1, 1),
        (4, 0, 4, 1),
        (1, 1, 2, 1),
        (2, 1, 2, 2),
        (2, 2, 3, 2),
        (3, 2, 4, 2),
        (5, 1, 5, 2),
        (4, 3, 5, 3),
        (4, 4, 5, 4),
        (8, 4, 9, 4),
        (12, 4, 13, 4),
        (8, 8, 9, 8),
    ],
)
def test_quorums_follow_the_protocol(k: int, m: int, write: int, read: int) -> None:
    assert (CodeParams(k, m).write_quorum, CodeParams(k, m).read_quorum) == (write, read)


@pytest.mark.parametrize("code", LEGAL, ids=str)
def test_every_write_quorum_is_a_majority_that_can_be_read_and_met(code: CodeParams) -> None:
    assert 2 * code.write_quorum > code.width
    assert code.k <= code.write_quorum <= code.width
    assert code.read_quorum + code.write_quorum == code.width + 1


def test_default_parity_by_set_size() -> None:
    assert [default_parity(drives) for drives in range(1, 17)] == [0, 1, 1, 2, 2, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4]
    for drives in (0, 17):
        with pytest.raises(CodeRefused):
            default_parity(drives)


def test_code_for_a_set_takes_the_default_or_the_given_parity() -> None:
    assert CodeParams.for_set(4) == CodeParams(2, 2)
    assert CodeParams.for_set(16) == CodeParams(12, 4)
    assert CodeParams.for_set(6, 2) == CodeParams(4, 2)
    with pytest.raises(CodeRefused):
        CodeParams.for_set(6, 4)


@given(st.sampled_from(LEGAL), st.integers(0, BLOCK_BYTES))
def test_shards_are_just_big_enough(code: CodeParams, block_length: int) -> None:
    size = code.shard_bytes(block_length)
    assert size * code.k >= block_length
    assert (size - 1) * code.k < block_length or size == 0


def test_shard_file_bytes_sum_over_blocks() -> None:
    code = CodeParams(3, 2)
    full = code.shard_bytes(BLOCK_BYTES)
    assert full == 349_526
    assert code.shard_file_bytes(0) == 0
    assert code.shard_file_bytes(1) == 1
    assert code.shard_file_bytes(BLOCK_BYTES) == full
    assert code.shard_file_bytes(2 * BLOCK_BYTES + 7) == 2 * full + 3
