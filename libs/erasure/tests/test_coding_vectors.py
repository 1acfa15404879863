"""What is on disks today must decode tomorrow: the codes' output, frozen. A failure here is a change of format."""

import hashlib
import json
from pathlib import Path

import pytest

from liteio_base.limits import BLOCK_BYTES
from liteio_erasure import CodeParams, codec_for

VECTORS = json.loads((Path(__file__).parent / "vectors" / "coding.json").read_text())


def field_product(left: int, right: int) -> int:
    """In GF(2^8) with the polynomial 0x11d, bit by bit: slow, and nothing of the library's."""
    product = 0
    while right:
        product ^= left if right & 1 else 0
        left = left << 1 ^ (0x11D if left & 0x80 else 0)
        right >>= 1
    return product


INVERSE = {one: other for one in range(1, 256) for other in range(1, 256) if field_product(one, other) == 1}


@pytest.mark.parametrize("code", [CodeParams(1, 1), CodeParams(2, 1), CodeParams(5, 3), CodeParams(8, 8)], ids=str)
def test_parity_is_the_documented_cauchy_sum(code: CodeParams) -> None:
    shards = codec_for(code).encode(counting_block(5 * code.k))
    for row in range(code.k, code.width):
        expected = [0] * 5
        for column in range(code.k):
            for place, byte in enumerate(shards[column]):
                expected[place] ^= field_product(INVERSE[row ^ column], byte)
        assert shards[row] == bytes(expected)


def counting_block(length: int) -> bytes:
    """Bytes that differ from place to place and need no generator to repeat: byte i is (i * 7 + i // 256) mod 256."""
    return bytes((index * 7 + index // 256) & 0xFF for index in range(length))


@pytest.mark.parametrize("vector", VECTORS["shards"], ids=lambda vector: f"{vector['k']}+{vector['m']}")
def test_small_blocks_code_to_the_frozen_shards(vector: dict[str, object]) -> None:
    codec = codec_for(CodeParams(int(str(vector["k"])), int(str(vector["m"]))))
    block = bytes.fromhex(str(vector["block"]))
    assert [shard.hex() for shard in codec.encode(block)] == vector["shards"]


@pytest.mark.parametrize("vector", VECTORS["full_blocks"], ids=lambda vector: f"{vector['k']}+{vector['m']}")
def test_full_blocks_code_to_the_frozen_digest(vector: dict[str, object]) -> None:
    codec = codec_for(CodeParams(int(str(vector["k"])), int(str(vector["m"]))))
    shards = codec.encode(counting_block(BLOCK_BYTES))
    assert hashlib.sha256(b"".join(shards)).hexdigest() == vector["sha256"]
