from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from liteio_s3.bodies import VersioningStatus, parse_bucket_tagging, parse_versioning
from liteio_s3.bucket_responses import (
    ListedBucket,
    access_control_response,
    list_buckets_response,
    location_response,
    tagging_response,
    versioning_response,
)
from liteio_s3.list_parameters import decode_token, parse_list_buckets
from liteio_s3.response_parts import Owner
from liteio_s3.tags import Tag

ReadResponse = Callable[[str, bytes], dict[str, Any]]
ME = Owner("0a1b", "me")
TIME = 1_700_000_000_123_456_789


def test_buckets_are_listed(read_response: ReadResponse) -> None:
    asked = parse_list_buckets([("prefix", "b")])
    seen = read_response("ListBuckets", list_buckets_response(ME, asked, [ListedBucket("b1", TIME, "us-east-1")], "b1"))
    assert decode_token(seen.pop("ContinuationToken")) == "b1"
    assert seen == {
        "Owner": {"ID": "0a1b", "DisplayName": "me"},
        "Buckets": [
            {
                "Name": "b1",
                "CreationDate": datetime.fromtimestamp(1_700_000_000, UTC),
                "BucketRegion": "us-east-1",
            }
        ],
        "Prefix": "b",
    }


def test_no_buckets_are_an_empty_list(read_response: ReadResponse) -> None:
    seen = read_response("ListBuckets", list_buckets_response(ME, parse_list_buckets([]), []))
    assert seen["Buckets"] == []
    assert "ContinuationToken" not in seen


def test_the_oldest_region_has_no_name() -> None:
    assert location_response("us-east-1").endswith(
        b'<LocationConstraint xmlns="http://s3.amazonaws.com/doc/2006-03-01/"></LocationConstraint>'
    )
    assert location_response("eu-west-1").endswith(b">eu-west-1</LocationConstraint>")


def test_versioning_is_read_by_botocore_and_by_ourselves(read_response: ReadResponse) -> None:
    assert read_response("GetBucketVersioning", versioning_response(None)) == {}
    for status in VersioningStatus:
        assert read_response("GetBucketVersioning", versioning_response(status)) == {"Status": status.value}
        assert parse_versioning(versioning_response(status)) is status


def test_tags_are_read_by_botocore_and_by_ourselves(read_response: ReadResponse) -> None:
    tags = (Tag("a", "b c"), Tag("é", ""))
    seen = read_response("GetBucketTagging", tagging_response(tags))
    assert seen == {"TagSet": [{"Key": "a", "Value": "b c"}, {"Key": "é", "Value": ""}]}
    assert parse_bucket_tagging(tagging_response(tags)) == tags


def test_access_control_is_read_by_botocore(read_response: ReadResponse) -> None:
    grantee = {"ID": "0a1b", "DisplayName": "me", "Type": "CanonicalUser"}
    assert read_response("GetObjectAcl", access_control_response(ME)) == {
        "Owner": {"ID": "0a1b", "DisplayName": "me"},
        "Grants": [{"Grantee": grantee, "Permission": "FULL_CONTROL"}],
    }
