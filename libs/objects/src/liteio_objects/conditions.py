"""Write conditions, judged on the latest version as the committer read it."""

from collections.abc import Callable

from liteio_contracts.object_errors import ObjectMissing, PreconditionFailed
from liteio_contracts.object_layer import WriteCondition
from liteio_formats.record import Kind, Record

_ANY = "*"


def condition_check(key: str, condition: WriteCondition) -> Callable[[Record | None], None] | None:
    """The check that a write makes before it commits, None for an unconditional one. A delete marker
    counts as absent."""
    if not condition.if_absent and condition.if_etag is None:
        return None

    def check(latest: Record | None) -> None:
        is_there = latest is not None and latest.kind is Kind.VALUE
        if condition.if_absent and is_there:
            raise PreconditionFailed("If-None-Match")
        if condition.if_etag is None:
            return
        if latest is None or not is_there:
            raise ObjectMissing(key)
        if condition.if_etag not in (_ANY, latest.etag):
            raise PreconditionFailed("If-Match")

    return check
