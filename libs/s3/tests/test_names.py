import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_base.ids import NULL_VERSION
from liteio_s3.errors import S3Failure
from liteio_s3.names import (
    SYSTEM_BUCKET_NAME,
    check_bucket_name,
    check_key,
    check_new_bucket_name,
    decode_key,
    is_bucket_name,
    parse_version_id,
    version_text,
)

GOOD = ["abc", "a.b", "1-2", "my-bucket.example", "a" * 63, "1.2.3", "1.2.3.4.5", "doc-example-bucket"]
BAD = [
    *("", "ab", "a" * 64, "Abc", "a_b", "-ab", "ab-", ".ab", "ab.", "a..b", "192.168.5.4", "999.1.1.1"),
    *("xn--a", "sthree-a", "sthree-configurator", "amzn-s3-demo-a", "a-s3alias", "a--ol-s3", "a.mrap", "a--x-s3"),
    *("a--table-s3", "a/b", "a\\b", "..", "abc\n", "abc\x00", "ａbc", "é-bucket", SYSTEM_BUCKET_NAME),
    "%24extremelyunlikelytoexist%24",
]


@pytest.mark.parametrize("name", GOOD)
def test_good_names(name: str) -> None:
    check_new_bucket_name(name)
    check_bucket_name(name)


@pytest.mark.parametrize("name", BAD)
def test_a_bad_name_cannot_be_made_and_is_not_found(name: str) -> None:
    assert not is_bucket_name(name)
    with pytest.raises(S3Failure) as making:
        check_new_bucket_name(name)
    assert (making.value.code, making.value.status) == ("InvalidBucketName", 400)
    with pytest.raises(S3Failure) as reading:
        check_bucket_name(name)
    assert (reading.value.code, reading.value.status) == ("NoSuchBucket", 404)


@pytest.mark.parametrize(
    "key", ["a", "..", "../../etc", "a//b", "/", "a\\b", "\x00", "é" * 512, "k" * 1024, "💾" * 256]
)
def test_every_text_of_up_to_1024_bytes_is_a_key(key: str) -> None:
    check_key(key)
    assert decode_key(key.encode()) == key


@pytest.mark.parametrize(
    ("key", "code"),
    [
        ("", "UserKeyMustBeSpecified"),
        ("k" * 1025, "KeyTooLongError"),
        ("é" * 513, "KeyTooLongError"),
        ("a\ud800", "InvalidURI"),
    ],
)
def test_other_texts_are_no_keys(key: str, code: str) -> None:
    with pytest.raises(S3Failure) as caught:
        check_key(key)
    assert caught.value.code == code


@pytest.mark.parametrize("raw", [b"\xff", b"\xed\xa0\x80", b"a\xc0\xaf", "é".encode("latin-1")])
def test_keys_are_utf_8(raw: bytes) -> None:
    with pytest.raises(S3Failure) as caught:
        decode_key(raw)
    assert caught.value.code == "InvalidURI"


@given(st.binary(max_size=1100))
def test_any_bytes_are_a_key_or_refused(raw: bytes) -> None:
    try:
        key = decode_key(raw)
    except S3Failure:
        return
    assert key.encode() == raw


def test_version_ids_as_clients_write_them() -> None:
    assert parse_version_id("null") == NULL_VERSION
    assert version_text(NULL_VERSION) == "null"
    assert version_text(parse_version_id("0" * 32)) == "0" * 32


@pytest.mark.parametrize("text", ["", "Null", "../x", "0" * 31, "f" * 32])
def test_other_version_ids_are_invalid(text: str) -> None:
    with pytest.raises(S3Failure) as caught:
        parse_version_id(text)
    assert caught.value.code == "InvalidArgument"
    assert caught.value.fields == {"ArgumentName": "versionId", "ArgumentValue": text}
