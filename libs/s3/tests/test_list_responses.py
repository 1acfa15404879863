import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from liteio_s3.checksums import ChecksumAlgorithm, ChecksumType
from liteio_s3.list_parameters import decode_token, parse_list_objects, parse_list_objects_v2, parse_list_versions
from liteio_s3.list_responses import (
    ListedDeleteMarker,
    ListedObject,
    ListedVersion,
    ObjectPage,
    VersionPage,
    list_objects_response,
    list_objects_v2_response,
    list_versions_response,
)
from liteio_s3.response_parts import Owner

ReadResponse = Callable[[str, bytes], dict[str, Any]]
TIME = 1_700_000_000_123_456_789
WHEN = datetime.fromtimestamp(1_700_000_000, UTC)
ME = Owner("0a1b", "me")
ROW = ListedObject("a b/é+&", TIME, "e1", 5, owner=ME)
SEEN = {"Key": "a b/é+&", "LastModified": WHEN, "ETag": '"e1"', "Size": 5, "StorageClass": "STANDARD"}
SEEN_OWNER = {"ID": "0a1b", "DisplayName": "me"}


def test_version_1_is_read_by_botocore(read_response: ReadResponse) -> None:
    asked = parse_list_objects([("prefix", "a"), ("delimiter", "/"), ("marker", "Z"), ("max-keys", "3")])
    body = list_objects_response("bucket", asked, ObjectPage([ROW], ["p/"], "p/"))
    assert read_response("ListObjects", body) == {
        "Name": "bucket",
        "Prefix": "a",
        "Marker": "Z",
        "NextMarker": "p/",
        "MaxKeys": 3,
        "Delimiter": "/",
        "IsTruncated": True,
        "Contents": [{**SEEN, "Owner": SEEN_OWNER}],
        "CommonPrefixes": [{"Prefix": "p/"}],
    }


def test_next_marker_needs_a_delimiter(read_response: ReadResponse) -> None:
    body = list_objects_response("bucket", parse_list_objects([]), ObjectPage([ROW], (), ROW.key))
    seen = read_response("ListObjects", body)
    assert seen["IsTruncated"] is True
    assert "NextMarker" not in seen
    assert "Delimiter" not in seen


def test_version_2_is_read_by_botocore(read_response: ReadResponse) -> None:
    asked = parse_list_objects_v2([("start-after", "Z"), ("fetch-owner", "true")])
    row = ListedObject("k", TIME, "e1", 5, "STANDARD_IA", ME, ChecksumAlgorithm.CRC64NVME, ChecksumType.FULL_OBJECT)
    seen = read_response("ListObjectsV2", list_objects_v2_response("bucket", asked, ObjectPage([row], ["p/"], "p/é")))
    assert decode_token(seen.pop("NextContinuationToken")) == "p/é"
    assert seen == {
        "Name": "bucket",
        "Prefix": "",
        "StartAfter": "Z",
        "KeyCount": 2,
        "MaxKeys": 1000,
        "IsTruncated": True,
        "Contents": [
            {
                "Key": "k",
                "LastModified": WHEN,
                "ETag": '"e1"',
                "ChecksumAlgorithm": ["CRC64NVME"],
                "ChecksumType": "FULL_OBJECT",
                "Size": 5,
                "StorageClass": "STANDARD_IA",
                "Owner": SEEN_OWNER,
            }
        ],
        "CommonPrefixes": [{"Prefix": "p/"}],
    }


def test_version_2_shows_owners_only_when_asked_and_repeats_the_token(read_response: ReadResponse) -> None:
    asked = parse_list_objects_v2([("continuation-token", "AWs")])
    seen = read_response("ListObjectsV2", list_objects_v2_response("bucket", asked, ObjectPage([ROW])))
    assert seen["Contents"] == [SEEN]
    assert (seen["ContinuationToken"], seen["IsTruncated"], seen["KeyCount"]) == ("AWs", False, 1)
    assert "NextContinuationToken" not in seen


