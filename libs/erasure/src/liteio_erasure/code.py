"""`CodeParams`: how many data and parity shards a block has, and the quorums that follow from it."""

from dataclasses import dataclass, field
from functools import lru_cache

from liteio_base.check import check
from liteio_base.limits import BLOCK_BYTES, SET_DRIVES_MAX
from liteio_erasure.errors import CodeRefused


@dataclass(frozen=True, slots=True)
class CodeParams:
    """K data and M parity shards: any K of the N = K + M give a block back.

    1 ≤ k, 0 ≤ m ≤ k, k + m ≤ 16; anything else raises CodeRefused. Parity above K is refused because more than half
    of the drives could then be lost, and no write quorum would be both reachable and a majority.
    """

    k: int
    m: int
    width: int = field(init=False, repr=False, compare=False)
    """N, the number of shards, one a drive."""
    write_quorum: int = field(init=False, repr=False, compare=False)
    """W, the drives whose acceptance makes a commit acknowledged: more than N/2 (PROTOCOL, first paragraph)."""
    read_quorum: int = field(init=False, repr=False, compare=False)
    """N - W + 1, the authoritative answers that prove absence: one of them meets every write quorum."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise CodeRefused(self.k, self.m, "at least one data shard is needed")
        if self.m < 0:
            raise CodeRefused(self.k, self.m, "parity can not be negative")
        if self.m > self.k:
            raise CodeRefused(self.k, self.m, "parity must not exceed data")
        if self.k + self.m > SET_DRIVES_MAX:
            raise CodeRefused(self.k, self.m, f"a set has at most {SET_DRIVES_MAX} drives")
        write_quorum = self.k + 1 if self.m >= 2 or self.k == self.m else self.k
        object.__setattr__(self, "width", self.k + self.m)  # asked for many times a request, as attributes
        object.__setattr__(self, "write_quorum", write_quorum)
        object.__setattr__(self, "read_quorum", self.width - write_quorum + 1)

    def __str__(self) -> str:
        return f"{self.k}+{self.m}"

    @classmethod
    def of(cls, k: int, m: int) -> "CodeParams":
        """As the constructor, for what is asked often: checked once, and then the same object."""
        return _params(k, m)

    @classmethod
    def for_set(cls, set_drives: int, parity: int | None = None) -> "CodeParams":
        """The code of a set of `set_drives` drives, with `parity` or the default parity. Raises CodeRefused."""
        m = default_parity(set_drives) if parity is None else parity
        return cls(set_drives - m, m)

    def shard_bytes(self, block_length: int) -> int:
        """Bytes of each shard of a block: block_length / K rounded up, 0 for an empty block."""
        check(block_length >= 0, "a block's length is not negative")
        return -(-block_length // self.k)

    def shard_file_bytes(self, part_length: int) -> int:
        """Bytes of all shard blocks of one drive for a part, back to back, without the footer."""
        check(part_length >= 0, "a part's length is not negative")
        full_blocks, rest = divmod(part_length, BLOCK_BYTES)
        return full_blocks * self.shard_bytes(BLOCK_BYTES) + self.shard_bytes(rest)


@lru_cache(maxsize=SET_DRIVES_MAX * SET_DRIVES_MAX)
def _params(k: int, m: int) -> CodeParams:
    return CodeParams(k, m)


def default_parity(set_drives: int) -> int:
    """M for a set of `set_drives` drives when none is chosen: 1→0, 2-3→1, 4-5→2, 6-7→3, 8 and more→4."""
    if not 1 <= set_drives <= SET_DRIVES_MAX:
        raise CodeRefused(set_drives, 0, f"a set has 1 to {SET_DRIVES_MAX} drives")
    return min(set_drives // 2, 4)
