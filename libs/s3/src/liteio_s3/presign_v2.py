"""Query authentication of the old kind: presigned URLs of Signature Version 2, which botocore still makes by default.

The text that is signed names the request line by line, and an HMAC-SHA1 of it is the signature. It covers less than
version 4 does: of the query only the parameters named here, and no host. So a parameter that it leaves out is taken
only if it does no more than shape a list, and a text that two requests share is refused.
Source: Amazon S3 API reference, "Signing and authenticating REST requests (AWS signature version 2)".
"""

import hmac
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from liteio_s3.canonical import canonical_path
from liteio_s3.errors import (
    ACCESS_DENIED,
    INVALID_ARGUMENT,
    REQUEST_EXPIRED,
    SIGNATURE_DOES_NOT_MATCH,
    S3Failure,
)
from liteio_s3.limits import AUTHORIZATION_BYTES_MAX
from liteio_s3.presign import VERSION_2_EVIDENCE, VERSION_4_ONLY
from liteio_s3.timestamps import iso_timestamp

EXPIRES_MAX: Final = 253_402_300_799  # the last second of the year 9999; a number of milliseconds is beyond it
HOISTED_STANDARD: Final = frozenset(
    {"content-md5", "content-type"}
)  # beside x-amz-*: headers that may stand in a query

_OWN: Final = ("AWSAccessKeyId", "Signature", "Expires")
_SUB_RESOURCES: Final = (
    "accelerate|acl|analytics|cors|defaultObjectAcl|delete|inventory|lifecycle|location|logging|metrics|notification"
    "|object-lock|partNumber|policy|replication|requestPayment|response-cache-control|response-content-disposition"
    "|response-content-encoding|response-content-language|response-content-type|response-expires|restore|select"
    "|select-type|storageClass|tagging|torrent|uploadId|uploads|versionId|versioning|versions|website"
)
# All that the signature leaves out and a request may have: which part of a list is wanted, and what an SDK says of it.
_UNSIGNED: Final = (
    "bucket-region|continuation-token|delimiter|encoding-type|fetch-owner|key-marker|list-type|marker|max-buckets"
    "|max-keys|max-parts|max-uploads|part-number-marker|prefix|start-after|upload-id-marker|version-id-marker|x-id"
)
_SECRET: Final = frozenset(
    {
        b"x-amz-security-token",
        b"x-amz-server-side-encryption-customer-key",
        b"x-amz-copy-source-server-side-encryption-customer-key",
    }
)
# Values are signed decoded, so `a=1&versionId=2` is the text of two parameters, and of one with an & in its value.
_holds_sub_resource: Final = re.compile(f"&(?:{_SUB_RESOURCES})(?:[=&]|$)").search
_is_sub_resource: Final = re.compile(_SUB_RESOURCES).fullmatch
_is_known: Final = re.compile("|".join((*_OWN, _SUB_RESOURCES, _UNSIGNED))).fullmatch
_is_header_name: Final = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+").fullmatch  # RFC 9110, 5.6.2: a token
_breaks_lines: Final = re.compile(rb"[\r\n\x00]").search


@dataclass(frozen=True, slots=True)
class PresignedV2:
    """The claim of a version 2 URL. `expires`: seconds since 1970, as sent. `headers`: those that are signed, wherever
    they stood: x-amz-*, content-md5 and content-type, by name. `sub_resources`: the signed parameters, sorted."""

    access_key: str
    signature: str
    expires: str
    headers: Mapping[bytes, bytes]
    sub_resources: Sequence[tuple[str, str]]

    @property
    def session_token(self) -> str | None:
        token = self.headers.get(b"x-amz-security-token")
        return None if token is None else token.decode("latin-1")

    @property
    def content_sha256(self) -> bytes | None:
        return self.headers.get(b"x-amz-content-sha256")


def is_version_2(parameters: Sequence[tuple[str, str]]) -> bool:
    """Whether a query belongs to version 2, if only by half, or by a name in other letters."""
    return any(name.lower() in VERSION_2_EVIDENCE for name, _ in parameters)


def parse_presigned_v2(
    parameters: Sequence[tuple[str, str]], raw_headers: Sequence[tuple[bytes, bytes]]
) -> PresignedV2:
    """The claim of a query that `is_version_2`. `raw_headers`: lower-case names, as ASGI has them.

    Raises AccessDenied, as AWS does, for a parameter that is missing or an `Expires` that is no date, and for unsigned
    parameters that could choose another operation; InvalidArgument for what is said twice, for a second kind of
    signature beside this one, and for values that would let two requests share a signature.
    """
    _check_names(parameters)
    values = {name: value for name, value in parameters if name in _OWN}
    if not all(values.get(name) for name in _OWN):
        raise S3Failure(
            ACCESS_DENIED, "Query-string authentication requires the Signature, Expires and AWSAccessKeyId parameters"
        )
    expires = values["Expires"]
    if not re.fullmatch("[0-9]{1,12}", expires) or int(expires) > EXPIRES_MAX:
        raise S3Failure(ACCESS_DENIED, f"Invalid date (should be seconds since epoch): {expires[:64]}")
    if len(values["AWSAccessKeyId"]) > AUTHORIZATION_BYTES_MAX:
        raise S3Failure(INVALID_ARGUMENT, "The AWSAccessKeyId parameter is too long.")
    return PresignedV2(
        values["AWSAccessKeyId"],
        values["Signature"],
        expires,
        _signed_headers(parameters, raw_headers),
        _signed_parameters(parameters),
    )