def test_versions_are_read_by_botocore(read_response: ReadResponse) -> None:
    asked = parse_list_versions([("key-marker", "a"), ("version-id-marker", "null")])
    entries: Sequence[ListedVersion | ListedDeleteMarker] = [
        ListedDeleteMarker("k", "0" * 32, True, TIME, ME),
        ListedVersion(ListedObject("k", TIME, "e1", 5, owner=ME), "", False),
    ]
    seen = read_response("ListObjectVersions", list_versions_response("b", asked, VersionPage(entries, (), "k", "")))
    assert seen == {
        "Name": "b",
        "Prefix": "",
        "KeyMarker": "a",
        "VersionIdMarker": "null",
        "NextKeyMarker": "k",
        "NextVersionIdMarker": "null",
        "MaxKeys": 1000,
        "IsTruncated": True,
        "Versions": [{**SEEN, "Key": "k", "VersionId": "null", "IsLatest": False, "Owner": SEEN_OWNER}],
        "DeleteMarkers": [
            {"Key": "k", "VersionId": "0" * 32, "IsLatest": True, "LastModified": WHEN, "Owner": SEEN_OWNER}
        ],
    }


def test_versions_and_delete_markers_keep_one_order() -> None:
    entries: Sequence[ListedVersion | ListedDeleteMarker] = [
        ListedVersion(ListedObject("a", TIME, "e", 1), "", True),
        ListedDeleteMarker("b", "", True, TIME),
        ListedVersion(ListedObject("b", TIME, "e", 1), "1" * 32, False),
    ]
    root = etree.fromstring(list_versions_response("b", parse_list_versions([]), VersionPage(entries)))
    names = [child.tag.rpartition("}")[2] for child in root]
    assert names[-3:] == ["Version", "DeleteMarker", "Version"]


HARD = "a b+%/é\x1f&<"


def texts(body: bytes) -> dict[str, str]:
    """Element name → its last text, with control characters dropped, which lxml cannot read."""
    root = etree.fromstring(re.sub(rb"&#x1F;", b"", body))
    return {element.tag.rpartition("}")[2]: element.text or "" for element in root.iter()}


def test_url_encoding_covers_exactly_the_names() -> None:
    encoded = "a%20b%2B%25/%C3%A9%1F%26%3C"
    query = [("prefix", HARD), ("delimiter", HARD), ("encoding-type", "url")]
    page = ObjectPage([ListedObject(HARD, TIME, "e", 1)], [HARD], HARD)

    one = texts(list_objects_response("b", parse_list_objects([*query, ("marker", HARD)]), page))
    for name in ("Key", "Prefix", "Delimiter", "Marker", "NextMarker"):
        assert one[name] == encoded, name
    assert one["EncodingType"] == "url"

    two = texts(list_objects_v2_response("b", parse_list_objects_v2([*query, ("start-after", HARD)]), page))
    for name in ("Key", "Prefix", "Delimiter", "StartAfter"):
        assert two[name] == encoded, name
    assert decode_token(two["NextContinuationToken"]) == HARD

    entries = [ListedVersion(ListedObject(HARD, TIME, "e", 1), "", True)]
    versions = parse_list_versions([*query, ("key-marker", HARD)])
    three = texts(list_versions_response("b", versions, VersionPage(entries, [HARD], HARD, "")))
    for name in ("Key", "Prefix", "Delimiter", "KeyMarker", "NextKeyMarker"):
        assert three[name] == encoded, name


def test_without_encoding_names_are_written_as_they_are() -> None:
    body = list_objects_response("b", parse_list_objects([("delimiter", HARD)]), ObjectPage([], [HARD]))
    assert b"<Prefix>a b+%/\xc3\xa9&#x1F;&amp;&lt;</Prefix>" in body
    assert b"EncodingType" not in body


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), max_size=5))
def test_every_key_comes_back_through_url_encoding(keys: list[str]) -> None:
    page = ObjectPage([ListedObject(key, TIME, "e", 1) for key in keys])
    asked = parse_list_objects_v2([("encoding-type", "url")])
    root = etree.fromstring(list_objects_v2_response("b", asked, page))
    found = [element.text for element in root.iterfind("{*}Contents/{*}Key")]
    assert [unquote(key) for key in found] == keys
