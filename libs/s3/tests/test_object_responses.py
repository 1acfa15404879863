from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from liteio_s3.checksums import ChecksumAlgorithm, ChecksumType
from liteio_s3.object_responses import DeletedObject, DeleteFailure, copy_object_response, delete_objects_response

ReadResponse = Callable[[str, bytes], dict[str, Any]]
TIME = 1_700_000_000_123_456_789
RESULTS = (
    DeletedObject("plain"),
    DeletedObject("marked", None, True, "1" * 32),
    DeletedObject("null", "", True, ""),
    DeleteFailure("kept & <safe>", "bad", "AccessDenied", "Access Denied"),
)
SEEN_FAILURE = {"Key": "kept & <safe>", "VersionId": "bad", "Code": "AccessDenied", "Message": "Access Denied"}


def test_a_copy_is_read_by_botocore(read_response: ReadResponse) -> None:
    body = copy_object_response("e", TIME, ((ChecksumAlgorithm.SHA256, "x="),), ChecksumType.FULL_OBJECT)
    assert read_response("CopyObject", body) == {
        "CopyObjectResult": {
            "ETag": '"e"',
            "LastModified": datetime.fromtimestamp(1_700_000_000, UTC),
            "ChecksumSHA256": "x=",
            "ChecksumType": "FULL_OBJECT",
        }
    }


def test_deletions_are_read_by_botocore(read_response: ReadResponse) -> None:
    assert read_response("DeleteObjects", delete_objects_response(RESULTS, quiet=False)) == {
        "Deleted": [
            {"Key": "plain"},
            {"Key": "marked", "DeleteMarker": True, "DeleteMarkerVersionId": "1" * 32},
            {"Key": "null", "VersionId": "null", "DeleteMarker": True, "DeleteMarkerVersionId": "null"},
        ],
        "Errors": [SEEN_FAILURE],
    }


def test_quiet_answers_hold_failures_only(read_response: ReadResponse) -> None:
    assert read_response("DeleteObjects", delete_objects_response(RESULTS, quiet=True)) == {"Errors": [SEEN_FAILURE]}