def check_lifetime_v2(claim: PresignedV2, now_seconds: int) -> None:
    """Raises AccessDenied from the second that the URL names on. It may be any number of years away."""
    expires = int(claim.expires)
    if now_seconds >= expires:
        fields = {"Expires": iso_timestamp(expires * 10**9), "ServerTime": iso_timestamp(now_seconds * 10**9)}
        raise S3Failure(REQUEST_EXPIRED, fields=fields)


def check_signature_v2(claim: PresignedV2, method: str, raw_path: bytes, hosted_bucket: str, secret_key: str) -> None:
    """Raises SignatureDoesNotMatch. `raw_path`: not decoded; `hosted_bucket`: that of a virtual-hosted Host, else "".

    Cost: one HMAC of 150 bytes for most URLs, six at worst.
    """
    head = _head_to_sign(claim, method)
    key, given = secret_key.encode(), claim.signature.encode()
    for resource in _canonical_resources(claim, raw_path, hosted_bucket):
        if hmac.compare_digest(b64encode(hmac.digest(key, head + resource, "sha1")), given):
            return
    fields = {"AWSAccessKeyId": claim.access_key}
    if not _SECRET & claim.headers.keys():
        as_sent = next(_canonical_resources(claim, raw_path, hosted_bucket))
        fields["StringToSign"] = (head + as_sent).decode("utf-8", "replace")
    raise S3Failure(SIGNATURE_DOES_NOT_MATCH, fields=fields)


def _check_names(parameters: Sequence[tuple[str, str]]) -> None:
    seen: set[str] = set()
    loose: list[str] = []
    for name, _ in parameters:
        lower = name.lower()
        if lower in VERSION_4_ONLY:
            raise S3Failure(
                INVALID_ARGUMENT,
                "Only one auth mechanism allowed; only the X-Amz-Algorithm query parameter, Signature query string"
                " parameter or the Authorization header should be specified",
                fields={"ArgumentName": "Authorization"},
            )
        # Of headers, whose names are the same in any letters, this holds in any letters.
        once = lower if _is_hoisted(lower) else name
        if once in seen:
            raise S3Failure(INVALID_ARGUMENT, f"The query parameter {name[:64]} was given more than once.")
        seen.add(once)
        if not _is_known(name) and not _is_hoisted(lower):
            loose.append(name)
    if loose and seen.issuperset(_OWN):
        raise S3Failure(
            ACCESS_DENIED,
            "There were query parameters present in the request which Signature Version 2 does not sign",
            fields={"ParametersNotSigned": ", ".join(sorted(loose))[:256]},
        )


def _is_hoisted(lower_name: str) -> bool:
    return lower_name.startswith("x-amz-") or lower_name in HOISTED_STANDARD


def _signed_parameters(parameters: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    signed = sorted(pair for pair in parameters if _is_sub_resource(pair[0]))
    for name, value in signed:
        if _holds_sub_resource(value):
            raise S3Failure(INVALID_ARGUMENT, f"The value of {name} reads like a further parameter.")
    return signed


def _signed_headers(
    parameters: Sequence[tuple[str, str]], raw_headers: Sequence[tuple[bytes, bytes]]
) -> dict[bytes, bytes]:
    """Headers that are signed, from both places. Repeated ones are joined by commas; spaces inside are kept."""
    headers: dict[bytes, bytes] = {}
    for name, raw in raw_headers:
        if _is_hoisted(name.decode("latin-1")):
            value = raw.strip(b" \t")
            headers[name] = b"%s,%s" % (headers[name], value) if name in headers else value
    for given, text in parameters:
        hoisted = given.lower()
        if not _is_hoisted(hoisted):
            continue
        if not _is_header_name(hoisted):
            raise S3Failure(INVALID_ARGUMENT, "A query parameter of this request can not stand for a header.")
        value = text.encode().strip(b" \t")
        if headers.setdefault(hoisted.encode("ascii"), value) != value:
            raise S3Failure(INVALID_ARGUMENT, f"{hoisted[:64]} was given both as header and as query parameter.")
    if any(map(_breaks_lines, headers.values())):  # The rest of such a value would count as a line of its own.
        raise S3Failure(INVALID_ARGUMENT, "A header of this request holds a line end.")
    return headers


def _head_to_sign(claim: PresignedV2, method: str) -> bytes:
    """All lines but the last. The resource follows, and begins with a slash as no line before it does."""
    headers = claim.headers
    lines = [
        method.encode(),
        headers.get(b"content-md5", b""),
        headers.get(b"content-type", b""),
        claim.expires.encode("ascii"),
        *[b"%s:%s" % (name, headers[name]) for name in sorted(headers) if name.startswith(b"x-amz-")],
        b"",
    ]
    return b"\n".join(lines)


def _canonical_resources(claim: PresignedV2, raw_path: bytes, hosted_bucket: str) -> Iterator[bytes]:
    """What clients sign for one and the same resource: the path as sent first, then in the other ways to write it."""
    path = b"/" + hosted_bucket.encode() + raw_path if hosted_bucket else raw_path
    paths = [path]
    if path.count(b"/") == 1 and path != b"/":
        paths.append(path + b"/")  # botocore signs a bucket with a slash that it does not send.
    if (again := canonical_path(path)) != path:
        paths.append(again)
    for query in _signed_queries(claim.sub_resources):
        for written in paths:
            yield written + query


def _signed_queries(sub_resources: Sequence[tuple[str, str]]) -> list[bytes]:
    """`?uploads` and `?uploads=` are one parameter; some clients sign the first and send the second."""
    if not sub_resources:
        return [b""]
    bare = "&".join([f"{name}={value}" if value else name for name, value in sub_resources])
    full = "&".join([f"{name}={value}" for name, value in sub_resources])
    return [f"?{text}".encode() for text in dict.fromkeys((bare, full))]
