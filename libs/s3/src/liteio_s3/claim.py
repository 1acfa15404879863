"""What a signed request says about its own signature, before any of it is believed."""

import re
from calendar import timegm
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

from liteio_s3.errors import (
    ACCESS_DENIED,
    AUTHORIZATION_HEADER_MALFORMED,
    AUTHORIZATION_QUERY_PARAMETERS_ERROR,
    S3Error,
    S3Failure,
)
from liteio_s3.limits import AUTHORIZATION_BYTES_MAX, SIGNED_HEADERS_MAX
from liteio_s3.signing import ALGORITHM, SCOPE_END

_SIGNATURE: Final = re.compile(rb"[0-9a-f]{64}")
_TIMESTAMP: Final = re.compile(rb"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z")
_HEADER_NAME: Final = re.compile(rb"[!#$%&'*+.^_`|~0-9a-z-]+")
_LEAD: Final = {
    AUTHORIZATION_HEADER_MALFORMED: "The authorization header is malformed",
    AUTHORIZATION_QUERY_PARAMETERS_ERROR: "Error parsing the X-Amz-Credential parameter",
}


@dataclass(frozen=True, slots=True)
class Scope:
    """A credential scope: `access_key/date/region/service/aws4_request`."""

    access_key: str
    date: str
    region: str
    service: str
    text: bytes  # as it is signed: all but the access key


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed what: the part of an Authorization header that many requests have in common. `signed` is sorted."""

    scope: Scope
    signed: tuple[bytes, ...]
    signed_names: frozenset[bytes]


def malformed(row: S3Error, problem: str, **fields: str) -> S3Failure:
    """The refusal of a claim. `row` is one of the two Authorization... rows, and decides the wording."""
    return S3Failure(row, f"{_LEAD[row]}; {problem}", fields=fields)


def parse_authorization(value: bytes) -> tuple[Signer, bytes]:
    """The signer and the signature of an `AWS4-HMAC-SHA256` header. Raises AuthorizationHeaderMalformed."""
    if len(value) > AUTHORIZATION_BYTES_MAX:
        raise malformed(AUTHORIZATION_HEADER_MALFORMED, "it is too long.")
    head, found, signature = value.rpartition(b"Signature=")
    head, signature = head.rstrip(), signature.strip()
    if not found or not head.endswith(b",") or not _SIGNATURE.fullmatch(signature):
        raise malformed(AUTHORIZATION_HEADER_MALFORMED, "the Signature is missing, not last or mal-formed.")
    return _parse_signer(head[:-1]), signature


@lru_cache(maxsize=512)
def _parse_signer(head: bytes) -> Signer:
    """`head` is all but the signature, so a client's requests of a day share an entry; 2 MiB at the very most."""
    parts: dict[bytes, bytes] = {}
    for part in head[len(ALGORITHM) :].split(b","):
        name, _, value = part.strip().partition(b"=")
        if name in parts:
            raise malformed(AUTHORIZATION_HEADER_MALFORMED, "a component was given more than once.")
        parts[name] = value
    if parts.keys() != {b"Credential", b"SignedHeaders"}:
        raise malformed(AUTHORIZATION_HEADER_MALFORMED, "it needs exactly Credential, SignedHeaders and Signature.")
    return make_signer(parts[b"Credential"], parts[b"SignedHeaders"], AUTHORIZATION_HEADER_MALFORMED)


def make_signer(credential: bytes, signed_headers: bytes, row: S3Error) -> Signer:
    """Raises `row` for a scope or a list of headers that is not well-formed."""
    signed = signed_headers.lower().split(b";")
    if len(signed) > SIGNED_HEADERS_MAX or not all(map(_HEADER_NAME.fullmatch, signed)):
        raise malformed(row, "the SignedHeaders are mal-formed.")
    names = frozenset(signed)
    if len(names) != len(signed):
        raise malformed(row, "the SignedHeaders name a header more than once.")
    return Signer(parse_scope(credential, row), tuple(sorted(signed)), names)


def parse_scope(credential: bytes, row: S3Error) -> Scope:
    """Raises `row` unless it reads access_key/YYYYMMDD/region/service/aws4_request; the access key may hold slashes."""
    parts = credential.rsplit(b"/", 4)
    if len(parts) != 5 or not credential.isascii() or not all(parts) or not re.fullmatch(rb"\d{8}", parts[1]):
        raise malformed(
            row, 'the Credential is mal-formed; expecting "<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request".'
        )
    text = credential[len(parts[0]) + 1 :]
    access_key, date, region, service, end = (part.decode("ascii") for part in parts)
    if end != SCOPE_END:
        raise malformed(row, f'incorrect terminal "{end}". This endpoint uses "{SCOPE_END}".')
    return Scope(access_key, date, region, service, text)


def check_scope(scope: Scope, timestamp: bytes, region: str, service: str, row: S3Error) -> None:
    """Raises `row` unless the scope is of this endpoint and of the request's own day.

    us-east-1 is taken beside the configured region, since many clients sign with it when nobody told them a region.
    """
    if scope.service != service:
        raise malformed(row, f'incorrect service "{scope.service}". This endpoint belongs to "{service}".')
    if scope.region not in (region, "us-east-1"):
        problem = f"the region '{scope.region}' is wrong; expecting '{region}'"
        raise malformed(row, problem, Region=region)
    if scope.text[:8] != timestamp[:8]:
        raise malformed(row, f'the date "{scope.date}" of the Credential is not the day of the request.')


@lru_cache(maxsize=256)
def parse_timestamp(value: bytes) -> int | None:
    """Seconds since 1970 of YYYYMMDDTHHMMSSZ, None for anything else."""
    found = _TIMESTAMP.fullmatch(value)
    if found is None:
        return None
    year, month, day, hour, minute, second = map(int, found.groups())
    try:
        return timegm(datetime(year, month, day, hour, minute, second, tzinfo=UTC).timetuple())
    except ValueError:
        return None


def read_date_header(value: bytes) -> bytes:
    """The Date header in the form that is signed, for clients that send no x-amz-date. Raises AccessDenied."""
    if parse_timestamp(value) is not None:
        return value
    try:
        moment = parsedate_to_datetime(value.decode("ascii")).astimezone(UTC)
    except (ValueError, TypeError, OverflowError):
        raise S3Failure(ACCESS_DENIED, "AWS authentication requires a valid Date or x-amz-date header") from None
    return moment.strftime("%Y%m%dT%H%M%SZ").encode("ascii")
