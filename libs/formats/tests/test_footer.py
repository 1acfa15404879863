from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_base.ids import DataId
from liteio_formats.footer import (
    ALIGNMENT_BYTES,
    TRAILER_BYTES,
    FooterError,
    ShardFooter,
    decode_footer,
    encode_footer,
    footer_bytes,
    trailer_says,
)


@st.composite
def _footers(draw: st.DrawFn) -> ShardFooter:
    hashes = tuple(draw(st.lists(st.binary(min_size=32, max_size=32), max_size=200)))
    each = draw(st.integers(1, 2**20))
    last = draw(st.integers(1, each))
    return ShardFooter(
        data_id=DataId(draw(st.binary(min_size=16, max_size=16)).hex()),
        part_number=draw(st.integers(1, 10_000)),
        shard_index=draw(st.integers(0, 15)),
        k=draw(st.integers(1, 16)),
        m=draw(st.integers(0, 8)),
        part_size_bytes=draw(st.integers(0, 2**40)),
        block_bytes=2**20,
        shard_block_bytes=each,
        data_bytes=(len(hashes) - 1) * each + last if hashes else 0,
        hashes=hashes,
    )


footers = _footers()


@given(footers)
def test_a_footer_comes_back_as_it_was(footer: ShardFooter) -> None:
    encoded = encode_footer(footer)
    assert decode_footer(encoded) == footer
    assert len(encoded) == footer_bytes(len(footer.hashes))
    assert len(encoded) % ALIGNMENT_BYTES == 0
    assert footer.file_bytes % ALIGNMENT_BYTES == 0


@given(footers)
def test_the_last_bytes_say_how_long_it_is(footer: ShardFooter) -> None:
    encoded = encode_footer(footer)
    assert trailer_says(encoded[-TRAILER_BYTES:]) == len(encoded)


@given(footers, st.data())
def test_any_flipped_bit_is_noticed(footer: ShardFooter, data: st.DataObject) -> None:
    encoded = bytearray(encode_footer(footer))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(FooterError):
        decode_footer(bytes(encoded))


@given(footers, st.data())
def test_a_cut_footer_is_noticed(footer: ShardFooter, data: st.DataObject) -> None:
    encoded = encode_footer(footer)
    with pytest.raises(FooterError):
        decode_footer(encoded[data.draw(st.integers(1, len(encoded))) :])


@given(st.binary(max_size=200))
def test_garbage_is_no_footer(garbage: bytes) -> None:
    with pytest.raises(FooterError):
        decode_footer(garbage)


def test_lengths_that_contradict_are_refused() -> None:
    footer = ShardFooter(DataId("0" * 32), 1, 0, 2, 2, 10, 2**20, 5, 11, (bytes(32), bytes(32), bytes(32)))
    assert decode_footer(encode_footer(footer)) == footer
    broken = ShardFooter(DataId("0" * 32), 1, 0, 2, 2, 10, 2**20, 5, 10, (bytes(32), bytes(32), bytes(32)))
    with pytest.raises(FooterError, match="contradict"):
        decode_footer(encode_footer(broken))


def test_the_sample_of_version_1_is_read() -> None:
    sample = (Path(__file__).parent / "vectors" / "shard-footer-1.bin").read_bytes()
    hashes = (bytes(range(32)), bytes(range(32, 64)))
    data_id = DataId("00112233445566778899aabbccddeeff")
    expected = ShardFooter(data_id, 7, 2, 2, 2, 1048577, 1048576, 524288, 524289, hashes)
    assert decode_footer(sample) == expected
    assert encode_footer(expected) == sample
