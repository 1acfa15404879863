"""The outbox row that goes with a commit, for buckets whose events are switched on."""

from collections.abc import Callable, Mapping

from liteio_contracts.messages import encode_outbox_row, object_change
from liteio_contracts.object_layer import BucketInfo
from liteio_formats.record import Record


def event_row(info: BucketInfo, event_name: str, facts: Mapping[str, str]) -> Callable[[Record], bytes | None] | None:
    """Makes the row from the finished record; None when nobody wants this bucket's events."""
    if not info.has_events:
        return None

    def row(record: Record) -> bytes:
        return encode_outbox_row(
            object_change(
                record,
                event_name=event_name,
                bucket=info.name,
                has_versions=bool(info.versioning.value),
                facts=dict(facts),
            )
        )

    return row
