"""Where a part's blocks lie: cutting a stream into blocks, and the layout of a shard file.

Blocks count from 0. Every block but the last holds BLOCK_BYTES of the part; its K + M shards are spread over the
drives, and one drive's shard blocks stand back to back in its shard file. Docs: docs/formats/shard.md, "Framing".
"""

from dataclasses import dataclass
from typing import Final

from liteio_base.byte_span import ByteSpan
from liteio_base.check import check
from liteio_base.limits import BLOCK_BYTES
from liteio_erasure.code import CodeParams

# Below this, chunks are gathered by copying: a client that sends byte by byte must not make us keep a million pieces.
_SMALL_CHUNK_BYTES: Final = 4096


@dataclass(frozen=True, slots=True)
class BlockRun:
    """`count` consecutive blocks from block `first`; both count from 0, and an empty run has count 0."""

    first: int
    count: int

    @property
    def end(self) -> int:
        """The number just past the last block."""
        return self.first + self.count


@dataclass(frozen=True, slots=True)
class ShardLayout:
    """One part's blocks and their places in each drive's shard file. Pure arithmetic; an empty part has no blocks."""

    code: CodeParams
    part_length: int

    def __post_init__(self) -> None:
        check(self.part_length >= 0, "a part's length is not negative")

    @property
    def block_count(self) -> int:
        return -(-self.part_length // BLOCK_BYTES)

    @property
    def shard_file_bytes(self) -> int:
        """Bytes of one drive's shard blocks together, without the footer."""
        return self.code.shard_file_bytes(self.part_length)

    def block_length(self, block_number: int) -> int:
        """Bytes of the part in this block: BLOCK_BYTES, or what is left for the last."""
        self._check_number(block_number)
        return min(BLOCK_BYTES, self.part_length - block_number * BLOCK_BYTES)

    def block_span(self, block_number: int) -> ByteSpan:
        """The bytes of the part that this block holds."""
        return ByteSpan(block_number * BLOCK_BYTES, self.block_length(block_number))

    def shard_block_span(self, block_number: int) -> ByteSpan:
        """Where this block's shard stands in the shard file."""
        size = self.code.shard_bytes(self.block_length(block_number))
        return ByteSpan(block_number * self.code.shard_bytes(BLOCK_BYTES), size)

    def block_at(self, shard_offset: int) -> int:
        """The number of the block whose shard covers byte `shard_offset` of the shard file."""
        check(0 <= shard_offset < self.shard_file_bytes, "the offset lies in the shard file")
        return shard_offset // self.code.shard_bytes(BLOCK_BYTES)

    def blocks_of(self, span: ByteSpan) -> BlockRun:
        """The blocks that hold `span` of the part; no blocks for an empty span. The span must lie inside the part."""
        check(span.end <= self.part_length, "the span lies inside the part")
        if span.length == 0:
            return BlockRun(span.start // BLOCK_BYTES, 0)
        first = span.start // BLOCK_BYTES
        return BlockRun(first, -(-span.end // BLOCK_BYTES) - first)

    def shard_span_of(self, run: BlockRun) -> ByteSpan:
        """Where the shards of a run of blocks stand in the shard file: one read."""
        start = run.first * self.code.shard_bytes(BLOCK_BYTES)
        if run.count == 0:
            return ByteSpan(start, 0)
        return ByteSpan(start, self.shard_block_span(run.end - 1).end - start)

    def wanted_in_block(self, block_number: int, span: ByteSpan) -> ByteSpan:
        """What part of the decoded block belongs to `span` of the part, as offset and length inside the block."""
        whole = self.block_span(block_number)
        met = whole.meet(span)
        return ByteSpan(met.start - whole.start if met.length else 0, met.length)

    def _check_number(self, block_number: int) -> None:
        check(0 <= block_number < self.block_count, "the block belongs to the part")


class BlockSplitter:
    """Cuts a stream of byte chunks into blocks, holding less than one block and the last chunk at any time.

    Each byte is copied once, when its block is joined (twice if it came in a chunk below 4 KiB); a chunk that is a
    block by itself is passed on as it is.
    """

    __slots__ = ("_block_bytes", "_held", "_pieces")

    def __init__(self, block_bytes: int = BLOCK_BYTES) -> None:
        check(block_bytes > 0, "a block has at least one byte")
        self._block_bytes = block_bytes
        self._pieces: list[bytes | bytearray | memoryview] = []
        self._held = 0

    def receive(self, chunk: bytes) -> list[bytes]:
        """Take the next bytes of the stream; give the blocks, each `block_bytes` long, that are complete now."""
        if self._held == 0 and len(chunk) == self._block_bytes:
            return [chunk]
        blocks: list[bytes] = []
        view, start = memoryview(chunk), 0
        while start + (missing := self._block_bytes - self._held) <= len(chunk):
            self._pieces.append(view[start : start + missing])
            blocks.append(self._take())
            start += missing
        self._hold(view[start:])
        return blocks

    def finish(self) -> bytes | None:
        """The last, short block, or None if the stream ended on a block's border or was empty. Ready for a new one."""
        return self._take() if self._held else None

    def _hold(self, view: memoryview) -> None:
        if not view:
            return
        self._held += len(view)
        if len(view) >= _SMALL_CHUNK_BYTES:
            self._pieces.append(view)
        elif self._pieces and type(self._pieces[-1]) is bytearray:
            self._pieces[-1] += view
        else:
            self._pieces.append(bytearray(view))

    def _take(self) -> bytes:
        block = b"".join(self._pieces)
        self._pieces.clear()
        self._held = 0
        return block
