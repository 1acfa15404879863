from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_base.ids import NULL_VERSION
from liteio_s3.errors import S3Failure
from liteio_s3.list_parameters import (
    ListBuckets,
    ListObjects,
    ListObjectsV2,
    ListParts,
    ListUploads,
    ListVersions,
    Query,
    decode_token,
    encode_token,
    parse_list_buckets,
    parse_list_objects,
    parse_list_objects_v2,
    parse_list_parts,
    parse_list_uploads,
    parse_list_versions,
)

PARSERS: list[Callable[[Query], object]] = [
    parse_list_objects,
    parse_list_objects_v2,
    parse_list_versions,
    parse_list_uploads,
    parse_list_parts,
    parse_list_buckets,
]
KEY = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)


def refused(parse: Callable[[Query], object], *query: tuple[str, str]) -> S3Failure:
    with pytest.raises(S3Failure) as caught:
        parse(query)
    assert caught.value.code == "InvalidArgument"
    return caught.value


def test_lists_without_parameters_are_of_everything() -> None:
    assert parse_list_objects([]) == ListObjects("", "", "", 1000, False)
    assert parse_list_objects_v2([("list-type", "2")]) == ListObjectsV2("", "", "", None, "", 1000, False, False)
    assert parse_list_versions([("versions", "")]) == ListVersions("", "", "", None, 1000, False)
    assert parse_list_uploads([("uploads", "")]) == ListUploads("", "", "", "", 1000, False)
    assert parse_list_parts([("uploadId", "u")]) == ListParts("u", 0, 1000, False)
    assert parse_list_buckets([]) == ListBuckets("", "", "", 10_000)


def test_parameters_are_taken_from_the_query() -> None:
    common = [("prefix", "p"), ("delimiter", "//"), ("max-keys", "7"), ("encoding-type", "url")]
    assert parse_list_objects([*common, ("marker", "m")]) == ListObjects("p", "//", "m", 7, True)
    assert parse_list_objects_v2([*common, ("start-after", "s"), ("fetch-owner", "true")]) == ListObjectsV2(
        "p", "//", "s", None, "s", 7, True, True
    )
    marked = [*common, ("key-marker", "k"), ("version-id-marker", "null")]
    assert parse_list_versions(marked) == ListVersions("p", "//", "k", NULL_VERSION, 7, True)
    uploads = [("prefix", "p"), ("key-marker", "k"), ("upload-id-marker", "u"), ("max-uploads", "3")]
    assert parse_list_uploads(uploads) == ListUploads("p", "", "k", "u", 3, False)
    parts = [("uploadId", "u"), ("part-number-marker", "4"), ("max-parts", "5")]
    assert parse_list_parts(parts) == ListParts("u", 4, 5, False)


def test_the_token_goes_before_start_after() -> None:
    asked = parse_list_objects_v2([("start-after", "a"), ("continuation-token", encode_token("b"))])
    assert (asked.start_after, asked.after, asked.token) == ("a", "b", encode_token("b"))


def test_the_first_of_repeated_parameters_counts() -> None:
    assert parse_list_objects([("prefix", "a"), ("prefix", "b")]).prefix == "a"


@pytest.mark.parametrize(
    ("text", "count"), [("0", 0), ("1", 1), ("1000", 1000), ("1001", 1000), ("2147483647", 1000), ("", 1000)]
)
def test_counts_are_cut_to_a_thousand(text: str, count: int) -> None:
    assert parse_list_objects([("max-keys", text)]).max_keys == count
    assert parse_list_uploads([("max-uploads", text)]).max_uploads == count
    assert parse_list_parts([("uploadId", "u"), ("max-parts", text)]).max_parts == count


@pytest.mark.parametrize("text", ["-1", "blah", "1.5", "2147483648", "9" * 5000, "²", "--1", "+1", " 1"])
def test_other_counts_are_refused(text: str) -> None:
    assert refused(parse_list_objects, ("max-keys", text)).fields == {"ArgumentName": "max-keys", "ArgumentValue": text}
    assert refused(parse_list_parts, ("part-number-marker", text)).fields["ArgumentName"] == "part-number-marker"


def test_buckets_are_1_to_10000() -> None:
    assert parse_list_buckets([("max-buckets", "10000")]).max_buckets == 10_000
    for text in ("0", "10001"):
        assert refused(parse_list_buckets, ("max-buckets", text)).fields["ArgumentName"] == "max-buckets"


@pytest.mark.parametrize("parse", PARSERS[:5])
def test_the_only_encoding_is_url(parse: Callable[[Query], object]) -> None:
    assert refused(parse, ("encoding-type", "URL")).fields["ArgumentName"] == "encoding-type"


def test_a_version_marker_needs_a_key_marker_and_a_version() -> None:
    refused(parse_list_versions, ("version-id-marker", "null"))
    refused(parse_list_versions, ("key-marker", "k"), ("version-id-marker", ""))
    failure = refused(parse_list_versions, ("key-marker", "k"), ("version-id-marker", "x"))
    assert failure.fields["ArgumentName"] == "version-id-marker"


def test_an_upload_marker_without_a_key_marker_is_ignored() -> None:
    assert parse_list_uploads([("upload-id-marker", "u")]).upload_id_marker == ""


@given(KEY)
def test_tokens_are_opaque_and_lead_back(key: str) -> None:
    token = encode_token(key)
    assert set(token) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    assert decode_token(token) == key


@given(st.text(max_size=100))
def test_a_token_has_one_spelling(token: str) -> None:
    with suppress(S3Failure):
        assert encode_token(decode_token(token)) == token.rstrip("=")


@pytest.mark.parametrize("token", ["", "garbage!", "AQ*", "Ag", "é", "A" * 5000, encode_token("a")[:-1] + "!", "a"])
def test_other_tokens_are_incorrect(token: str) -> None:
    failure = refused(parse_list_objects_v2, ("continuation-token", token))
    assert failure.message == "The continuation token provided is incorrect"


NAMES = st.sampled_from(
    [
        "prefix",
        "delimiter",
        "marker",
        "max-keys",
        "max-parts",
        "max-uploads",
        "max-buckets",
        "encoding-type",
        "key-marker",
        "version-id-marker",
        "upload-id-marker",
        "continuation-token",
        "part-number-marker",
        "start-after",
        "fetch-owner",
    ]
)


@given(st.lists(st.tuples(NAMES, st.text(max_size=20)), max_size=6))
def test_any_query_is_read_or_refused(query: list[tuple[str, str]]) -> None:
    for parse in PARSERS:
        with suppress(S3Failure):
            parse(query)
