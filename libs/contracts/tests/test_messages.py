"""Bus messages and outbox rows: what is written is read back, and nothing else is taken for it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_base.ids import BucketId, HybridTime, VersionId
from liteio_contracts.messages import (
    HealReason,
    HealTask,
    ObjectChange,
    OutboxRowError,
    decode_outbox_row,
    encode_outbox_row,
    object_change,
)
from liteio_contracts.storage import KeyName
from liteio_formats.record import Kind, Record, Space

BUCKET_ID = BucketId("0" * 32)


def change(key: bytes = b"k", time: int = 1, version_id: str = "") -> ObjectChange:
    return ObjectChange(
        event_name="s3:ObjectCreated:Put",
        bucket="photos",
        bucket_id=BUCKET_ID,
        key=key,
        version_id=VersionId(version_id),
        time=HybridTime(time),
        modified_ns=5,
    )


def record(kind: Kind = Kind.VALUE) -> Record:
    return Record(
        space=Space.OBJECT,
        bucket_id=BUCKET_ID,
        key=b"a b",
        version_id=VersionId(""),
        kind=kind,
        created=HybridTime(7),
        time=HybridTime(7),
        base=HybridTime(0),
        generations=(),
        modified_ns=9,
        size_bytes=3,
        etag="e",
        metadata={"content-type": "text/plain", "x-amz-meta-colour": "red", "cache-control": "no-store"},
    )


@given(st.binary(min_size=1, max_size=1024), st.integers(0, 2**63 - 1), st.text(max_size=20))
def test_a_change_survives_the_outbox(key: bytes, time: int, fact: str) -> None:
    made = object_change(
        record(), event_name="s3:ObjectCreated:Put", bucket="b", has_versions=True, facts={"source_ip": fact}
    )
    for row in (made, change(key, time)):
        assert decode_outbox_row(encode_outbox_row(row)) == row


@given(st.binary(min_size=1, max_size=1024))
def test_a_heal_task_names_any_key(key: bytes) -> None:
    name = KeyName(Space.PART, BUCKET_ID, key)
    task = HealTask.for_key(3, name, HealReason.MISSED_WRITE, VersionId("x"))
    read = decode_outbox_row(encode_outbox_row(task))
    assert read == task
    assert isinstance(read, HealTask)
    assert read.name == name


@given(st.binary(max_size=60))
def test_other_bytes_are_refused(payload: bytes) -> None:
    try:
        row = decode_outbox_row(payload)
    except OutboxRowError:
        return
    assert decode_outbox_row(encode_outbox_row(row)) == row


def test_an_empty_row_is_refused() -> None:
    with pytest.raises(OutboxRowError):
        decode_outbox_row(b"")


def test_event_ids_tell_changes_apart() -> None:
    changes = [change(), change(b"other"), change(time=2), change(version_id="f" * 32)]
    assert len({row.event_id for row in changes}) == len(changes)
    assert change().event_id == change().event_id


def test_only_what_events_show_is_kept_of_the_metadata() -> None:
    made = object_change(record(), event_name="s3:ObjectCreated:Put", bucket="b", has_versions=False, facts={})
    assert made.metadata == {"content-type": "text/plain", "x-amz-meta-colour": "red"}
    assert (made.size_bytes, made.etag) == (3, "e")


@pytest.mark.parametrize("kind", [Kind.DELETE_MARKER, Kind.TOMBSTONE])
def test_what_went_has_neither_size_nor_etag(kind: Kind) -> None:
    made = object_change(record(kind), event_name="s3:ObjectRemoved:Delete", bucket="b", has_versions=False, facts={})
    assert (made.size_bytes, made.etag, made.metadata) == (0, "", {})


def test_readers_ignore_fields_that_they_do_not_know() -> None:
    task = HealTask.for_key(0, KeyName(Space.OBJECT, BUCKET_ID, b"k"), HealReason.UNSETTLED)
    later = task.model_dump_json()[:-1] + ',"new_field":1}'
    assert HealTask.model_validate_json(later) == task
