from contextlib import suppress
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_base.ids import NULL_VERSION, VersionId
from liteio_s3.copy_source import (
    CopySource,
    Directive,
    parse_copy_source,
    parse_metadata_directive,
    parse_tagging_directive,
)
from liteio_s3.errors import S3Failure

VERSION = "0123456789abcdef" * 2


@pytest.mark.parametrize(
    ("header", "source"),
    [
        ("bucket/key", CopySource("bucket", "key")),
        ("/bucket/key", CopySource("bucket", "key")),
        ("/bucket//key/", CopySource("bucket", "/key/")),
        ("bucket%2Fa%2Fb", CopySource("bucket", "a/b")),
        ("bucket/a%3Fb", CopySource("bucket", "a?b")),
        ("bucket/a%2Bb+c%20d", CopySource("bucket", "a+b c d")),
        ("bucket/%C3%A9", CopySource("bucket", "é")),
        ("bucket/\xc3\xa9", CopySource("bucket", "é")),
        ("bucket/../../etc/passwd", CopySource("bucket", "../../etc/passwd")),
        ("bucket/%2e%2e%2f%252e", CopySource("bucket", "../%2e")),
        ("bucket/key?versionId=null", CopySource("bucket", "key", NULL_VERSION)),
        (f"bucket/key?versionId={VERSION}", CopySource("bucket", "key", VersionId(VERSION))),
    ],
)
def test_sources(header: str, source: CopySource) -> None:
    assert parse_copy_source(header) == source


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "InvalidArgument"),
        ("bucket", "InvalidArgument"),
        ("/bucket/", "InvalidArgument"),
        ("//key", "InvalidArgument"),
        ("bucket/%ff", "InvalidArgument"),
        ("bucket/中", "InvalidArgument"),
        ("bucket/key?version=1", "InvalidArgument"),
        ("bucket/key?versionId=", "InvalidArgument"),
        ("bucket/key?versionId=../x", "InvalidArgument"),
        (".liteio.sys/key", "NoSuchBucket"),
        ("../key", "NoSuchBucket"),
        ("bucket/" + "k" * 1025, "KeyTooLongError"),
        ("arn:aws:s3:us-east-1:1:accesspoint/a/object/k", "NotImplemented"),
    ],
)
def test_other_sources_are_refused(header: str, code: str) -> None:
    with pytest.raises(S3Failure) as caught:
        parse_copy_source(header)
    assert caught.value.code == code


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200))
def test_however_a_client_encodes_a_key_it_is_found(key: str) -> None:
    for path in (quote(f"bucket/{key}"), "/" + quote_plus(f"bucket/{key}"), quote(f"/bucket/{key}", safe="")):
        assert parse_copy_source(path) == CopySource("bucket", key)


@given(st.text(st.characters(max_codepoint=255), max_size=300))
def test_any_header_is_read_or_refused(header: str) -> None:
    with suppress(S3Failure):
        assert parse_copy_source(header).bucket.isascii()


def test_directives() -> None:
    assert parse_metadata_directive({}) is Directive.COPY
    assert parse_metadata_directive({"x-amz-metadata-directive": "REPLACE"}) is Directive.REPLACE
    assert parse_tagging_directive({"x-amz-tagging-directive": "COPY"}) is Directive.COPY
    with pytest.raises(S3Failure) as caught:
        parse_tagging_directive({"x-amz-tagging-directive": "replace"})
    assert caught.value.code == "InvalidArgument"
