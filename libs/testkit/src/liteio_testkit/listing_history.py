"""Listings checked against a ledger: as sets, and key by key as reads."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from liteio_testkit.history import NEVER, Action, Ledger, Operation, Outcome, Violation


@dataclass(frozen=True, slots=True)
class ObservedListing:
    """A whole listing: all pages, in the order in which they came. `started` and `ended` count the ledger's events."""

    started: int
    ended: int
    keys: tuple[str, ...]
    prefix: str = ""


def check_listing(ledger: Ledger, listing: ObservedListing) -> list[Violation]:
    """Sorted by UTF-8 bytes without repetition; every key that was there throughout is in it; none that was surely
    absent throughout is. Keys that changed meanwhile may be in it or not.
    """
    found = _check_order(listing.keys)
    listed = set(listing.keys)
    for key in sorted(set(ledger.keys()) | listed):
        if not key.startswith(listing.prefix):
            if key in listed:
                found.append(Violation(key, f"listed though it does not begin with {listing.prefix!r}"))
            continue
        history = [operation for operation in ledger.history(key) if operation.may_write]
        if key in listed and is_surely_absent(history, listing):
            found.append(Violation(key, f"listed in {_span(listing)} though surely absent", tuple(history)))
        elif key not in listed and is_surely_there(history, listing):
            found.append(Violation(key, f"not listed in {_span(listing)} though surely there", tuple(history)))
    return found


def is_surely_there(writes: Sequence[Operation], listing: ObservedListing) -> bool:
    """Some acknowledged put was over before the listing began, and no delete can have come behind it before its end."""
    deletes = [write for write in writes if write.action is Action.DELETE]
    return any(
        put.action is not Action.DELETE
        and put.outcome is Outcome.DONE
        and put.ended < listing.started
        and all(delete.ended < put.started or delete.started > listing.ended for delete in deletes)
        for put in writes
    )


def is_surely_absent(writes: Sequence[Operation], listing: ObservedListing) -> bool:
    """Every put either began behind the listing, or was surely deleted before it began."""
    deletes = [write for write in writes if write.action is Action.DELETE and write.outcome is Outcome.DONE]
    return all(
        put.started > listing.ended
        or any(put.ended < delete.started and delete.ended < listing.started for delete in deletes)
        for put in writes
        if put.action is not Action.DELETE
    )


def add_listing_as_reads(ledger: Ledger, client: str, listing: ObservedListing, values: Mapping[str, str]) -> None:
    """Tell the ledger what a listing saw of each known key with its prefix, as one read of each at some moment of the
    listing. `values`: what it said of the keys that it listed (their ETags). `Ledger.check` then judges it.
    """
    for key in sorted(set(ledger.keys()) | set(values)):
        if key.startswith(listing.prefix):
            span = (listing.started, listing.ended)
            ledger.add(Operation(0, key, Action.READ, values.get(key), None, *span, Outcome.DONE, client))


def _check_order(keys: Sequence[str]) -> list[Violation]:
    encoded = [key.encode("utf-8", "surrogateescape") for key in keys]
    return [
        Violation(keys[at + 1], "listed twice" if keys[at] == keys[at + 1] else f"listed behind {keys[at]!r}")
        for at in range(len(keys) - 1)
        if encoded[at] >= encoded[at + 1]
    ]


def _span(listing: ObservedListing) -> str:
    return f"[{listing.started}..{'?' if listing.ended == NEVER else listing.ended}]"
