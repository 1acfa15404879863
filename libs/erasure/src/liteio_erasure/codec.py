"""`Codec`: a block to K + M raw shards, and back from any K of them.

The code is Reed-Solomon over GF(256) with a Cauchy matrix (ISA-L through pyeclib's `isa_l_rs_cauchy`): systematic, and
every K of the N shards can be inverted. Docs: docs/formats/shard.md, "Coding"; ADR-0001.
Measured on 2 shared x86-64 cores, microseconds a block, encode / decode with a data shard missing:
4+2: 4 KiB 4 / 8, 64 KiB 15 / 20, 1 MiB 420 / 400; 8+4: 4 KiB 6 / 13, 1 MiB 370 / 350. Stripping the library's header is
one memcpy of the shards (about 70 a MiB), joining whole data shards costs the same and decodes nothing.
"""

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from pyeclib.ec_iface import ECDriver, ECDriverError

from liteio_base.check import BrokenBelief, check
from liteio_base.limits import BLOCK_BYTES, SET_DRIVES_MAX
from liteio_erasure._fragments import HEADER_BYTES, learn_templates, make_header
from liteio_erasure.code import CodeParams
from liteio_erasure.errors import CodecError, ShardIndexWrong, ShardSizeWrong, TooFewShards

_BACKEND: Final = "isa_l_rs_cauchy"
_CODES_MAX: Final = SET_DRIVES_MAX * SET_DRIVES_MAX  # more than there are legal pairs of K and M


@lru_cache(maxsize=_CODES_MAX)
def codec_for(params: CodeParams) -> "Codec":
    """The process's one `Codec` of these parameters. Cost: a dictionary look-up, once made."""
    return Codec(params)


class Codec:
    """Codes and decodes blocks of at most BLOCK_BYTES. Holds no state between calls; every call holds the GIL."""

    __slots__ = ("_driver", "_headers", "_templates", "params")

    def __init__(self, params: CodeParams) -> None:
        self.params = params
        self._driver: ECDriver | None = None
        self._templates: list[bytes] = []
        self._headers: tuple[int, list[bytes]] = (-1, [])  # of the block length seen last: nearly always a full block
        if params.width > 2:  # 1+0 and 1+1 are copies: see `encode`
            self._open_driver(params)

    def _open_driver(self, params: CodeParams) -> None:
        if params.m == 0:
            return  # Plain striping: pyeclib refuses m = 0.
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
        chosen = self._choose(shards, block_length)
        if block_length == 0:
            return b""
        if self.params.k == 1:
            return next(iter(chosen.values()))
        if all(index in chosen for index in range(self.params.k)):
            return self._join(chosen, block_length)
        return self._solve(chosen, block_length)

    def rebuild(self, shards: Mapping[int, bytes], wanted: Iterable[int], block_length: int) -> dict[int, bytes]:
        """The shards `wanted`, byte for byte as `encode` gave them, made from any K of the block's shards.

        What is asked for and given is given back as it is. Raises as `decode` does. Cost: one solved shard, or for
        several one decode and one encode.
        """
        wanted_set = set(wanted)
        for index in wanted_set:
            self._check_index(index)
        chosen = self._choose(shards, block_length)
        missing = sorted(wanted_set - shards.keys())
        found = {index: shards[index] for index in wanted_set if index in shards}
        if not missing:
            return found
        if len(missing) == 1 and self._driver is not None and self.params.k > 1 and block_length > 0:
            return found | {missing[0]: self._solve_one(chosen, missing[0], block_length)}
        coded = self.encode(self.decode(chosen, block_length))
        return found | {index: coded[index] for index in missing}

    def _stripe(self, block: bytes) -> list[bytes]:
        size = self.params.shard_bytes(len(block))
        shards = [block[start : start + size] for start in range(0, size * self.params.k, size)]
        return [shard if len(shard) == size else shard.ljust(size, b"\0") for shard in shards]

    def _join(self, shards: Mapping[int, bytes], block_length: int) -> bytes:
        """Data shards in order, padding cut off piecewise: cutting the joined block would copy it once more."""
        size = self.params.shard_bytes(block_length)
        whole, rest = divmod(block_length, size)
        pieces = [shards[index] for index in range(whole)]
        if rest:
            pieces.append(shards[whole][:rest])
        return b"".join(pieces)

    def _solve(self, shards: Mapping[int, bytes], block_length: int) -> bytes:
        try:
            block = self._native().decode(self._fragments(shards, block_length))
        except ECDriverError as error:
            raise CodecError(f"decoding {self.params} from shards {sorted(shards)}: {error}") from error
        check(len(block) == block_length, "the decoder gives back the block's length")
        return block

    def _solve_one(self, shards: Mapping[int, bytes], wanted: int, block_length: int) -> bytes:
        try:
            [fragment] = self._native().reconstruct(self._fragments(shards, block_length), [wanted])
        except ECDriverError as error:
            raise CodecError(f"rebuilding shard {wanted} of {self.params} from {sorted(shards)}: {error}") from error
        shard = fragment[HEADER_BYTES:]
        check(len(shard) == self.params.shard_bytes(block_length), "a rebuilt shard has the size of its siblings")
        return shard

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
