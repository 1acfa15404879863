"""Query authentication: the `X-Amz-*` parameters of a presigned URL. Those of version 2 are in `presign_v2`.

Source: Amazon S3 API reference, "Authenticating requests: using query parameters".
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from liteio_s3.claim import Signer, make_signer, parse_timestamp
from liteio_s3.errors import (
    ACCESS_DENIED,
    AUTHORIZATION_QUERY_PARAMETERS_ERROR,
    REQUEST_EXPIRED,
    UNSUPPORTED_AUTHORIZATION,
    S3Failure,
)
from liteio_s3.limits import AUTHORIZATION_BYTES_MAX
from liteio_s3.signing import ALGORITHM
from liteio_s3.timestamps import iso_timestamp

EXPIRES_SECONDS_MAX: Final = 7 * 24 * 3600
CLOCK_SKEW_SECONDS_MAX: Final = 15 * 60

_NEEDED: Final = (
    "X-Amz-Algorithm",
    "X-Amz-Credential",
    "X-Amz-Signature",
    "X-Amz-Date",
    "X-Amz-SignedHeaders",
    "X-Amz-Expires",
)
_OPTIONAL: Final = ("X-Amz-Security-Token", "X-Amz-Content-Sha256")
_BY_LOWER: Final = {name.lower(): name for name in (*_NEEDED, *_OPTIONAL)}
VERSION_4_ONLY: Final = frozenset(name.lower() for name in _NEEDED)
VERSION_2_EVIDENCE: Final = frozenset({"awsaccesskeyid", "signature"})
_EVIDENCE: Final = VERSION_4_ONLY | VERSION_2_EVIDENCE | {"x-amz-security-token"}
_SIGNATURE: Final = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Presigned:
    """A presigned URL's claim. `parameters`: the whole query but the signature, which is what that covers."""

    signer: Signer
    signature: bytes
    timestamp: bytes
    expires_seconds: int
    session_token: str | None
    content_sha256: bytes | None
    parameters: Sequence[tuple[str, str]]


def has_query_auth(parameters: Sequence[tuple[str, str]]) -> bool:
    """Whether a parameter belongs to query authentication, in any case of letters: half a claim is not none."""
    return any(name.lower() in _EVIDENCE for name, _ in parameters)


def parse_presigned(parameters: Sequence[tuple[str, str]]) -> Presigned:
    """The claim of a query that `has_query_auth` and is not of version 2.

    Raises AuthorizationQueryParametersError for a parameter that is missing, repeated, misspelt or not well-formed, and
    InvalidRequest for SigV4A.
    """
    values = _own_values(parameters)
    if values.get("X-Amz-Algorithm", ALGORITHM.decode()) != ALGORITHM.decode():
        raise S3Failure(UNSUPPORTED_AUTHORIZATION)
    if any(name not in values for name in _NEEDED):
        raise _refused(
            "Query-string authentication version 4 requires the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature,"
            " X-Amz-Date, X-Amz-SignedHeaders, and X-Amz-Expires parameters."
        )
    sha256 = values.get("X-Amz-Content-Sha256")
    return Presigned(
        signer=_parse_signer(values),
        signature=_parse_signature(values["X-Amz-Signature"]),
        timestamp=_parse_date(values["X-Amz-Date"]),
        expires_seconds=_parse_expires(values["X-Amz-Expires"]),
        session_token=values.get("X-Amz-Security-Token"),
        content_sha256=None if sha256 is None else sha256.encode(),
        parameters=[pair for pair in parameters if pair[0] != "X-Amz-Signature"],
    )


def check_lifetime(claim: Presigned, now_seconds: int) -> None:
    """Raises AccessDenied for a URL that has expired, or starts more than the allowed skew in the future."""
    signed_at = parse_timestamp(claim.timestamp) or 0
    if now_seconds > signed_at + claim.expires_seconds:
        fields = {
            "X-Amz-Expires": str(claim.expires_seconds),
            "Expires": iso_timestamp((signed_at + claim.expires_seconds) * 10**9),
            "ServerTime": iso_timestamp(now_seconds * 10**9),
        }
        raise S3Failure(REQUEST_EXPIRED, fields=fields)
    if signed_at > now_seconds + CLOCK_SKEW_SECONDS_MAX:
        raise S3Failure(ACCESS_DENIED, "Request is not yet valid")


def _own_values(parameters: Sequence[tuple[str, str]]) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in parameters:
        own = _BY_LOWER.get(name.lower())
        if own is None:
            continue
        if own != name or own in values:
            raise _refused(f"The parameter {own} was given more than once, or not spelt like this.")
        values[own] = value
    return values


def _parse_signer(values: dict[str, str]) -> Signer:
    credential, signed_headers = values["X-Amz-Credential"].encode(), values["X-Amz-SignedHeaders"].encode()
    if len(credential) + len(signed_headers) > AUTHORIZATION_BYTES_MAX:
        raise _refused("The X-Amz-Credential and X-Amz-SignedHeaders parameters are too long.")
    return make_signer(credential, signed_headers, AUTHORIZATION_QUERY_PARAMETERS_ERROR)


def _parse_signature(text: str) -> bytes:
    if not _SIGNATURE.fullmatch(text):
        raise _refused("X-Amz-Signature must be 64 lower-case hexadecimal digits.")
    return text.encode("ascii")


def _parse_date(text: str) -> bytes:
    if parse_timestamp(text.encode()) is None:
        raise _refused("X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"")
    return text.encode("ascii")


def _parse_expires(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise _refused("X-Amz-Expires should be a number")
    seconds = int(text)
    if seconds < 1:
        raise _refused("X-Amz-Expires must be at least 1 second")
    if seconds > EXPIRES_SECONDS_MAX:
        raise _refused(
            "X-Amz-Expires must be less than a week (in seconds); that is, the given X-Amz-Expires must be less than"
            " 604800 seconds"
        )
    return seconds


def _refused(message: str) -> S3Failure:
    return S3Failure(AUTHORIZATION_QUERY_PARAMETERS_ERROR, message)
