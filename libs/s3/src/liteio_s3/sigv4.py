"""Who sent this request: AWS Signature Version 4, in the Authorization header or in the query of a presigned URL.

Closed by design: a request is anonymous only when nothing in it belongs to authentication; every other must fit one of
the known forms whole, and is verified whole, whatever protects its body. What fits none is refused. The third form,
a presigned URL of version 2, is in `presign_v2`.
Source: Amazon S3 API reference, "Authenticating requests (AWS Signature Version 4)".
"""

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from liteio_s3.canonical import canonical_path, canonical_query, canonical_request, index_headers
from liteio_s3.claim import Signer, check_scope, parse_authorization, parse_timestamp, read_date_header
from liteio_s3.credentials import Credential, CredentialSource
from liteio_s3.errors import (
    ACCESS_DENIED,
    AUTHORIZATION_HEADER_MALFORMED,
    AUTHORIZATION_QUERY_PARAMETERS_ERROR,
    EXPIRED_TOKEN,
    INVALID_ACCESS_KEY_ID,
    INVALID_ARGUMENT,
    INVALID_REQUEST,
    INVALID_TOKEN,
    REQUEST_TIME_TOO_SKEWED,
    SIGNATURE_DOES_NOT_MATCH,
    UNSUPPORTED_AUTHORIZATION,
    S3Failure,
)
from liteio_s3.payload import UNSIGNED, Payload, parse_payload
from liteio_s3.presign import CLOCK_SKEW_SECONDS_MAX, check_lifetime, has_query_auth, parse_presigned
from liteio_s3.presign_v2 import PresignedV2, check_lifetime_v2, check_signature_v2, is_version_2, parse_presigned_v2
from liteio_s3.query import parse_query
from liteio_s3.signing import ALGORITHM, ChunkSigning, sign, signing_key, string_to_sign
from liteio_s3.timestamps import iso_timestamp

_CONTENT_SHA256: Final = b"x-amz-content-sha256"
_SECURITY_TOKEN: Final = b"x-amz-security-token"
_NANOSECONDS: Final = 10**9


class AuthKind(StrEnum):
    """How a request proved who sent it."""

    ANONYMOUS = "anonymous"
    HEADER = "header"
    PRESIGNED = "presigned"


@dataclass(slots=True)  # never changed, but not frozen: each request makes one, and freezing doubles what that takes
class SignedRequest:
    """A request as it came. `headers`: lower-case names, raw values, as ASGI has them; path and query not decoded.

    `body_sha256`: the body's hash in lower-case hexadecimal digits, for services other than s3, whose requests need not
    announce it. `hosted_bucket`: the bucket that a virtual-hosted Host header names, "" for path style.
    """

    method: str
    raw_path: bytes
    raw_query: bytes
    headers: Sequence[tuple[bytes, bytes]]
    body_sha256: str | None = None
    hosted_bucket: str = ""


@dataclass(slots=True)  # as SignedRequest
class Authenticated:
    """The outcome. `credential`: None for an anonymous request only. `chunks`: set for a body of signed chunks only.

    The body is still to be held against `payload`: nothing it stores may be final before.
    """

    kind: AuthKind
    credential: Credential | None
    payload: Payload
    chunks: ChunkSigning | None = None


@dataclass(slots=True)  # as SignedRequest
class _Claim:
    """Either form of signed request, brought to one shape. All its parts are well-formed."""

    kind: AuthKind
    signer: Signer
    signature: bytes
    timestamp: bytes
    token: str | None
    payload: Payload
    payload_hash: bytes
    parameters: Sequence[tuple[str, str]]


