import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_base.byte_span import ByteSpan
from liteio_base.check import BrokenBelief
from liteio_base.limits import BLOCK_BYTES
from liteio_erasure import BlockRun, BlockSplitter, CodeParams, ShardLayout

codes = st.sampled_from([CodeParams(1, 0), CodeParams(2, 1), CodeParams(3, 2), CodeParams(4, 2), CodeParams(7, 4)])
lengths = st.one_of(
    st.integers(0, 3 * BLOCK_BYTES),
    st.integers(0, 4).flatmap(lambda blocks: st.integers(-1, 1).map(lambda by: max(0, blocks * BLOCK_BYTES + by))),
)


@given(codes, lengths)
def test_shard_blocks_stand_back_to_back_and_fill_the_file(code: CodeParams, length: int) -> None:
    layout = ShardLayout(code, length)
    position = part_position = 0
    for number in range(layout.block_count):
        assert layout.block_span(number).start == part_position
        assert layout.shard_block_span(number).start == position
        assert layout.block_at(position) == number
        position = layout.shard_block_span(number).end
        assert layout.block_at(position - 1) == number
        part_position = layout.block_span(number).end
    assert (position, part_position) == (layout.shard_file_bytes, length)


@given(codes, lengths, st.data())
def test_the_blocks_of_a_span_hold_it_exactly(code: CodeParams, length: int, data: st.DataObject) -> None:
    layout = ShardLayout(code, length)
    start = data.draw(st.integers(0, length))
    span = ByteSpan(start, data.draw(st.integers(0, length - start)))
    run = layout.blocks_of(span)
    wanted = [layout.wanted_in_block(number, span) for number in range(run.first, run.end)]
    assert sum(piece.length for piece in wanted) == span.length
    assert all(piece.length > 0 for piece in wanted)
    if wanted:
        assert run.first * BLOCK_BYTES + wanted[0].start == span.start
    shard_span = layout.shard_span_of(run)
    assert shard_span.length == sum(layout.shard_block_span(n).length for n in range(run.first, run.end))


def test_layout_of_a_part_with_a_short_last_block() -> None:
    layout = ShardLayout(CodeParams(3, 2), 2 * BLOCK_BYTES + 10)
    assert layout.block_count == 3
    assert layout.block_length(2) == 10
    assert layout.shard_block_span(2) == ByteSpan(699_052, 4)
    assert layout.blocks_of(ByteSpan(BLOCK_BYTES - 1, 2)) == BlockRun(0, 2)
    assert layout.shard_span_of(BlockRun(1, 2)) == ByteSpan(349_526, 349_530)
    assert layout.wanted_in_block(0, ByteSpan(5, 10)) == ByteSpan(5, 10)
    assert layout.wanted_in_block(1, ByteSpan(5, 10)) == ByteSpan(0, 0)


def test_an_empty_part_has_no_blocks() -> None:
    layout = ShardLayout(CodeParams(2, 2), 0)
    assert (layout.block_count, layout.shard_file_bytes) == (0, 0)
    assert layout.blocks_of(ByteSpan(0, 0)).count == 0
    assert layout.shard_span_of(BlockRun(0, 0)) == ByteSpan(0, 0)
    with pytest.raises(BrokenBelief):
        layout.block_length(0)


def test_a_span_past_the_part_is_a_broken_belief() -> None:
    with pytest.raises(BrokenBelief):
        ShardLayout(CodeParams(2, 2), 100).blocks_of(ByteSpan(50, 51))


@given(st.lists(st.binary(max_size=40)), st.integers(1, 17))
def test_split_blocks_join_to_the_stream(chunks: list[bytes], block_bytes: int) -> None:
    splitter = BlockSplitter(block_bytes)
    blocks = [block for chunk in chunks for block in splitter.receive(chunk)]
    assert all(len(block) == block_bytes for block in blocks)
    last = splitter.finish()
    assert last is None or 0 < len(last) < block_bytes
    assert b"".join(blocks) + (last or b"") == b"".join(chunks)


@given(st.lists(st.sampled_from([1, 100, 4095, 4096, 5000, 20_000]), max_size=30))
def test_big_and_small_chunks_mix(sizes: list[int]) -> None:
    chunks = [bytes([index % 251]) * size for index, size in enumerate(sizes)]
    splitter = BlockSplitter(16_384)
    blocks = [block for chunk in chunks for block in splitter.receive(chunk)]
    assert b"".join(blocks) + (splitter.finish() or b"") == b"".join(chunks)


def test_blocks_are_given_as_soon_as_they_are_complete() -> None:
    splitter = BlockSplitter(4)
    assert splitter.receive(b"abc") == []
    assert splitter.receive(b"defghi") == [b"abcd", b"efgh"]
    assert splitter.finish() == b"i"
    assert splitter.finish() is None


def test_a_whole_block_is_passed_on_without_a_copy() -> None:
    chunk = bytes(8)
    [block] = BlockSplitter(8).receive(chunk)
    assert block is chunk
