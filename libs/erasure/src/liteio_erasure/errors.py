"""What the codec can refuse, each with the facts of the case.

CodecError
├── CodeRefused      a K and M that no set may use
├── TooFewShards     fewer than K shards of a block
├── ShardSizeWrong   a shard that can not belong to a block of this length
└── ShardIndexWrong  a shard index outside 0 ≤ index < K + M
"""


class CodecError(Exception):
    """A block can not be coded, decoded or rebuilt as asked."""


class CodeRefused(CodecError):
    """No set may use this K and M."""

    def __init__(self, k: int, m: int, reason: str) -> None:
        super().__init__(f"{k} data and {m} parity shards: {reason}")
        self.k, self.m, self.reason = k, m, reason


class TooFewShards(CodecError):
    """Fewer than K shards of a block were given."""

    def __init__(self, needed: int, got: int) -> None:
        super().__init__(f"{got} shards given, {needed} needed")
        self.needed, self.got = needed, got


class ShardSizeWrong(CodecError):
    """A shard's length does not fit the block it is said to belong to."""

    def __init__(self, index: int, expected: int, got: int) -> None:
        super().__init__(f"shard {index} has {got} bytes, {expected} expected")
        self.index, self.expected, self.got = index, expected, got


class ShardIndexWrong(CodecError):
    """The code has no shard of this index."""

    def __init__(self, index: int, width: int) -> None:
        super().__init__(f"shard index {index} is not one of 0 to {width - 1}")
        self.index, self.width = index, width
