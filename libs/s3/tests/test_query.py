"""The request target is decoded once, never normalised, and bounded."""

from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_s3.errors import S3Failure
from liteio_s3.limits import PATH_BYTES_MAX, QUERY_BYTES_MAX, QUERY_PARAMETERS_MAX
from liteio_s3.query import Resource, hosted_bucket, only_value, parse_query, parse_resource

texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=30)
HOST = b"store.example:9000"


@pytest.mark.parametrize(
    ("raw", "pairs"),
    [
        (b"", []),
        (b"uploads", [("uploads", "")]),
        (b"uploads=", [("uploads", "")]),
        (b"a=1&a=2&b", [("a", "1"), ("a", "2"), ("b", "")]),
        (b"a=b=c", [("a", "b=c")]),
        (b"&&a=1&", [("a", "1")]),
        (b"=v", [("", "v")]),
        (b"p=a+b%2Bc%20d", [("p", "a b+c d")]),
        (b"p=%252F%2f", [("p", "%2F/")]),
        ("p=é".encode(), [("p", "é")]),
        (b"a;b=1", [("a;b", "1")]),
    ],
)
def test_queries_decode(raw: bytes, pairs: list[tuple[str, str]]) -> None:
    assert parse_query(raw) == pairs


@given(st.lists(st.tuples(texts.filter(bool), texts), max_size=6), st.booleans())
def test_any_parameters_come_back(pairs: list[tuple[str, str]], with_plus: bool) -> None:
    raw = urlencode(pairs) if with_plus else urlencode(pairs, quote_via=quote, safe="")
    assert parse_query(raw.encode()) == pairs


@pytest.mark.parametrize("raw", [b"a=%", b"a=%2", b"a=%zz", b"%=1", b"a=%ff", b"\xff=1", b"a=%c3%28", b"a=%ed%a0%80"])
def test_bad_escapes_and_encodings_are_refused(raw: bytes) -> None:
    with pytest.raises(S3Failure) as raised:
        parse_query(raw)
    assert raised.value.code == "InvalidURI"


@pytest.mark.parametrize("raw", [b"a" * (QUERY_BYTES_MAX + 1), b"&" * QUERY_PARAMETERS_MAX])
def test_queries_are_bounded(raw: bytes) -> None:
    with pytest.raises(S3Failure) as raised:
        parse_query(raw)
    assert raised.value.code == "InvalidArgument"


def test_a_parameter_may_be_asked_to_stand_once() -> None:
    pairs = parse_query(b"a=1&b=2&b=3")
    assert only_value(pairs, "a") == "1"
    assert only_value(pairs, "c") is None
    with pytest.raises(S3Failure):
        only_value(pairs, "b")


@pytest.mark.parametrize(
    ("path", "bucket", "key"),
    [
        (b"/", "", ""),
        (b"/bucket", "bucket", ""),
        (b"/bucket/", "bucket", ""),
        (b"/bucket/key", "bucket", "key"),
        (b"/bucket//key//", "bucket", "/key//"),
        (b"/bucket/a/../../b/./c", "bucket", "a/../../b/./c"),
        (b"/bucket/%2e%2e/%2F%252F", "bucket", "..///%2F".replace("///", "//")),
        (b"/bucket%2Fkey", "bucket", "key"),
        (b"/bucket/a+b", "bucket", "a+b"),
        (b"/bucket/a\\b%00", "bucket", "a\\b\0"),
        ("/bucket/%C3%A9é".encode(), "bucket", "éé"),
    ],
)
def test_path_style(path: bytes, bucket: str, key: str) -> None:
    assert parse_resource(path, HOST) == Resource(bucket, key)


@given(st.sampled_from(["b", "my.bucket"]), texts)
def test_the_two_styles_name_the_same_object(bucket: str, key: str) -> None:
    raw_key = quote(key, safe="").encode()
    by_path = parse_resource(b"/" + bucket.encode() + b"/" + raw_key, HOST, ("store.example",))
    by_host = parse_resource(b"/" + raw_key, bucket.encode() + b"." + HOST, ("store.example",))
    assert by_path == by_host == Resource(bucket, key)


@pytest.mark.parametrize(
    ("host", "bucket"),
    [
        (b"store.example", ""),
        (b"STORE.example:80", ""),
        (b"bucket.store.example", "bucket"),
        (b"Bucket.Store.Example:443", "bucket"),
        (b"my.bucket.store.example", "my.bucket"),
        (b"bucket.s3.store.example", "bucket"),
        (b"s3.store.example", ""),
        (b"xstore.example", ""),
        (b"bucket.other.example", ""),
        (b"127.0.0.1:9000", ""),
        (b"[::1]:9000", ""),
    ],
)
def test_hosts_name_buckets_under_the_longest_domain(host: bytes, bucket: str) -> None:
    assert hosted_bucket(host, ("store.example", "s3.store.example")) == bucket


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"a/b",
        b"a?b",
        b"a#b",
        b"a@b",
        b"a b",
        b"a\tb",
        b"a\nb",
        b"a,b",
        b"a:b",
        b"a:123456",
        b"[::1",
        b"a\xc3",
        b"a" * 300,
    ],
)
def test_bad_hosts_are_refused(host: bytes) -> None:
    with pytest.raises(S3Failure) as raised:
        parse_resource(b"/bucket/key", host, ("a",))
    assert (raised.value.code, raised.value.status) == ("InvalidRequest", 400)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        (b"", "InvalidURI"),
        (b"*", "InvalidURI"),
        (b"http://store.example/bucket", "InvalidURI"),
        (b"/bucket/%", "InvalidURI"),
        (b"/bucket/%ff", "InvalidURI"),
        (b"//key", "InvalidBucketName"),
        (b"/%2Fkey", "InvalidBucketName"),
        (b"/" + b"a" * PATH_BYTES_MAX, "KeyTooLongError"),
    ],
)
def test_bad_paths_are_refused(path: bytes, code: str) -> None:
    with pytest.raises(S3Failure) as raised:
        parse_resource(path, HOST)
    assert raised.value.code == code


def test_the_longest_key_fits_however_it_is_escaped() -> None:
    path = b"/" + b"b" * 63 + b"/" + b"%41" * 1024
    assert parse_resource(path, HOST).key == "A" * 1024
