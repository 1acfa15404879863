"""Shard files of a MemoryDrive: writers, readers, and damage on demand."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from liteio_base.check import check
from liteio_contracts.storage import ShardFacts, ShardRef
from liteio_contracts.storage_errors import DriveOffline, ShardCorrupt
from liteio_erasure.bitrot import verify_block
from liteio_erasure.code import CodeParams
from liteio_formats.record import PartEntry


@dataclass(frozen=True, slots=True)
class ShardFile:
    """A closed shard file: whole and never changed. `staged_ns`: when it was closed, on the drive's wall clock."""

    facts: ShardFacts
    blocks: tuple[bytes, ...]
    staged_ns: int

    def serves(self, part: PartEntry, k: int, m: int, shard_index: int) -> bool:
        """Whether this is the shard that a record with this part and code implies, by identity and by length."""
        facts = self.facts
        named = (facts.ref.shard_index, facts.k, facts.m, facts.part_size_bytes)
        expected_bytes = CodeParams(k, m).shard_file_bytes(part.size_bytes)
        return named == (shard_index, k, m, part.size_bytes) and sum(map(len, self.blocks)) == expected_bytes

    def check_blocks(self) -> None:
        """Hash every block. Raises ShardCorrupt."""
        ref = self.facts.ref
        if len(self.blocks) != len(self.facts.hashes):
            raise ShardCorrupt("the shard file is short", ref=ref)
        for number, (shard, expected) in enumerate(zip(self.blocks, self.facts.hashes, strict=True)):
            if not verify_block(shard, expected, ref.data_id, ref.part_number, ref.shard_index, number):
                raise ShardCorrupt("a block does not match its hash", ref=ref, block=number)

    def with_flipped_bit(self, block: int, bit: int = 0) -> "ShardFile":
        """Rot: one bit of one block differs, the footer does not know."""
        spoiled = bytearray(self.blocks[block])
        spoiled[bit // 8] ^= 1 << bit % 8
        return replace(self, blocks=(*self.blocks[:block], bytes(spoiled), *self.blocks[block + 1 :]))

    def cut_to(self, blocks: int) -> "ShardFile":
        """A torn file: the footer is there, blocks behind `blocks` are not."""
        return replace(self, blocks=self.blocks[:blocks])


@dataclass(slots=True)
class MemoryShardWriter:
    """Collects blocks; `keep` gets the finished file at close."""

    ref: ShardRef
    now_ns: Callable[[], int]
    is_reachable: Callable[[], bool]
    keep: Callable[[ShardFile], None]
    forget: Callable[["MemoryShardWriter"], None]
    _blocks: list[bytes] = field(default_factory=list)
    _hashes: list[bytes] = field(default_factory=list)
    _is_done: bool = False

    async def write(self, shards: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        self._check_usable()
        check(len(shards) == len(hashes), "one hash a block")
        self._blocks.extend(bytes(shard) for shard in shards)
        self._hashes.extend(hashes)

    async def close(self, facts_k: int, facts_m: int, part_size_bytes: int) -> None:
        self._check_usable()
        facts = ShardFacts(self.ref, facts_k, facts_m, part_size_bytes, tuple(self._hashes))
        self._end()
        self.keep(ShardFile(facts, tuple(self._blocks), self.now_ns()))

    async def abort(self) -> None:
        if not self._is_done:
            self._end()

    def lose(self) -> None:
        """The drive crashed or was emptied: what was written is gone, and so is the writer."""
        self._end()

    def _end(self) -> None:
        self._is_done = True
        self.forget(self)

    def _check_usable(self) -> None:
        if self._is_done or not self.is_reachable():
            raise DriveOffline("the shard writer's drive went away", ref=self.ref)


@dataclass(slots=True)
class MemoryShardReader:
    """An open shard: it keeps the blocks that it was opened on, whatever becomes of the file."""

    file: ShardFile
    first_block: int
    block_count: int
    is_reachable: Callable[[], bool]
    _taken: int = 0

    @property
    def hashes(self) -> Sequence[bytes]:
        return self.file.facts.hashes[self.first_block : self.first_block + self.block_count]

    @property
    def ahead(self) -> int:
        return len(self.hashes) - self._taken

    async def read(self, count: int) -> Sequence[bytes]:
        if not self.is_reachable():
            raise DriveOffline(ref=self.file.facts.ref)
        start = self.first_block + self._taken
        wanted = min(count, len(self.hashes) - self._taken)
        found = self.file.blocks[start : start + wanted]
        if len(found) < wanted:
            raise ShardCorrupt("the shard file is short", ref=self.file.facts.ref)
        self._taken += wanted
        return found

    async def close(self) -> None:
        self._taken = self.block_count
