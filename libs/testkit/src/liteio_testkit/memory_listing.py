"""List pages over what a MemoryDrive holds: the rules of ListQuery, written for clarity and not for speed."""

from collections.abc import Iterator, Sequence
from itertools import groupby

from liteio_contracts.storage import ListItem, ListMode, ListQuery
from liteio_formats.record import Kind
from liteio_testkit.held_key import HeldKey, HeldRow


def list_items(keys: Sequence[tuple[bytes, HeldKey]], query: ListQuery) -> tuple[tuple[ListItem, ...], bool]:
    """The items of one page and whether there are more. `keys`: all of the space and bucket, in order."""
    found: list[ListItem] = []
    for item in _all_items(keys, query):
        if len(found) == query.limit:
            return tuple(found), True
        found.append(item)
    return tuple(found), False


def common_prefix_of(key: bytes, prefix: bytes, delimiter: bytes) -> bytes:
    """`key` up to and including the first delimiter behind `prefix`; b"" when there is none or no delimiter is set."""
    at = key.find(delimiter, len(prefix)) if delimiter else -1
    return key[: at + len(delimiter)] if at >= 0 else b""


def _all_items(keys: Sequence[tuple[bytes, HeldKey]], query: ListQuery) -> Iterator[ListItem]:
    chosen = ((key, held) for key, held in keys if key.startswith(query.prefix) and _is_in_range(key, query))
    items_of = _latest_items if query.mode is ListMode.LATEST else _version_items
    for common, group in groupby(chosen, lambda pair: common_prefix_of(pair[0], query.prefix, query.delimiter)):
        members = (item for key, held in group for item in items_of(key, held, query))
        if common:
            yield from _rolled_up(common, members)
        else:
            yield from members


def _is_in_range(key: bytes, query: ListQuery) -> bool:
    goes_on_inside = query.mode is ListMode.VERSIONS and query.after_created is not None
    return key > query.after or (key == query.after and (query.is_after_inclusive or goes_on_inside))


def _latest_items(key: bytes, held: HeldKey, query: ListQuery) -> Iterator[ListItem]:
    head = next(iter(held.visible), None)
    others_unsettled = any(row is not head for row in held.unsettled)
    if head is not None and head.record.kind is Kind.VALUE:
        yield ListItem(key, entry=head.entry(), is_ambiguous=others_unsettled)
    elif others_unsettled or (head is not None and not head.is_settled):
        # A marker or a tombstone that may yet be rolled back decides whether the key is there at all.
        yield ListItem(key, is_ambiguous=True)


def _version_items(key: bytes, held: HeldKey, query: ListQuery) -> Iterator[ListItem]:
    shown = _one_a_place(held.visible)
    if not shown and any(held.unsettled):
        yield ListItem(key, is_ambiguous=True)
    for row in shown:
        if _is_behind_cursor(key, row, query):
            ambiguous = any(other is not row for other in held.unsettled)
            yield ListItem(key, entry=row.entry(), is_ambiguous=ambiguous)


def _one_a_place(rows: Sequence[HeldRow]) -> list[HeldRow]:
    """Only the newest of the records of one version with one creation time: the cursor can not name them apart."""
    return [next(group) for _, group in groupby(rows, lambda row: (row.created, row.version_id))]


def _is_behind_cursor(key: bytes, row: HeldRow, query: ListQuery) -> bool:
    if key != query.after or query.after_created is None:
        return True
    return (row.created, row.version_id) < (query.after_created, query.after_version_id)


def _rolled_up(common: bytes, members: Iterator[ListItem]) -> Iterator[ListItem]:
    """One item for all keys under a common prefix: with the first live key's entry; without one when all that is there
    is undecided; none when nothing is.
    """
    undecided = False
    for item in members:
        if item.entry is not None:
            yield ListItem(common, is_prefix=True, entry=item.entry, is_ambiguous=item.is_ambiguous)
            return
        undecided = True
    if undecided:
        yield ListItem(common, is_prefix=True, is_ambiguous=True)
