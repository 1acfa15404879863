"""`Codec`: a block to K + M raw shards, and back from any K of them.

The code is Reed-Solomon over GF(256) with a Cauchy matrix (ISA-L through pyeclib's `isa_l_rs_cauchy`): systematic, and
every K of the N shards can be inverted. Docs: docs/formats/shard.md, "Coding"; ADR-0001.
Measured on a shared x86-64 core, microseconds a block: encode, join of whole data shards, decode with a data shard
missing, rebuild of one shard. 4+2: 4 KiB 4, 2, 8, 10; 64 KiB 15, 3, 20, 17; 1 MiB 256, 46, 230, 137. 8+4: 4 KiB 7, 3,
13, 14; 64 KiB 20, 4, 28, 22; 1 MiB 340, 50, 320, 150. 1+1 passes references, whatever the size. Stripping the library's
header is one copy of the shards, about 70 of the 256.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from pyeclib.ec_iface import ECDriver, ECDriverError

from liteio_base.check import BrokenBelief, check
from liteio_base.limits import BLOCK_BYTES, KIB, MIB, SET_DRIVES_MAX
from liteio_erasure._fragments import HEADER_BYTES, learn_templates, make_header
from liteio_erasure.code import CodeParams
from liteio_erasure.errors import CodecError, ShardIndexWrong, ShardSizeWrong, TooFewShards

_BACKEND: Final = "isa_l_rs_cauchy"
PIECE_BYTES_MIN: Final = 256 * KIB  # to join smaller ones costs less than to send each on its own
_FREED_BYTES_KEPT: Final = 31 * MIB  # glibc raises its thresholds for blocks of up to 32 MiB
_CODES_MAX: Final = SET_DRIVES_MAX * SET_DRIVES_MAX  # more than there are legal pairs of K and M


@lru_cache(maxsize=_CODES_MAX)
def codec_for(params: CodeParams) -> "Codec":
    """The process's one `Codec` of these parameters. Cost: a dictionary look-up, once made."""
    return Codec(params)


def _keep_freed_memory() -> None:
    """Have glibc keep the memory of freed shards instead of handing it back to the kernel after every block.

    Coding 1 MiB takes 2 to 3 MiB from malloc; given back and faulted in again page by page, that made encode 6 to 15
    times slower (4+2: 1,500 to 2,400 µs against 256 µs). Freeing one big mapping, never touched, raises glibc's mmap
    and trim thresholds for the process (mallopt(3), "dynamic mmap threshold"): up to 62 MiB that are free stay mapped.
    Other allocators, and an operator's MALLOC_ variables, are not changed. ADR-0001.
    """
    bytes(_FREED_BYTES_KEPT)


