"""`ByteSpan`: a run of bytes, as offset and length."""

from dataclasses import dataclass

from liteio_base.check import check


@dataclass(frozen=True, slots=True)
class ByteSpan:
    """`length` bytes from `start`; 0 ≤ start, 0 ≤ length."""

    start: int
    length: int

    def __post_init__(self) -> None:
        check(self.start >= 0 and self.length >= 0, "a span starts at or after 0 and is not negative")

    @property
    def end(self) -> int:
        """The offset just past the last byte."""
        return self.start + self.length

    def meet(self, other: "ByteSpan") -> "ByteSpan":
        """The bytes that both spans cover; of length 0 when they do not meet."""
        start = max(self.start, other.start)
        return ByteSpan(start, max(0, min(self.end, other.end) - start))
