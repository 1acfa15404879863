"""What is on disks today must decode tomorrow: the codes' output, frozen. A failure here is a change of format."""

import hashlib
import json
from pathlib import Path

import pytest

from liteio_base.limits import BLOCK_BYTES
from liteio_erasure import CodeParams, codec_for

VECTORS = json.loads((Path(__file__).parent / "vectors" / "coding.json").read_text())


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
