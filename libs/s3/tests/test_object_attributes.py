from collections.abc import Callable
from typing import Any

import pytest

from liteio_s3.checksums import ChecksumAlgorithm, ChecksumType
from liteio_s3.errors import S3Failure
from liteio_s3.object_attributes import (
    AskedAttributes,
    Attribute,
    AttributePart,
    AttributeParts,
    ObjectAttributes,
    object_attributes_response,
    parse_asked_attributes,
)

ReadResponse = Callable[[str, bytes], dict[str, Any]]
SUMS = ((ChecksumAlgorithm.CRC32, "AAAAAA==-1"),)


def test_attributes_are_named_in_a_list() -> None:
    headers = {
        "x-amz-object-attributes": "ETag, ObjectParts",
        "x-amz-max-parts": "5000",
        "x-amz-part-number-marker": "2",
    }
    assert parse_asked_attributes(headers) == AskedAttributes(
        frozenset({Attribute.ETAG, Attribute.OBJECT_PARTS}), 2, 1000
    )


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"x-amz-object-attributes": ""},
        {"x-amz-object-attributes": "etag"},
        {"x-amz-object-attributes": "ETag,,"},
        {"x-amz-object-attributes": "ETag", "x-amz-max-parts": "-1"},
        {"x-amz-object-attributes": "ETag", "x-amz-part-number-marker": "9" * 5000},
    ],
)
def test_other_requests_are_refused(headers: dict[str, str]) -> None:
    with pytest.raises(S3Failure) as caught:
        parse_asked_attributes(headers)
    assert caught.value.code == "InvalidArgument"


def test_everything_is_read_by_botocore(read_response: ReadResponse) -> None:
    parts = AttributeParts(3, [AttributePart(2, 7, SUMS)], 2)
    found = ObjectAttributes("e-3", 21, "STANDARD", SUMS, ChecksumType.COMPOSITE, parts)
    asked = AskedAttributes(frozenset(Attribute), 1, 1)
    assert read_response("GetObjectAttributes", object_attributes_response(asked, found)) == {
        "ETag": "e-3",
        "Checksum": {"ChecksumCRC32": "AAAAAA==-1", "ChecksumType": "COMPOSITE"},
        "ObjectParts": {
            "TotalPartsCount": 3,
            "PartNumberMarker": 1,
            "NextPartNumberMarker": 2,
            "MaxParts": 1,
            "IsTruncated": True,
            "Parts": [{"PartNumber": 2, "Size": 7, "ChecksumCRC32": "AAAAAA==-1"}],
        },
        "StorageClass": "STANDARD",
        "ObjectSize": 21,
    }


def test_only_what_was_asked_for_is_shown(read_response: ReadResponse) -> None:
    asked = AskedAttributes(frozenset({Attribute.OBJECT_SIZE, Attribute.OBJECT_PARTS, Attribute.CHECKSUM}), 0, 1000)
    seen = read_response("GetObjectAttributes", object_attributes_response(asked, ObjectAttributes("e", 3)))
    assert seen == {"ObjectSize": 3}
