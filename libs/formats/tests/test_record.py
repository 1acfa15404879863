from collections.abc import Callable
from hashlib import blake2b

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_base.ids import NULL_VERSION, BucketId, DataId, Generation, HybridTime
from liteio_formats.bodies import decode_bucket_body, decode_upload_body
from liteio_formats.record import (
    DIGEST_BYTES,
    Kind,
    PartEntry,
    Record,
    RecordError,
    Space,
    StoredChecksum,
    decode_record,
    digest_of,
    encode_record,
)

texts = st.text(max_size=20)
records = st.builds(
    Record,
    space=st.sampled_from(Space),
    bucket_id=st.just(BucketId("0" * 32)),
    key=st.binary(min_size=1, max_size=1024),
    version_id=st.just(NULL_VERSION),
    kind=st.sampled_from(Kind),
    created=st.integers(0, 2**63 - 1).map(HybridTime),
    time=st.integers(0, 2**63 - 1).map(HybridTime),
    base=st.integers(0, 2**63 - 1).map(HybridTime),
    generations=st.lists(texts.map(Generation), max_size=16).map(tuple),
    size_bytes=st.integers(0, 2**50),
    order=st.permutations(range(4)).map(tuple),
    parts=st.lists(
        st.builds(PartEntry, st.integers(1, 10_000), st.integers(0, 2**33), texts.map(DataId), texts, texts), max_size=3
    ).map(tuple),
    metadata=st.dictionaries(texts, texts, max_size=4),
    checksum=st.none() | st.builds(StoredChecksum, texts, texts, texts),
    body=st.binary(max_size=50),
)


@given(records)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    assert decode_record(encode_record(record)) == record


@given(records, st.data())
def test_any_flipped_bit_is_noticed(record: Record, data: st.DataObject) -> None:
    encoded = bytearray(encode_record(record))
    place = data.draw(st.integers(0, len(encoded) - 1))
    encoded[place] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(RecordError):
        decode_record(bytes(encoded))


@given(records, st.data())
def test_a_cut_record_is_noticed(record: Record, data: st.DataObject) -> None:
    encoded = encode_record(record)
    with pytest.raises(RecordError):
        decode_record(encoded[: data.draw(st.integers(0, len(encoded) - 1))])


def test_records_with_equal_fields_have_equal_digests() -> None:
    def make() -> bytes:
        return encode_record(
            Record(
                space=Space.OBJECT,
                bucket_id=BucketId("b"),
                key=b"k",
                version_id=NULL_VERSION,
                kind=Kind.VALUE,
                created=HybridTime(1),
                time=HybridTime(1),
                base=HybridTime(0),
                generations=(),
                metadata={"a": "1"},
            )
        )

    assert digest_of(make()) == digest_of(make())


def test_text_that_is_no_utf8_under_a_right_digest_is_no_record() -> None:
    """Who writes such a record writes its digest too."""
    encoded = encode_record(
        Record(
            space=Space.OBJECT,
            bucket_id=BucketId("0" * 32),
            key=b"k",
            version_id=NULL_VERSION,
            kind=Kind.VALUE,
            created=HybridTime(1),
            time=HybridTime(1),
            base=HybridTime(0),
            generations=(),
        )
    )
    start = encoded.index(digest_of(encoded))
    packed = encoded[start + DIGEST_BYTES :].replace(b"0" * 32, b"\x80" * 32)
    with pytest.raises(RecordError):
        decode_record(encoded[:start] + blake2b(packed, digest_size=DIGEST_BYTES).digest() + packed)


@pytest.mark.parametrize("decode", [decode_bucket_body, decode_upload_body])
def test_text_that_is_no_utf8_is_no_body(decode: Callable[[bytes], object]) -> None:
    with pytest.raises(msgspec.DecodeError):
        decode(b"\x91\xa1\x80")
