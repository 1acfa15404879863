import random
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liteio_base.limits import BLOCK_BYTES
from liteio_erasure import CodecError, CodeParams, ShardIndexWrong, ShardSizeWrong, TooFewShards, codec_for
from liteio_erasure.codec import PIECE_BYTES_MIN

LEGAL = [CodeParams(k, m) for k in range(1, 17) for m in range(min(k, 16 - k) + 1)]
codes = st.sampled_from(LEGAL)


def a_block(length: int) -> bytes:
    return random.Random(length).randbytes(length)


@pytest.mark.parametrize("code", LEGAL, ids=str)
def test_every_k_of_n_decode(code: CodeParams) -> None:
    block = a_block(5 * code.k - 3)
    codec = codec_for(code)
    shards = codec.encode(block)
    for kept in combinations(range(code.width), code.k):
        assert codec.decode({index: shards[index] for index in kept}, len(block)) == block, kept


@pytest.mark.parametrize("code", LEGAL, ids=str)
def test_every_shard_is_rebuilt_as_it_was(code: CodeParams) -> None:
    block = a_block(7 * code.k + 1)
    codec = codec_for(code)
    shards = codec.encode(block)
    for lost_count in range(1, code.m + 1):
        for first in range(code.width):
            lost = {(first + step) % code.width for step in range(lost_count)}
            kept = {index: shard for index, shard in enumerate(shards) if index not in lost}
            assert codec.rebuild(kept, lost, len(block)) == {index: shards[index] for index in lost}


@pytest.mark.parametrize("code", LEGAL, ids=str)
@pytest.mark.parametrize("length", [0, 1, 2, 15, 16, 17, 255])
def test_small_blocks_come_back_from_parity(code: CodeParams, length: int) -> None:
    block = a_block(length)
    codec = codec_for(code)
    shards = codec.encode(block)
    assert [len(shard) for shard in shards] == [code.shard_bytes(length)] * code.width
    last_k = {index: shards[index] for index in range(code.m, code.width)}
    assert codec.decode(last_k, length) == block
    assert codec.decode(dict(enumerate(shards)), length) == block


@given(codes, st.binary(max_size=5000), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=150)
def test_any_k_shards_give_the_block_and_the_lost_ones(code: CodeParams, block: bytes, chance: random.Random) -> None:
    codec = codec_for(code)
    shards = codec.encode(block)
    order = chance.sample(range(code.width), code.width)
    kept = {index: shards[index] for index in order[: code.k]}
    assert codec.decode(kept, len(block)) == block
    assert codec.rebuild(kept, order, len(block)) == dict(enumerate(shards))


@given(codes, st.integers(0, BLOCK_BYTES), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=100)
def test_pieces_make_the_block(code: CodeParams, length: int, chance: random.Random) -> None:
    block = a_block(length)
    shards = codec_for(code).encode(block)
    kept = {index: shards[index] for index in chance.sample(range(code.width), code.k)}
    for known in (kept, dict(enumerate(shards))):
        assert b"".join(codec_for(code).pieces(known, length)) == block


def test_big_data_shards_are_pieces_as_they_are() -> None:
    codec = codec_for(CodeParams(2, 2))
    shards = codec.encode(a_block(2 * PIECE_BYTES_MIN))
    pieces = codec.pieces(dict(enumerate(shards)), 2 * PIECE_BYTES_MIN)
    assert [piece is shard for piece, shard in zip(pieces, shards[:2], strict=True)] == [True, True]
    assert len(codec.pieces(dict(enumerate(codec.encode(b"small"))), 5)) == 1
    with pytest.raises(ShardSizeWrong):
        codec.pieces({0: shards[0], 1: shards[1][1:]}, 2 * PIECE_BYTES_MIN)


@given(codes, st.binary(max_size=300))
@settings(deadline=None)
def test_data_shards_are_the_block_cut_and_padded(code: CodeParams, block: bytes) -> None:
    joined = b"".join(codec_for(code).encode(block)[: code.k])
    assert joined == block.ljust(len(joined), b"\0")


@pytest.mark.parametrize("code", [CodeParams(4, 2), CodeParams(3, 3), CodeParams(12, 4), CodeParams(5, 0)], ids=str)
def test_a_full_block_survives_the_loss_of_m_drives(code: CodeParams) -> None:
    block = a_block(BLOCK_BYTES)
    shards = codec_for(code).encode(block)
    assert codec_for(code).decode(dict(list(enumerate(shards))[code.m :]), BLOCK_BYTES) == block


def test_blocks_of_different_lengths_do_not_disturb_each_other() -> None:
    codec = codec_for(CodeParams(4, 2))
    for length in (1000, 999, 1000, 4, 1000):
        block = a_block(length)
        assert codec.decode(dict(list(enumerate(codec.encode(block)))[2:]), length) == block


def test_one_data_shard_is_the_block_itself_without_a_copy() -> None:
    block = a_block(100)
    for code in (CodeParams(1, 0), CodeParams(1, 1)):
        shards = codec_for(code).encode(block)
        assert all(shard is block for shard in shards)
        assert codec_for(code).decode({code.m: shards[-1]}, 100) is block


def test_the_copied_parity_of_1_and_1_is_what_the_native_coder_gives() -> None:
    from pyeclib.ec_iface import ECDriver

    fragments = ECDriver(k=1, m=1, ec_type="isa_l_rs_cauchy").encode(a_block(100))
    assert [fragment[80:] for fragment in fragments] == [a_block(100)] * 2


def test_a_memoryview_codes_as_its_bytes() -> None:
    codec = codec_for(CodeParams(4, 2))
    assert codec.encode(memoryview(a_block(99))) == codec.encode(a_block(99))


def test_codecs_are_made_once() -> None:
    assert codec_for(CodeParams(4, 2)) is codec_for(CodeParams(4, 2))


def test_too_few_shards_are_refused_with_the_numbers() -> None:
    codec = codec_for(CodeParams(4, 2))
    shards = dict(list(enumerate(codec.encode(a_block(100))))[:3])
    with pytest.raises(TooFewShards) as refusal:
        codec.decode(shards, 100)
    assert (refusal.value.needed, refusal.value.got) == (4, 3)
    with pytest.raises(TooFewShards):
        codec.rebuild(shards, [5], 100)


def test_a_shard_of_the_wrong_size_is_refused() -> None:
    codec = codec_for(CodeParams(4, 2))
    shards = dict(enumerate(codec.encode(a_block(100))))
    shards[2] += b"x"
    with pytest.raises(ShardSizeWrong) as refusal:
        codec.decode(shards, 100)
    assert (refusal.value.index, refusal.value.expected, refusal.value.got) == (2, 25, 26)


@pytest.mark.parametrize("index", [-1, 6])
def test_a_shard_index_outside_the_code_is_refused(index: int) -> None:
    codec = codec_for(CodeParams(4, 2))
    shards = dict(enumerate(codec.encode(a_block(100))))
    with pytest.raises(ShardIndexWrong):
        codec.decode({3: shards[3], 4: shards[4], 5: shards[5], index: shards[0]}, 100)
    with pytest.raises(ShardIndexWrong):
        codec.rebuild(shards, [index], 100)


def test_striping_without_parity_needs_every_shard() -> None:
    codec = codec_for(CodeParams(3, 0))
    shards = dict(enumerate(codec.encode(a_block(10))))
    assert codec.decode(shards, 10) == a_block(10)
    del shards[1]
    with pytest.raises(CodecError):
        codec.decode(shards, 10)
