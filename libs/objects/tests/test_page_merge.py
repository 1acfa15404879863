"""Merging pages: those that are the same take a short way, which must say what the long way says."""

from collections.abc import Sequence
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_base.ids import Generation, HybridTime, VersionId
from liteio_contracts.storage import Entry, ListItem, ListMode, ListPage
from liteio_formats.record import Kind
from liteio_objects.page_merge import MergedPage, merge_pages

WRITE_QUORUM: Final = 3


def row(key: bytes, created: int = 5, *, is_settled: bool = True, encoded: bytes = b"record") -> ListItem:
    version_id = VersionId(f"{created:032x}")
    time = HybridTime(created)
    return ListItem(key, False, Entry(version_id, time, time, Kind.VALUE, is_settled, b"digest", encoded))


def page(items: Sequence[ListItem], *, is_truncated: bool = False) -> ListPage:
    return ListPage(Generation("g"), True, tuple(items), is_truncated)


def long_way(items: Sequence[ListItem], mode: ListMode, *, is_truncated: bool) -> MergedPage:
    """One drive more shows an item more, behind the end of all others."""
    behind = [*items, row(b"\xff" * 9)]
    pages = {0: page(items, is_truncated=is_truncated), 1: page(items, is_truncated=is_truncated), 2: page(behind)}
    merged = merge_pages(pages, mode, WRITE_QUORUM)
    candidates = [found for found in merged.candidates if found.key != b"\xff" * 9]
    return MergedPage(candidates, merged.last, merged.veiled)


@pytest.mark.parametrize("mode", ListMode)
@given(
    keys=st.lists(st.sampled_from([b"a", b"b", b"c/", b"d"]), unique=True),
    unsettled=st.booleans(),
    ambiguous=st.booleans(),
    is_truncated=st.booleans(),
)
def test_same_pages_say_what_they_say_beside_another(
    mode: ListMode, keys: list[bytes], unsettled: bool, ambiguous: bool, is_truncated: bool
) -> None:
    items = [
        ListItem(key, key.endswith(b"/"), row(key, is_settled=not unsettled).entry, ambiguous) for key in sorted(keys)
    ]
    truncated = is_truncated and bool(items)
    pages = {slot: page(items, is_truncated=truncated) for slot in range(WRITE_QUORUM)}
    merged, other = merge_pages(pages, mode, WRITE_QUORUM), long_way(items, mode, is_truncated=truncated)
    assert [(found.position, found.entry) for found in merged.candidates] == [
        (found.position, found.entry) for found in other.candidates
    ]
    assert merged.last == other.last
    assert (merged.veiled == {}) == (other.veiled == {})


def test_what_no_drive_says_is_settled_is_to_be_decided() -> None:
    pages = {slot: page([row(b"k", is_settled=False)]) for slot in range(2)}
    assert [found.entry for found in merge_pages(pages, ListMode.LATEST, WRITE_QUORUM).candidates] == [None]


def test_same_items_of_a_page_with_more_behind_end_the_merged_page() -> None:
    items = [row(b"a"), row(b"b")]
    pages = {0: page(items, is_truncated=True), 1: page(items)}
    merged = merge_pages(pages, ListMode.LATEST, WRITE_QUORUM)
    assert merged.last == items[-1]
    assert len(merged.candidates) == 2


def test_an_item_that_one_drive_does_not_show_is_to_be_decided() -> None:
    pages = {0: page([row(b"a"), row(b"b")]), 1: page([row(b"b")])}
    merged = merge_pages(pages, ListMode.LATEST, WRITE_QUORUM)
    assert [(found.key, found.entry is None) for found in merged.candidates] == [(b"a", True), (b"b", False)]