def authenticate(
    request: SignedRequest, credentials: CredentialSource, *, now_ns: int, region: str, service: str = "s3"
) -> Authenticated:
    """Verify a request's signature, or find that it has none.

    `now_ns`: nanoseconds since 1970. Raises S3Failure with the row that Amazon S3 answers. Cost, once the signing key
    is cached: ten HMACs of 150 bytes, twice that with a query.
    """
    headers = index_headers(request.headers)
    parameters = parse_query(request.raw_query)
    claim = _read_claim(request, headers, parameters, now_ns // _NANOSECONDS, region, service)
    if claim is None:
        return _anonymous(headers)
    if isinstance(claim, PresignedV2):
        return _authenticate_v2(request, claim, credentials, now_ns)
    _check_coverage(headers, claim)
    credential = _find_credential(credentials, claim.signer.scope.access_key)
    key = signing_key(credential.secret_key, claim.signer.scope.date, claim.signer.scope.region, service)
    _check_signature(request, headers, claim, key)
    _check_token(credential, claim.token, now_ns)
    return Authenticated(claim.kind, credential, claim.payload, _chunk_signing(claim, key))


def _read_claim(
    request: SignedRequest,
    headers: Mapping[bytes, bytes],
    parameters: Sequence[tuple[str, str]],
    now_seconds: int,
    region: str,
    service: str,
) -> _Claim | PresignedV2 | None:
    authorization = headers.get(b"authorization")
    in_query = bool(parameters) and has_query_auth(parameters)
    if authorization is not None and in_query:
        raise S3Failure(
            INVALID_ARGUMENT,
            "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string"
            " parameter or the Authorization header should be specified",
            fields={"ArgumentName": "Authorization"},
        )
    if authorization is not None:
        claim = _read_header_claim(authorization, request, headers, parameters)
        check_scope(claim.signer.scope, claim.timestamp, region, service, AUTHORIZATION_HEADER_MALFORMED)
        _check_skew(claim.timestamp, now_seconds)
        return claim
    if in_query and is_version_2(parameters):
        return _read_version_2_claim(request, parameters, now_seconds, service)
    if in_query:
        return _read_presigned_claim(headers, parameters, now_seconds, region, service)
    return None


def _read_header_claim(
    authorization: bytes,
    request: SignedRequest,
    headers: Mapping[bytes, bytes],
    parameters: Sequence[tuple[str, str]],
) -> _Claim:
    if not authorization.startswith(ALGORITHM + b" "):
        raise _unsupported(authorization)
    signer, signature = parse_authorization(authorization)
    payload, payload_hash = _header_payload(request, headers)
    token = headers.get(_SECURITY_TOKEN)
    return _Claim(
        AuthKind.HEADER,
        signer,
        signature,
        _header_timestamp(headers),
        None if token is None else token.decode("latin-1"),
        payload,
        payload_hash,
        parameters,
    )


def _unsupported(authorization: bytes) -> S3Failure:
    if authorization.startswith((b"AWS ", b"AWS4-")):
        return S3Failure(UNSUPPORTED_AUTHORIZATION)
    # The value is left out of the answer, and so of every log: it may be someone's password.
    return S3Failure(INVALID_ARGUMENT, "Unsupported Authorization Type", fields={"ArgumentName": "Authorization"})


def _header_payload(request: SignedRequest, headers: Mapping[bytes, bytes]) -> tuple[Payload, bytes]:
    announced = headers.get(_CONTENT_SHA256)
    if announced is None and request.body_sha256 is not None:
        announced = request.body_sha256.encode("ascii")
    if announced is None:
        raise S3Failure(INVALID_REQUEST, "Missing required header for this request: x-amz-content-sha256")
    return parse_payload(announced), announced


def _header_timestamp(headers: Mapping[bytes, bytes]) -> bytes:
    value = headers.get(b"x-amz-date")
    if value is None:
        return read_date_header(headers.get(b"date", b""))
    if parse_timestamp(value) is None:
        raise S3Failure(ACCESS_DENIED, "AWS authentication requires a valid Date or x-amz-date header")
    return value


def _check_skew(timestamp: bytes, now_seconds: int) -> None:
    signed_at = parse_timestamp(timestamp) or 0
    if abs(now_seconds - signed_at) > CLOCK_SKEW_SECONDS_MAX:
        fields = {
            "RequestTime": timestamp.decode("ascii"),
            "ServerTime": iso_timestamp(now_seconds * _NANOSECONDS),
            "MaxAllowedSkewMilliseconds": str(CLOCK_SKEW_SECONDS_MAX * 1000),
        }
        raise S3Failure(REQUEST_TIME_TOO_SKEWED, fields=fields)


def _read_presigned_claim(
    headers: Mapping[bytes, bytes], parameters: Sequence[tuple[str, str]], now_seconds: int, region: str, service: str
) -> _Claim:
    found = parse_presigned(parameters)
    check_scope(found.signer.scope, found.timestamp, region, service, AUTHORIZATION_QUERY_PARAMETERS_ERROR)
    check_lifetime(found, now_seconds)
    payload_hash = found.content_sha256
    if payload_hash is None and _CONTENT_SHA256 in found.signer.signed_names:
        payload_hash = headers.get(_CONTENT_SHA256)
    return _Claim(
        AuthKind.PRESIGNED,
        found.signer,
        found.signature,
        found.timestamp,
        found.session_token,
        _presigned_payload(payload_hash),
        payload_hash or b"UNSIGNED-PAYLOAD",
        found.parameters,
    )


def _presigned_payload(payload_hash: bytes | None) -> Payload:
    payload = UNSIGNED if payload_hash is None else parse_payload(payload_hash)
    if payload.mode.is_streaming:
        # A streaming body is verified from a seed in the Authorization header; S3 defines none for presigned URLs.
        raise S3Failure(ACCESS_DENIED, "A presigned request cannot have a streaming payload.")
    return payload


def _read_version_2_claim(
    request: SignedRequest, parameters: Sequence[tuple[str, str]], now_seconds: int, service: str
) -> PresignedV2:
    if service != "s3":
        raise S3Failure(UNSUPPORTED_AUTHORIZATION)
    claim = parse_presigned_v2(parameters, request.headers)
    check_lifetime_v2(claim, now_seconds)
    return claim


def _authenticate_v2(
    request: SignedRequest, claim: PresignedV2, credentials: CredentialSource, now_ns: int
) -> Authenticated:
    payload = _presigned_payload(claim.content_sha256)
    credential = _find_credential(credentials, claim.access_key)
    check_signature_v2(claim, request.method, request.raw_path, request.hosted_bucket, credential.secret_key)
    _check_token(credential, claim.session_token, now_ns)
    return Authenticated(AuthKind.PRESIGNED, credential, payload)


def _anonymous(headers: Mapping[bytes, bytes]) -> Authenticated:
    announced = headers.get(_CONTENT_SHA256)
    payload = UNSIGNED if announced is None else parse_payload(announced)
    if payload.mode.is_streaming or _SECURITY_TOKEN in headers:
        raise S3Failure(ACCESS_DENIED)
    return Authenticated(AuthKind.ANONYMOUS, None, payload)


def _check_coverage(headers: Mapping[bytes, bytes], claim: _Claim) -> None:
    """Refuse headers that S3 acts on but the signer never saw: with them a presigned upload could become a copy."""
    signed = claim.signer.signed_names
    loose = [name for name in headers if name not in signed and name.startswith(b"x-amz-")]
    if _CONTENT_SHA256 in loose and headers[_CONTENT_SHA256] == claim.payload_hash:
        loose.remove(_CONTENT_SHA256)  # Its value is signed all the same, as the last line of the canonical request.
    if b"host" not in signed:
        loose.append(b"host")
    if loose:
        raise S3Failure(
            ACCESS_DENIED,
            "There were headers present in the request which were not signed",
            fields={"HeadersNotSigned": ", ".join(sorted(name.decode("latin-1") for name in loose))},
        )
    host = headers.get(b"host")
    if host is None or b"," in host:
        raise S3Failure(INVALID_REQUEST, "The request needs exactly one Host header.")


def _find_credential(credentials: CredentialSource, access_key: str) -> Credential:
    credential = credentials.find(access_key)
    if credential is None:
        raise S3Failure(INVALID_ACCESS_KEY_ID, fields={"AWSAccessKeyId": access_key})
    return credential


def _check_signature(request: SignedRequest, headers: Mapping[bytes, bytes], claim: _Claim, key: bytes) -> None:
    query = canonical_query(claim.parameters)
    path = canonical_path(request.raw_path)
    message = _message(request, headers, claim, path, query)
    if hmac.compare_digest(sign(key, message), claim.signature):
        return
    # Some clients sign the path exactly as they send it, escapes and all. It decodes to the same key, so a signature
    # over it covers the same request.
    if path != request.raw_path:
        as_sent = _message(request, headers, claim, request.raw_path, query)
        if hmac.compare_digest(sign(key, as_sent), claim.signature):
            return
    fields = {"AWSAccessKeyId": claim.signer.scope.access_key, "StringToSign": message.decode("ascii")}
    raise S3Failure(SIGNATURE_DOES_NOT_MATCH, fields=fields)


def _message(request: SignedRequest, headers: Mapping[bytes, bytes], claim: _Claim, path: bytes, query: bytes) -> bytes:
    canonical = canonical_request(request.method, path, query, headers, claim.signer.signed, claim.payload_hash)
    return string_to_sign(claim.timestamp, claim.signer.scope.text, canonical)


def _check_token(credential: Credential, token: str | None, now_ns: int) -> None:
    """After the signature, so that only the key's holder learns anything about its token."""
    expected = credential.session_token
    if (expected is None) != (token is None):
        raise S3Failure(INVALID_TOKEN)
    if expected is not None and token is not None and not hmac.compare_digest(expected.encode(), token.encode()):
        raise S3Failure(INVALID_TOKEN)
    if credential.expires_at_ns is not None and now_ns >= credential.expires_at_ns:
        raise S3Failure(EXPIRED_TOKEN)


def _chunk_signing(claim: _Claim, key: bytes) -> ChunkSigning | None:
    if not claim.payload.mode.has_signed_chunks:
        return None
    return ChunkSigning(key, claim.timestamp, claim.signer.scope.text, claim.signature)
