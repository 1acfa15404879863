from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from liteio_s3.checksums import ChecksumAlgorithm, ChecksumType
from liteio_s3.list_parameters import parse_list_parts, parse_list_uploads
from liteio_s3.multipart_responses import (
    CompletedUpload,
    ListedPart,
    ListedUpload,
    PartPage,
    UploadPage,
    complete_multipart_upload_response,
    create_multipart_upload_response,
    list_parts_response,
    list_uploads_response,
    upload_part_copy_response,
)
from liteio_s3.response_parts import Owner

ReadResponse = Callable[[str, bytes], dict[str, Any]]
TIME = 1_700_000_000_123_456_789
WHEN = datetime.fromtimestamp(1_700_000_000, UTC)
ME = Owner("0a1b", "me")
SEEN_ME = {"ID": "0a1b", "DisplayName": "me"}
SUMS = ((ChecksumAlgorithm.CRC32C, "AAAAAA=="),)


def test_an_upload_starts(read_response: ReadResponse) -> None:
    body = create_multipart_upload_response("b", "a&é", "u")
    assert read_response("CreateMultipartUpload", body) == {"Bucket": "b", "Key": "a&é", "UploadId": "u"}


def test_an_upload_is_complete(read_response: ReadResponse) -> None:
    made = CompletedUpload("http://h/b/k", "b", "k", "e-2", SUMS, ChecksumType.COMPOSITE)
    assert read_response("CompleteMultipartUpload", complete_multipart_upload_response(made)) == {
        "Location": "http://h/b/k",
        "Bucket": "b",
        "Key": "k",
        "ETag": '"e-2"',
        "ChecksumCRC32C": "AAAAAA==",
        "ChecksumType": "COMPOSITE",
    }


def test_a_part_is_copied(read_response: ReadResponse) -> None:
    assert read_response("UploadPartCopy", upload_part_copy_response("e", TIME, SUMS)) == {
        "CopyPartResult": {"ETag": '"e"', "LastModified": WHEN, "ChecksumCRC32C": "AAAAAA=="}
    }


def test_parts_are_listed(read_response: ReadResponse) -> None:
    asked = parse_list_parts([("uploadId", "u"), ("part-number-marker", "2"), ("max-parts", "1")])
    page = PartPage(
        ME, [ListedPart(3, TIME, "e", 7, SUMS)], 3, "STANDARD", ChecksumAlgorithm.CRC32C, ChecksumType.COMPOSITE
    )
    assert read_response("ListParts", list_parts_response("b", "k", asked, page)) == {
        "Bucket": "b",
        "Key": "k",
        "UploadId": "u",
        "PartNumberMarker": 2,
        "NextPartNumberMarker": 3,
        "MaxParts": 1,
        "IsTruncated": True,
        "Parts": [{"PartNumber": 3, "LastModified": WHEN, "ETag": '"e"', "Size": 7, "ChecksumCRC32C": "AAAAAA=="}],
        "Initiator": SEEN_ME,
        "Owner": SEEN_ME,
        "StorageClass": "STANDARD",
        "ChecksumAlgorithm": "CRC32C",
        "ChecksumType": "COMPOSITE",
    }


def test_the_last_page_of_parts_names_no_next_one(read_response: ReadResponse) -> None:
    seen = read_response("ListParts", list_parts_response("b", "k", parse_list_parts([]), PartPage(ME, [])))
    assert seen["IsTruncated"] is False
    assert "NextPartNumberMarker" not in seen


def test_uploads_are_listed(read_response: ReadResponse) -> None:
    query = [("prefix", "a b"), ("delimiter", "/ "), ("key-marker", "k m"), ("upload-id-marker", "x+")]
    asked = parse_list_uploads([*query, ("encoding-type", "url")])
    page = UploadPage([ListedUpload("k é", "u", TIME, ME)], ["p q/"], "k é", "u")
    assert read_response("ListMultipartUploads", list_uploads_response("b", asked, page)) == {
        "Bucket": "b",
        "KeyMarker": "k%20m",
        "UploadIdMarker": "x+",
        "NextKeyMarker": "k%20%C3%A9",
        "NextUploadIdMarker": "u",
        "Prefix": "a%20b",
        "Delimiter": "/%20",
        "EncodingType": "url",
        "MaxUploads": 1000,
        "IsTruncated": True,
        "Uploads": [
            {
                "Key": "k%20%C3%A9",
                "UploadId": "u",
                "Initiator": SEEN_ME,
                "Owner": SEEN_ME,
                "StorageClass": "STANDARD",
                "Initiated": WHEN,
            }
        ],
        "CommonPrefixes": [{"Prefix": "p%20q/"}],
    }
