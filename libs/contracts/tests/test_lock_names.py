"""Names of locks and what they are on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_base.ids import BucketId
from liteio_contracts.lock_names import (
    LockKind,
    LockSubject,
    bucket_lock_name,
    object_lock_name,
    part_lock_name,
    subject_of,
)


@given(st.binary(max_size=60))
def test_a_name_says_what_it_was_made_of(key: bytes) -> None:
    assert subject_of(object_lock_name(BucketId("0af" * 4), key)) == LockSubject(LockKind.OBJECT, "0af" * 4, key)
    assert subject_of(part_lock_name(key)) == LockSubject(LockKind.PART, "", key)
    assert subject_of(bucket_lock_name("a-bucket")) == LockSubject(LockKind.BUCKET, "a-bucket", b"")


@given(st.binary(max_size=60))
def test_any_name_is_on_something(name: bytes) -> None:
    assert subject_of(name).kind in LockKind


@pytest.mark.parametrize("name", [b"", b"object", b"object\x00bucket", b"else\x00x"])
def test_a_name_of_an_unknown_kind_is_shown_whole(name: bytes) -> None:
    assert subject_of(name) == LockSubject(LockKind.UNKNOWN, "", name)
