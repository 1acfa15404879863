"""How a payload shares the pages of index.db.

A shard of 2, 1 or 4 KiB, as objects of a round size have them, is a few bytes too long to share a page with others of
its kind, or to fit into one: it would take a page of its own, or an overflow page more. So those few bytes, the
payload's *head*, go into its record's row. It halves what a 4 KiB object at 2+2 writes to `payloads`.
"""

from functools import lru_cache
from typing import Final

from liteio_drives.index_schema import PAGE_BYTES

HEAD_BYTES_MAX: Final = 64  # more would make the rows that listings read fat
_PAGE_HEADER_BYTES: Final = 8
# Of a row in `payloads`: its place in the page's list 2, its length 2, its id 5, its column's types 4. The format is
# https://www.sqlite.org/fileformat2.html, "B-tree Pages".
_CELL_BYTES: Final = 13
_UNSPILLED_BYTES_MAX: Final = PAGE_BYTES - 35 - 4  # longer payloads continue on overflow pages
_ROOMS: Final = [
    min((PAGE_BYTES - _PAGE_HEADER_BYTES) // sharers - _CELL_BYTES, _UNSPILLED_BYTES_MAX) for sharers in range(1, 9)
]
"""The longest payload of which one, two, three ... fit into a page."""


@lru_cache(maxsize=256)
def payload_head_bytes(size_bytes: int) -> int:
    """How many of a payload's bytes go into its record's row; nearly always 0."""
    for room in _ROOMS:
        if 0 < size_bytes - room <= HEAD_BYTES_MAX:
            return size_bytes - room
    return 0


def whole_payload(head: bytes | None, rest: bytes | None) -> bytes | None:
    """Of the row's part and what `payloads` holds; None for a row that has none."""
    return head + rest if head and rest is not None else rest