class Codec:
    """Codes and decodes blocks of at most BLOCK_BYTES. Holds no state between calls; every call holds the GIL."""

    __slots__ = ("_data_indexes", "_driver", "_headers", "_templates", "params")

    def __init__(self, params: CodeParams) -> None:
        self.params = params
        self._data_indexes = range(params.k)
        self._driver: ECDriver | None = None
        self._templates: list[bytes] = []
        self._headers: tuple[int, list[bytes]] = (-1, [])  # of the block length seen last: nearly always a full block
        if params.width > 2:  # 1+0 and 1+1 are copies: see `encode`
            self._open_driver(params)

    def _open_driver(self, params: CodeParams) -> None:
        if params.m == 0:
            return  # Plain striping: pyeclib refuses m = 0.
        _keep_freed_memory()
        driver = ECDriver(k=params.k, m=params.m, ec_type=_BACKEND)
        longer = bytes(64 * params.k + 1)
        short, proof = driver.encode(b"\0"), driver.encode(longer)
        self._templates = learn_templates(short, proof, params.shard_bytes(len(longer)), len(longer))
        self._driver = driver

    def encode(self, block: bytes | memoryview) -> list[bytes]:
        """Code one block into K data and M parity shards, in shard order.

        Shapes: 0 ≤ len(block) ≤ BLOCK_BYTES → K + M shards, each `params.shard_bytes(len(block))` bytes; data shards
        are the block cut in K, the last ones padded with zeros. With K = 1 all shards are the block itself, not copied.
        Raises: CodecError if the native coder refuses. Cost: one pass and one copy, holding the interpreter lock.
        Source: docs/formats/shard.md, "Coding".
        """
        check(len(block) <= BLOCK_BYTES, "a block has at most BLOCK_BYTES")
        whole = block if type(block) is bytes else bytes(block)
        if self.params.k == 1:
            return [whole] * self.params.width  # The Cauchy coefficient of 1+1 is 1: its parity is the block.
        if not whole:
            return [b""] * self.params.width
        if self._driver is None:
            return self._stripe(whole)
        try:
            return [fragment[HEADER_BYTES:] for fragment in self._driver.encode(whole)]
        except ECDriverError as error:
            raise CodecError(f"coding {len(whole)} bytes as {self.params}: {error}") from error

    def decode(self, shards: Mapping[int, bytes], block_length: int) -> bytes:
        """The block of which `shards` (by index) are some; further shards than K are not looked at.

        Joins when all data shards are there, decodes from any K otherwise. The caller has verified the shards' hashes:
        a wrong byte in is a wrong byte out. Raises: TooFewShards, ShardSizeWrong, ShardIndexWrong, CodecError.
        """
        data = [shards[index] for index in self._data_indexes if index in shards]
        if len(data) == self.params.k:
            return self._join(data, block_length)
        chosen = self._choose(shards, block_length)
        if block_length == 0:
            return b""
        if self.params.k == 1:
            return next(iter(chosen.values()))
        return self._solve(chosen, block_length)

    def pieces(self, shards: Mapping[int, bytes], block_length: int) -> list[bytes]:
        """As `decode`, but in pieces that follow each other: big data shards are passed on as they are, not joined."""
        size = self.params.shard_bytes(block_length)
        if size < PIECE_BYTES_MIN or not all(index in shards for index in self._data_indexes):
            return [self.decode(shards, block_length)]
        return self._cut([shards[index] for index in self._data_indexes], block_length)

    def rebuild(self, shards: Mapping[int, bytes], wanted: Iterable[int], block_length: int) -> dict[int, bytes]:
        """The shards `wanted`, byte for byte as `encode` gave them, made from any K of the block's shards.

        What is asked for and given is given back as it is. Raises as `decode` does. Cost: one solving a missing shard.
        """
        wanted_set = set(wanted)
        for index in wanted_set:
            self._check_index(index)
        chosen = self._choose(shards, block_length)
        missing = sorted(wanted_set - shards.keys())
        found = {index: shards[index] for index in wanted_set if index in shards}
        if not missing:
            return found
        if self._driver is None or block_length == 0:
            coded = self.encode(self.decode(chosen, block_length))
            return found | {index: coded[index] for index in missing}
        return found | dict(zip(missing, self._solve_for(chosen, missing, block_length), strict=True))

    def _stripe(self, block: bytes) -> list[bytes]:
        size = self.params.shard_bytes(len(block))
        shards = [block[start : start + size] for start in range(0, size * self.params.k, size)]
        return [shard if len(shard) == size else shard.ljust(size, b"\0") for shard in shards]

    def _join(self, data: list[bytes], block_length: int) -> bytes:
        pieces = self._cut(data, block_length)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _cut(self, data: list[bytes], block_length: int) -> list[bytes]:
        """Data shards in order, padding cut off piecewise: cutting the joined block would copy it once more."""
        size = self.params.shard_bytes(block_length)
        for index, shard in enumerate(data):
            if len(shard) != size:
                raise ShardSizeWrong(index, size, len(shard))
        if len(data) * size == block_length:
            return data
        whole, rest = divmod(block_length, size)
        return [*data[:whole], data[whole][:rest]]

    def _solve(self, shards: Mapping[int, bytes], block_length: int) -> bytes:
        try:
            block = self._native().decode(self._fragments(shards, block_length))
        except ECDriverError as error:
            raise CodecError(f"decoding {self.params} from shards {sorted(shards)}: {error}") from error
        check(len(block) == block_length, "the decoder gives back the block's length")
        return block

    def _solve_for(self, shards: Mapping[int, bytes], missing: list[int], block_length: int) -> list[bytes]:
        fragments = self._fragments(shards, block_length)
        try:
            made = [fragment[HEADER_BYTES:] for fragment in self._native().reconstruct(fragments, list(missing))]
        except ECDriverError as error:
            raise CodecError(f"rebuilding shards {missing} of {self.params} from {sorted(shards)}: {error}") from error
        size = self.params.shard_bytes(block_length)
        check(all(len(shard) == size for shard in made), "a rebuilt shard has the size of its siblings")
        return made

    def _native(self) -> ECDriver:
        if self._driver is None:
            raise BrokenBelief("only a code with parity and two or more data shards has anything to solve")
        return self._driver

    def _choose(self, shards: Mapping[int, bytes], block_length: int) -> dict[int, bytes]:
        """K of the shards, data first, each checked for index and size."""
        if len(shards) < self.params.k:
            raise TooFewShards(self.params.k, len(shards))
        size = self.params.shard_bytes(block_length)
        chosen: dict[int, bytes] = {}
        for index in sorted(shards)[: self.params.k]:
            self._check_index(index)
            if len(shards[index]) != size:
                raise ShardSizeWrong(index, size, len(shards[index]))
            chosen[index] = shards[index]
        return chosen

    def _check_index(self, index: int) -> None:
        if not 0 <= index < self.params.width:
            raise ShardIndexWrong(index, self.params.width)

    def _fragments(self, shards: Mapping[int, bytes], block_length: int) -> list[bytes]:
        length, headers = self._headers
        if length != block_length:
            size = self.params.shard_bytes(block_length)
            headers = [make_header(template, size, block_length) for template in self._templates]
            self._headers = (block_length, headers)  # one assignment, so that threads see a matching pair
        return [headers[index] + shard for index, shard in shards.items()]
