"""Reed-Solomon coding of blocks, the keyed hash of their shards, where they lie, and quorum arithmetic."""

from liteio_erasure.bitrot import HASH_BYTES, hash_block, hash_blocks, verify_block, wrong_blocks
from liteio_erasure.code import CodeParams, default_parity
from liteio_erasure.codec import Codec, codec_for
from liteio_erasure.errors import CodecError, CodeRefused, ShardIndexWrong, ShardSizeWrong, TooFewShards
from liteio_erasure.framing import BlockRun, BlockSplitter, ShardLayout

__all__ = [
    "HASH_BYTES",
    "BlockRun",
    "BlockSplitter",
    "CodeParams",
    "CodeRefused",
    "Codec",
    "CodecError",
    "ShardIndexWrong",
    "ShardLayout",
    "ShardSizeWrong",
    "TooFewShards",
    "codec_for",
    "default_parity",
    "hash_block",
    "hash_blocks",
    "verify_block",
    "wrong_blocks",
]
