"""What a request claims about its body: checksum headers, a checksum to come in the trailer, Content-MD5.

Source: Amazon S3 API reference, PutObject and "Checking object integrity"; wording as the service answers.
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from liteio_s3.checksums import (
    ALGORITHM_BY_HEADER,
    ChecksumAlgorithm,
    ChecksumType,
    allows,
    decode_checksum,
    default_type,
)
from liteio_s3.errors import INVALID_DIGEST, INVALID_REQUEST, NOT_IMPLEMENTED, S3Failure
from liteio_s3.etag import MD5_BYTES
from liteio_s3.headers import Headers

_PREFIX: Final = "x-amz-checksum-"
_NOT_VALUES: Final = frozenset({"x-amz-checksum-algorithm", "x-amz-checksum-mode", "x-amz-checksum-type"})


@dataclass(frozen=True, slots=True)
class ClaimedChecksum:
    """The checksum that a request promises. `digest`: the raw value, or None while it is to come in the trailer."""

    algorithm: ChecksumAlgorithm
    digest: bytes | None

    def fulfilled(self, trailers: Mapping[str, str]) -> bytes:
        """The raw value, taken from the decoded trailers where it was left to them. Raises InvalidRequest."""
        if self.digest is not None:
            return self.digest
        return decode_checksum(self.algorithm, trailers.get(self.algorithm.header, ""))


def parse_claimed_checksum(headers: Headers) -> ClaimedChecksum | None:
    """The one checksum that the request claims, None for none.

    Raises InvalidRequest for more than one, for a bad value, for `x-amz-sdk-checksum-algorithm` that nothing follows or
    that names another algorithm, and NotImplemented for an algorithm that this store does not know: a claim that cannot
    be checked is never taken as if it held.
    """
    claims = [name for name in headers if name.startswith(_PREFIX) and name not in _NOT_VALUES]
    trailing = declared_trailers(headers)
    _check_sdk_algorithm(headers.get("x-amz-sdk-checksum-algorithm"), [*claims, *trailing])
    if len(claims) + len(trailing) > 1:
        raise S3Failure(
            INVALID_REQUEST, "Expecting a single x-amz-checksum- header. Multiple checksum Types are not allowed."
        )
    for name in claims:
        algorithm = _algorithm(name)
        return ClaimedChecksum(algorithm, decode_checksum(algorithm, headers[name]))
    return ClaimedChecksum(_algorithm(trailing[0]), None) if trailing else None


def declared_trailers(headers: Headers) -> tuple[str, ...]:
    """The names in `x-amz-trailer`, lower case, in order; empty when there is none.

    Raises InvalidRequest for a repeated name, or one that is no checksum: nothing else may trail, as with Amazon S3.
    """
    text = headers.get("x-amz-trailer")
    if text is None:
        return ()
    names = tuple(name.strip().lower() for name in text.split(","))
    if any(not name.startswith(_PREFIX) or name in _NOT_VALUES for name in names) or len(set(names)) != len(names):
        raise S3Failure(INVALID_REQUEST, "The value specified in the x-amz-trailer header is not supported")
    return names


def parse_content_md5(headers: Headers) -> bytes | None:
    """The 16 raw bytes of Content-MD5, None without one. Raises InvalidDigest."""
    text = headers.get("content-md5")
    if text is None:
        return None
    try:
        digest = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        digest = b""
    if len(digest) != MD5_BYTES:
        raise S3Failure(INVALID_DIGEST)
    return digest


def parse_algorithm(text: str, header: str) -> ChecksumAlgorithm:
    """The algorithm that a header names, in either case. Raises InvalidRequest."""
    try:
        return ChecksumAlgorithm(text.upper())
    except ValueError:
        raise S3Failure(INVALID_REQUEST, f"Value for {header} header is invalid.") from None


def parse_upload_checksum(headers: Headers) -> tuple[ChecksumAlgorithm, ChecksumType] | None:
    """What CreateMultipartUpload asks the parts to be summed with, None for nothing.

    Reads `x-amz-checksum-algorithm` and `x-amz-checksum-type`. Raises InvalidRequest for a type without algorithm, or a
    pair that S3 does not allow.
    """
    algorithm_text, type_text = headers.get("x-amz-checksum-algorithm"), headers.get("x-amz-checksum-type")
    if algorithm_text is None:
        if type_text is not None:
            raise S3Failure(
                INVALID_REQUEST,
                "The x-amz-checksum-type header can only be used with the x-amz-checksum-algorithm header.",
            )
        return None
    algorithm = parse_algorithm(algorithm_text, "x-amz-checksum-algorithm")
    checksum_type = default_type(algorithm) if type_text is None else parse_checksum_type(type_text)
    if not allows(algorithm, checksum_type):
        raise S3Failure(
            INVALID_REQUEST,
            f"The {checksum_type} checksum type cannot be used with the {algorithm.lower()} checksum algorithm.",
        )
    return algorithm, checksum_type


def parse_checksum_type(text: str) -> ChecksumType:
    """Raises InvalidRequest."""
    try:
        return ChecksumType(text.upper())
    except ValueError:
        raise S3Failure(INVALID_REQUEST, "Value for x-amz-checksum-type header is invalid.") from None


def _check_sdk_algorithm(named: str | None, claims: list[str]) -> None:
    if named is None:
        return
    algorithm = parse_algorithm(named, "x-amz-sdk-checksum-algorithm")
    if not claims:
        raise S3Failure(
            INVALID_REQUEST,
            "x-amz-sdk-checksum-algorithm specified, but no corresponding x-amz-checksum-* or x-amz-trailer headers"
            " were found.",
        )
    if algorithm.header not in claims:
        raise S3Failure(INVALID_REQUEST, "Value for x-amz-sdk-checksum-algorithm header is invalid.")


def _algorithm(header: str) -> ChecksumAlgorithm:
    algorithm = ALGORITHM_BY_HEADER.get(header)
    if algorithm is None:
        raise S3Failure(NOT_IMPLEMENTED, f"The checksum of the header {header[:64]} is not implemented.")
    return algorithm
