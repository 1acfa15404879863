"""What the list pages of several drives of a set say together. Pure.

Each drive's page covers the listing up to its last item, or to the end. Where all asked drives are covered, an item
that all of them show alike is sure; an item on which they differ is a *candidate* that the read rule must decide.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from liteio_base.ids import NULL_VERSION, HybridTime, VersionId
from liteio_contracts.storage import Entry, ListItem, ListMode, ListPage, ListQuery
from liteio_formats.record import Record

Position = tuple[bytes, int, bytes]
"""Where an item stands in a listing: key, then newest created first, then version id from high to low."""

_INVERTED: Final = bytes(range(255, -1, -1))
_BEHIND_ALL_DIGITS: Final = b"\xff"
_KEY_END: Final = 1  # greater than minus any creation time


def row_position(key: bytes, created: HybridTime, version_id: VersionId) -> Position:
    """Where a version stands in VERSIONS mode."""
    return key, -created, version_id.encode().translate(_INVERTED) + _BEHIND_ALL_DIGITS


def position_of(item: ListItem, mode: ListMode) -> Position:
    """Prefixes, keys in LATEST mode, and keys without a row that is shown stand behind all rows of that key."""
    if mode is ListMode.LATEST or item.is_prefix or item.entry is None:
        return item.key, _KEY_END, b""
    return row_position(item.key, item.entry.created, item.entry.version_id)


def start_of(query: ListQuery) -> Position | None:
    """The position that the query goes on behind, None when it does not begin in the midst of a key."""
    if query.mode is ListMode.LATEST or query.after_created is None:
        return None
    return row_position(query.after, query.after_created, query.after_version_id)


def end_of_prefix(prefix: bytes) -> bytes | None:
    """The least key behind all keys with this prefix; None when there is none."""
    stem = prefix.rstrip(b"\xff")
    return stem[:-1] + bytes((stem[-1] + 1,)) if stem else None


def behind(query: ListQuery, item: ListItem) -> ListQuery | None:
    """The query that goes on behind `item`; None when nothing can follow."""
    after: bytes | None = item.key
    created, version_id = None, NULL_VERSION
    if item.is_prefix:
        after = end_of_prefix(item.key)
    elif query.mode is ListMode.VERSIONS and item.entry is not None:
        created, version_id = item.entry.created, item.entry.version_id
    if after is None:
        return None
    return msgspec.structs.replace(
        query,
        after=after,
        is_after_inclusive=item.is_prefix,
        after_created=created,
        after_version_id=version_id,
    )


class Candidate(msgspec.Struct, frozen=True, gc=False):
    """One item that some asked drive shows. `entry`: what it surely is, None when that is to be decided."""

    position: Position
    is_prefix: bool
    version_id: VersionId = NULL_VERSION  # VERSIONS mode, of a row
    entry: Entry | None = None
    record: Record | None = None  # when it was decided on the way

    @property
    def key(self) -> bytes:
        return self.position[0]

    @property
    def created(self) -> HybridTime:
        """VERSIONS mode, of a row."""
        return HybridTime(-self.position[1])


@dataclass(frozen=True, slots=True)
class MergedPage:
    """`candidates` in order. `last`: where the page ends, None when the listing does. `veiled`: in VERSIONS mode, the
    keys of which each drive (by slot) may hold rows under unsettled tombstones that its page does not show."""

    candidates: list[Candidate]
    last: ListItem | None
    veiled: Mapping[int, frozenset[bytes]]


def merge_pages(pages: Mapping[int, ListPage], mode: ListMode, write_quorum: int) -> MergedPage:
    """The pages of one query, by slot, of N-W+1 authoritative drives or more.

    Sure is what all of them show alike, unambiguously, and which one says is settled or W of them hold: a newer
    committed record would be on one of them. Nothing behind the smallest end of a truncated page is considered.
    """
    sure = sure_page(list(pages.values()))
    if sure is not None:
        return MergedPage(_candidates_of(sure, mode), sure.items[-1] if sure.is_truncated else None, {})
    ends = [page.items[-1] for page in pages.values() if page.is_truncated]
    last = min(ends, key=lambda item: position_of(item, mode), default=None)
    bound = None if last is None else position_of(last, mode)
    shown: dict[Position, list[ListItem]] = {}
    veiled: dict[int, frozenset[bytes]] = {}
    for slot, page in pages.items():
        unclear: set[bytes] = set()
        for item in page.items:
            position = position_of(item, mode)
            if bound is not None and position > bound:
                # Of the key in whose midst the page ends, a drive may show only rows behind the end and veil others
                # before it.
                if item.is_ambiguous and item.key == bound[0]:
                    unclear.add(item.key)
                break
            shown.setdefault(position, []).append(item)
            if item.is_ambiguous and not item.is_prefix:
                unclear.add(item.key)
        if unclear and mode is ListMode.VERSIONS:
            veiled[slot] = frozenset(unclear)
    candidates = [_candidate(position, shown[position], mode, len(pages), write_quorum) for position in sorted(shown)]
    return MergedPage([found for found in candidates if found is not None], last, veiled)


def sure_page(pages: Sequence[ListPage]) -> ListPage | None:
    """The page that all of these are, when they are the same, to the byte, and nothing on them is unsettled: nearly
    always. All its items have entries then."""
    first = pages[0]
    for page in pages[1:]:
        if page.items != first.items or page.is_truncated != first.is_truncated:
            return None
    for item in first.items:
        if item.entry is None or not item.entry.is_settled or item.is_ambiguous:
            return None
    return first


def _candidates_of(page: ListPage, mode: ListMode) -> list[Candidate]:
    return [
        Candidate(position_of(item, mode), item.is_prefix, item.entry.version_id, item.entry)
        for item in page.items
        if item.entry is not None
    ]


def _candidate(
    position: Position, items: Sequence[ListItem], mode: ListMode, asked: int, write_quorum: int
) -> Candidate | None:
    is_prefix = items[0].is_prefix
    if mode is ListMode.LATEST or is_prefix:
        sure = _agreed(items, asked, write_quorum)
        if sure is not None and any(item.is_ambiguous for item in items):
            sure = None
        return Candidate(position, is_prefix, entry=sure)
    entry = items[0].entry
    if entry is None:
        return None  # It only veils the key.
    sure = _agreed(items, asked, write_quorum)
    # Only the null version can stand in two places of a listing at once, while one replaces the other. Of any other
    # version a newer record stands in the same place, or is a tombstone and found by unveiling the key.
    if entry.version_id == NULL_VERSION and any(item.is_ambiguous for item in items):
        sure = None
    return Candidate(position, False, entry.version_id, sure)


def _agreed(items: Sequence[ListItem], asked: int, write_quorum: int) -> Entry | None:
    """The entry that all asked drives show, when that makes it sure but for other records of the key."""
    first = items[0].entry
    if first is None or len(items) < asked:
        return None
    is_settled = False
    for item in items:
        if item.entry is None or item.entry.digest != first.digest:
            return None
        is_settled = is_settled or item.entry.is_settled
    return first if is_settled or len(items) >= write_quorum else None
