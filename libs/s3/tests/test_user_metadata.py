from email.header import decode_header, make_header

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_s3.errors import S3Failure
from liteio_s3.user_metadata import metadata_headers, parse_user_metadata


def test_metadata_loses_its_prefix_and_nothing_else() -> None:
    headers = {"x-amz-meta-mtime": "1.5", "x-amz-meta-": "", "content-type": "text/plain", "x-amz-acl": "private"}
    assert parse_user_metadata(headers) == {"mtime": "1.5", "": ""}


def test_names_and_values_may_be_2048_bytes_together() -> None:
    assert parse_user_metadata({"x-amz-meta-ab": "c" * 1000, "x-amz-meta-de": "f" * 1044})
    with pytest.raises(S3Failure) as caught:
        parse_user_metadata({"x-amz-meta-ab": "c" * 1000, "x-amz-meta-de": "f" * 1045})
    assert caught.value.code == "MetadataTooLarge"
    assert caught.value.fields == {"Size": "2049", "MaxSizeAllowed": "2048"}


def test_bytes_beyond_ascii_count_as_utf_8() -> None:
    text = "é" * 1024  # 2,048 bytes of UTF-8 and one of name
    with pytest.raises(S3Failure):
        parse_user_metadata({"x-amz-meta-a": text.encode().decode("latin-1")})


def test_encoded_words_go_back_as_they_came() -> None:
    word = "=?UTF-8?B?w4PChE3Dg8KE?="
    assert metadata_headers(parse_user_metadata({"x-amz-meta-a": word})) == [("x-amz-meta-a", word)]


@given(st.text(st.characters(exclude_categories=["Cs", "Cc", "Cn", "Co", "Cf", "Z"]), max_size=100))
def test_utf_8_is_understood_and_given_back_as_one_word(text: str) -> None:
    metadata = parse_user_metadata({"x-amz-meta-a": text.encode().decode("latin-1")})
    assert metadata == {"a": text}
    [(name, value)] = metadata_headers(metadata)
    assert name == "x-amz-meta-a"
    assert value.isascii()
    if not text.isascii():
        assert str(make_header(decode_header(value))) == text


def test_other_bytes_are_latin_1() -> None:
    assert parse_user_metadata({"x-amz-meta-a": "\xe9"}) == {"a": "é"}


def test_what_no_header_can_hold_is_counted() -> None:
    assert metadata_headers({"a": "1", "b": "x\ny", "c": "\x00"}) == [
        ("x-amz-meta-a", "1"),
        ("x-amz-missing-meta", "2"),
    ]
