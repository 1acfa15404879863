"""What requests may claim about their bodies, and the refusals of Amazon S3 for what they may not."""

import base64
import hashlib

import pytest

from liteio_s3.checksum_headers import (
    ClaimedChecksum,
    declared_trailers,
    parse_claimed_checksum,
    parse_content_md5,
    parse_upload_checksum,
)
from liteio_s3.checksums import ChecksumAlgorithm, ChecksumType
from liteio_s3.errors import S3Failure

CRC32, SHA256 = ChecksumAlgorithm.CRC32, ChecksumAlgorithm.SHA256


def test_a_value_in_a_header_is_claimed() -> None:
    assert parse_claimed_checksum({"x-amz-checksum-crc32": "AAAAAQ=="}) == ClaimedChecksum(CRC32, b"\0\0\0\1")
    headers = {"x-amz-checksum-crc32": "AAAAAQ==", "x-amz-sdk-checksum-algorithm": "crc32"}
    assert parse_claimed_checksum(headers) == ClaimedChecksum(CRC32, b"\0\0\0\1")


def test_a_value_in_the_trailer_is_claimed_and_found_later() -> None:
    headers = {"x-amz-trailer": "X-Amz-Checksum-CRC32", "x-amz-sdk-checksum-algorithm": "CRC32"}
    claim = parse_claimed_checksum(headers)
    assert claim == ClaimedChecksum(CRC32, None)
    assert claim is not None
    assert declared_trailers(headers) == ("x-amz-checksum-crc32",)
    assert claim.fulfilled({"x-amz-checksum-crc32": "AAAAAQ=="}) == b"\0\0\0\1"
    for trailers in ({}, {"x-amz-checksum-crc32": "bad"}, {"x-amz-checksum-crc32c": "AAAAAQ=="}):
        with pytest.raises(S3Failure):
            claim.fulfilled(trailers)


def test_headers_that_hold_no_value_claim_nothing() -> None:
    headers = {
        "x-amz-checksum-mode": "ENABLED",
        "x-amz-checksum-algorithm": "SHA256",
        "x-amz-checksum-type": "COMPOSITE",
    }
    assert parse_claimed_checksum(headers) is None
    assert parse_claimed_checksum({}) is None
    assert declared_trailers({}) == ()


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"x-amz-checksum-crc32": "AAAAAQ==", "x-amz-checksum-crc32c": "AAAAAQ=="}, "Expecting a single"),
        ({"x-amz-checksum-crc32": "AAAAAQ==", "x-amz-trailer": "x-amz-checksum-crc32"}, "Expecting a single"),
        ({"x-amz-trailer": "x-amz-checksum-crc32,x-amz-checksum-sha1"}, "Expecting a single"),
        ({"x-amz-checksum-crc32": "AAAAAQ==,AAAAAQ=="}, "Value for x-amz-checksum-crc32 header is invalid."),
        ({"x-amz-checksum-crc32": "AAAA"}, "Value for x-amz-checksum-crc32 header is invalid."),
        ({"x-amz-sdk-checksum-algorithm": "CRC32"}, "x-amz-sdk-checksum-algorithm specified, but no"),
        ({"x-amz-sdk-checksum-algorithm": "CRC31"}, "Value for x-amz-sdk-checksum-algorithm header is invalid."),
        (
            {"x-amz-sdk-checksum-algorithm": "CRC32", "x-amz-checksum-sha1": "AAAAAAAAAAAAAAAAAAAAAAAAAAA="},
            "Value for x-amz-sdk-checksum-algorithm header is invalid.",
        ),
        (
            {"x-amz-sdk-checksum-algorithm": "sha1", "x-amz-trailer": "x-amz-checksum-crc64nvme"},
            "Value for x-amz-sdk-checksum-algorithm header is invalid.",
        ),
        ({"x-amz-trailer": "x-amz-meta-a"}, "The value specified in the x-amz-trailer header is not supported"),
        ({"x-amz-trailer": "x-amz-checksum-mode"}, "The value specified in the x-amz-trailer header is not supported"),
        ({"x-amz-trailer": ""}, "The value specified in the x-amz-trailer header is not supported"),
    ],
)
def test_refused_claims(headers: dict[str, str], message: str) -> None:
    with pytest.raises(S3Failure) as raised:
        parse_claimed_checksum(headers)
    assert raised.value.code == "InvalidRequest"
    assert raised.value.message.startswith(message)


@pytest.mark.parametrize("headers", [{"x-amz-checksum-sha512": "AAAA"}, {"x-amz-trailer": "x-amz-checksum-xxhash64"}])
def test_a_claim_that_cannot_be_checked_is_not_ignored(headers: dict[str, str]) -> None:
    with pytest.raises(S3Failure) as raised:
        parse_claimed_checksum(headers)
    assert raised.value.code == "NotImplemented"


def test_content_md5() -> None:
    digest = hashlib.md5(b"data").digest()
    assert parse_content_md5({}) is None
    assert parse_content_md5({"content-md5": base64.b64encode(digest).decode()}) == digest
    for bad in ("", "AAAA", "not base64", digest.hex()):
        with pytest.raises(S3Failure) as raised:
            parse_content_md5({"content-md5": bad})
        assert raised.value.code == "InvalidDigest"


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, None),
        ({"x-amz-checksum-algorithm": "crc32"}, (CRC32, ChecksumType.COMPOSITE)),
        ({"x-amz-checksum-algorithm": "SHA256"}, (SHA256, ChecksumType.COMPOSITE)),
        (
            {"x-amz-checksum-algorithm": "CRC64NVME"},
            (ChecksumAlgorithm.CRC64NVME, ChecksumType.FULL_OBJECT),
        ),
        (
            {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "FULL_OBJECT"},
            (CRC32, ChecksumType.FULL_OBJECT),
        ),
    ],
)
def test_what_an_upload_asks_of_its_parts(
    headers: dict[str, str], expected: tuple[ChecksumAlgorithm, ChecksumType] | None
) -> None:
    assert parse_upload_checksum(headers) == expected


@pytest.mark.parametrize(
    "headers",
    [
        {"x-amz-checksum-type": "COMPOSITE"},
        {"x-amz-checksum-algorithm": "MD4"},
        {"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": "HALF"},
        {"x-amz-checksum-algorithm": "SHA1", "x-amz-checksum-type": "FULL_OBJECT"},
        {"x-amz-checksum-algorithm": "CRC64NVME", "x-amz-checksum-type": "COMPOSITE"},
    ],
)
def test_what_an_upload_may_not_ask(headers: dict[str, str]) -> None:
    with pytest.raises(S3Failure) as raised:
        parse_upload_checksum(headers)
    assert raised.value.code == "InvalidRequest"
