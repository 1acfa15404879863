import pytest

from liteio_s3.errors import S3Failure
from liteio_s3.object_headers import (
    ObjectHeaders,
    parse_object_headers,
    parse_response_overrides,
    parse_storage_class,
    strip_aws_chunked,
)


def test_an_object_without_headers_is_plain_bytes() -> None:
    assert parse_object_headers({"content-length": "3", "content-type": ""}) == ObjectHeaders(
        {"content-type": "binary/octet-stream"}, {}, "STANDARD"
    )


def test_system_headers_are_kept_as_sent() -> None:
    system = {
        "cache-control": "no-cache",
        "content-disposition": 'attachment; filename="a"',
        "content-encoding": "gzip",
        "content-language": "en, de",
        "content-type": "text/plain",
        "expires": "whenever",
        "x-amz-website-redirect-location": "/elsewhere",
    }
    kept = parse_object_headers({**system, "x-amz-meta-a": "b", "authorization": "secret", "etag": "x"})
    assert (kept.system, kept.user) == (system, {"a": "b"})


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("aws-chunked", ""),
        ("aws-chunked,gzip", "gzip"),
        ("gzip, aws-chunked", "gzip"),
        ("AWS-Chunked", ""),
        ("br", "br"),
    ],
)
def test_aws_chunked_is_never_kept(sent: str, kept: str) -> None:
    assert strip_aws_chunked(sent) == kept
    assert parse_object_headers({"content-encoding": sent}).system.get("content-encoding", "") == kept


def test_system_headers_have_a_limit_too() -> None:
    with pytest.raises(S3Failure) as caught:
        parse_object_headers({"cache-control": "x" * 2048})
    assert caught.value.code == "MetadataTooLarge"


def test_a_redirect_leads_somewhere() -> None:
    with pytest.raises(S3Failure) as caught:
        parse_object_headers({"x-amz-website-redirect-location": "javascript:alert(1)"})
    assert caught.value.code == "InvalidArgument"


@pytest.mark.parametrize(
    ("asked", "recorded"),
    [
        (None, "STANDARD"),
        ("", "STANDARD"),
        ("STANDARD", "STANDARD"),
        ("REDUCED_REDUNDANCY", "REDUCED_REDUNDANCY"),
        ("STANDARD_IA", "STANDARD_IA"),
        ("GLACIER", "STANDARD"),
        ("DEEP_ARCHIVE", "STANDARD"),
    ],
)
def test_storage_classes(asked: str | None, recorded: str) -> None:
    assert parse_storage_class(asked) == recorded


@pytest.mark.parametrize("name", ["standard", "EXPRESS_ONEZONE", "COLD"])
def test_unknown_storage_classes_are_refused(name: str) -> None:
    with pytest.raises(S3Failure) as caught:
        parse_storage_class(name)
    assert caught.value.code == "InvalidStorageClass"


def test_overrides_name_headers() -> None:
    query = [("response-content-type", "text/x"), ("response-expires", ""), ("prefix", "a"), ("response-etag", "x")]
    assert parse_response_overrides(query) == {"content-type": "text/x"}
    disposition = [("response-content-disposition", 'attachment; filename="é"')]
    assert parse_response_overrides(disposition) == {"content-disposition": 'attachment; filename="é"'}


@pytest.mark.parametrize("value", ["a\r\nset-cookie: x", "a\nb", "\x00", "a\x7f", "中"])
def test_overrides_cannot_add_headers(value: str) -> None:
    with pytest.raises(S3Failure) as caught:
        parse_response_overrides([("response-content-type", value)])
    assert caught.value.code == "InvalidArgument"
    assert caught.value.fields["ArgumentName"] == "response-content-type"
