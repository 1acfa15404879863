"""The heavy work on shards: coding and hashing blocks for writing, verifying and decoding them for reading. Pure.

Everything here is a function of its arguments and may run in a worker thread. Coding holds the interpreter's lock
(liteio_erasure.codec), hashing too where it is quick, and leaves it free where it is not (liteio_erasure.bitrot).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from liteio_base.ids import DataId
from liteio_contracts.storage import ShardRef
from liteio_erasure.bitrot import hash_block, verify_block
from liteio_erasure.code import CodeParams
from liteio_erasure.codec import codec_for
from liteio_formats.record import PartEntry


class PayloadShard(NamedTuple):
    """One drive's shard of an inline object with its stored hash, as rows and entries carry it."""

    payload: bytes
    payload_hash: bytes


class ShardRun(NamedTuple):
    """One drive's shards of consecutive blocks, each with its hash."""

    shards: Sequence[bytes]
    hashes: Sequence[bytes]


class PartAddress(NamedTuple):
    """What binds a block's hash to its place, but for shard index and block number."""

    data_id: DataId
    part_number: int

    def shard(self, shard_index: int) -> ShardRef:
        return ShardRef(self.data_id, self.part_number, shard_index)

    def hash(self, shard: bytes, shard_index: int, block_number: int) -> bytes:
        return hash_block(shard, self.data_id, self.part_number, shard_index, block_number)

    def verifies(self, shard: bytes, expected: bytes, shard_index: int, block_number: int) -> bool:
        return verify_block(shard, expected, self.data_id, self.part_number, shard_index, block_number)


def code_blocks(code: CodeParams, address: PartAddress, first_block: int, blocks: Sequence[bytes]) -> list[ShardRun]:
    """Code and hash consecutive blocks of a part. Returns one run a shard index."""
    codec = codec_for(code)
    coded = [codec.encode(block) for block in blocks]
    return [hashed_run(address, index, first_block, [shards[index] for shards in coded]) for index in range(code.width)]


def hashed_run(address: PartAddress, shard_index: int, first_block: int, shards: Sequence[bytes]) -> ShardRun:
    return ShardRun(
        shards, [address.hash(shard, shard_index, first_block + place) for place, shard in enumerate(shards)]
    )


def bad_places(address: PartAddress, shard_index: int, first_block: int, run: ShardRun) -> frozenset[int]:
    """Which shards of a run, counted from its first, are not what was written at their address."""
    return frozenset(
        place
        for place, (shard, expected) in enumerate(zip(run.shards, run.hashes, strict=True))
        if not address.verifies(shard, expected, shard_index, first_block + place)
    )


def code_payloads(code: CodeParams, address: PartAddress, body: bytes) -> tuple[PayloadShard, ...]:
    """The inline shards of a body of at most one block, by shard index."""
    shards = codec_for(code).encode(body)
    return tuple(PayloadShard(shard, address.hash(shard, index, 0)) for index, shard in enumerate(shards))


def sift_payloads(
    code: CodeParams, part: PartEntry, payloads: Mapping[int, PayloadShard]
) -> tuple[dict[int, bytes], list[int]]:
    """Up to K shards that have the right size and hash, data shards first, and the indexes found bad on the way."""
    address, shard_bytes = PartAddress(part.data_id, part.number), code.shard_bytes(part.size_bytes)
    good: dict[int, bytes] = {}
    bad: list[int] = []
    for index in sorted(payloads):
        if len(good) == code.k:
            break
        shard, expected = payloads[index]
        if len(shard) == shard_bytes and address.verifies(shard, expected, index, 0):
            good[index] = shard
        else:
            bad.append(index)
    return good, bad
