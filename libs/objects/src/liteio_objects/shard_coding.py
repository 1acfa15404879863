"""The heavy work on shards: coding and hashing blocks for writing, verifying and decoding them for reading. Pure.

Everything here is a function of its arguments and may run in a worker thread. Coding holds the interpreter's lock
(liteio_erasure.codec), hashing too where it is quick, and leaves it free where it is not (liteio_erasure.bitrot).
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from liteio_base.ids import DataId
from liteio_contracts.storage import ShardRef
from liteio_erasure.bitrot import hash_blocks, wrong_blocks
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

    def hashes(self, shards: Sequence[bytes], places: Sequence[tuple[int, int]]) -> list[bytes]:
        """`places`: shard index and block number of each."""
        return hash_blocks(shards, self.data_id, self.part_number, places)

    def wrong(self, shards: Sequence[bytes], expected: Sequence[bytes], places: Sequence[tuple[int, int]]) -> list[int]:
        """Which of them, counted from 0, are not what was written at their places."""
        return wrong_blocks(shards, expected, self.data_id, self.part_number, places)


def code_blocks(code: CodeParams, address: PartAddress, first_block: int, blocks: Sequence[bytes]) -> list[ShardRun]:
    """Code and hash consecutive blocks of a part. Returns one run a shard index."""
    codec = codec_for(code)
    coded = [codec.encode(block) for block in blocks]
    runs = hashed_runs(
        address, first_block, {index: [shards[index] for shards in coded] for index in range(code.width)}
    )
    return list(runs.values())


def hashed_runs(address: PartAddress, first_block: int, shards: Mapping[int, Sequence[bytes]]) -> dict[int, ShardRun]:
    """Runs of shards that begin with the same block, by shard index."""
    hashes = iter(address.hashes([shard for run in shards.values() for shard in run], _places(first_block, shards)))
    return {index: ShardRun(run, [next(hashes) for _ in run]) for index, run in shards.items()}


def bad_places(address: PartAddress, first_block: int, runs: Mapping[int, ShardRun]) -> dict[int, frozenset[int]]:
    """Of each run, by shard index, which of its shards, counted from its first, are not what was written at their
    address. All runs begin with the same block."""
    places = _places(first_block, {index: run.shards for index, run in runs.items()})
    shards = [shard for run in runs.values() for shard in run.shards]
    hashes = [stored for run in runs.values() for stored in run.hashes]
    wrong = [places[number] for number in address.wrong(shards, hashes, places)]
    return {index: frozenset(block - first_block for at, block in wrong if at == index) for index in runs}


def _places(first_block: int, shards: Mapping[int, Sequence[bytes]]) -> list[tuple[int, int]]:
    return [(index, first_block + place) for index, run in shards.items() for place in range(len(run))]


def code_payloads(code: CodeParams, address: PartAddress, body: bytes) -> tuple[PayloadShard, ...]:
    """The inline shards of a body of at most one block, by shard index."""
    return tuple(hashed_payloads(address, dict(enumerate(codec_for(code).encode(body)))).values())


def hashed_payloads(address: PartAddress, shards: Mapping[int, bytes]) -> dict[int, PayloadShard]:
    """Inline shards, by shard index."""
    hashes = address.hashes(list(shards.values()), [(index, 0) for index in shards])
    return dict(zip(shards, map(PayloadShard, shards.values(), hashes), strict=True))


def sift_payloads(
    code: CodeParams, part: PartEntry, payloads: Mapping[int, PayloadShard]
) -> tuple[dict[int, bytes], list[int]]:
    """Up to K shards that have the right size and hash, data shards first, and the indexes found bad on the way."""
    address, shard_bytes = PartAddress(part.data_id, part.number), code.shard_bytes(part.size_bytes)
    good: dict[int, bytes] = {}
    bad: list[int] = []
    waiting = sorted(payloads)
    while waiting and len(good) < code.k:
        missing = code.k - len(good)
        looked, waiting = waiting[:missing], waiting[missing:]
        shards = [payloads[index].payload for index in looked]
        hashes = [payloads[index].payload_hash for index in looked]
        wrong = address.wrong(shards, hashes, [(index, 0) for index in looked])
        for number, index in enumerate(looked):
            if number in wrong or len(shards[number]) != shard_bytes:
                bad.append(index)
            else:
                good[index] = shards[number]
    return good, bad
