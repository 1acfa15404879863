"""Subjects: any name is one token, and comes back as it was."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_base.ids import BucketId, HybridTime, VersionId
from liteio_bus.subjects import decode_token, encode_token, event_subject, events_of, heal_task_subject
from liteio_contracts.messages import HealReason, HealTask, ObjectChange
from liteio_contracts.storage import KeyName
from liteio_formats.record import Space


@given(st.text(min_size=1, max_size=80).filter(lambda text: not any("\ud800" <= sign <= "\udfff" for sign in text)))
def test_a_token_keeps_its_text_and_nothing_special(text: str) -> None:
    token = encode_token(text)
    assert decode_token(token) == text
    assert not set(token) & set(".*> \t\r\n")
    assert token.isascii()


def test_an_empty_token_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        encode_token("")


def test_an_event_goes_to_its_bucket_and_name() -> None:
    change = ObjectChange(
        event_name="s3:ObjectCreated:CompleteMultipartUpload",
        bucket="my.bucket",
        bucket_id=BucketId(""),
        key=b"k",
        version_id=VersionId(""),
        time=HybridTime(1),
        modified_ns=1,
    )
    assert event_subject(change) == "liteio.v1.events.my%2Ebucket.ObjectCreated.CompleteMultipartUpload"
    assert events_of("my.bucket") == "liteio.v1.events.my%2Ebucket.>"
    assert events_of("") == "liteio.v1.events.>"


def test_tasks_about_one_object_share_a_subject_and_others_do_not() -> None:
    def subject(key: bytes, reason: HealReason) -> str:
        return heal_task_subject(HealTask.for_key(4, KeyName(Space.OBJECT, BucketId("b"), key), reason))

    assert subject(b"k", HealReason.BAD_SHARD) == subject(b"k", HealReason.MISSED_WRITE)
    assert subject(b"k", HealReason.BAD_SHARD) != subject(b"l", HealReason.BAD_SHARD)
    assert subject(b"k", HealReason.BAD_SHARD).startswith("liteio.v1.mrf.4.")
