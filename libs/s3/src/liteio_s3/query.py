"""The request target, read once: the query's parameters, and the bucket and key that the path names.

Authorisation, routing and storage all use what these functions return, made from the raw bytes of the request line.
Nothing is ever normalised: `//`, `.` and `..` are ordinary characters of a key.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final
from urllib.parse import unquote_to_bytes

from liteio_s3.errors import (
    INVALID_ARGUMENT,
    INVALID_BUCKET_NAME,
    INVALID_REQUEST,
    INVALID_URI,
    KEY_TOO_LONG,
    S3Failure,
)
from liteio_s3.limits import HOST_BYTES_MAX, PATH_BYTES_MAX, QUERY_BYTES_MAX, QUERY_PARAMETERS_MAX

_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_HOST: Final = re.compile(rb"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::[0-9]{1,5})?")


@dataclass(slots=True)  # never changed, but not frozen: each request makes one, and freezing doubles what that takes
class Resource:
    """What a path names: the service (both empty), a bucket (`key` empty), or an object.

    `is_hosted`: the Host header named the bucket, not the path. It is the same resource either way.
    """

    bucket: str
    key: str
    is_hosted: bool = field(default=False, compare=False)


def percent_decode(raw: bytes) -> bytes:
    """Undo %XX, each exactly once. Raises InvalidURI for a `%` that two hexadecimal digits do not follow."""
    if b"%" not in raw:
        return raw
    if _BAD_ESCAPE.search(raw):
        raise S3Failure(INVALID_URI)
    return unquote_to_bytes(raw)


def parse_query(raw: bytes) -> list[tuple[str, str]]:
    """The (name, value) pairs of a query string, decoded, in order, repeated names kept.

    `a` and `a=` both give ("a", ""). `+` is a space, as Amazon S3 reads it; SDKs write %20 and %2B and never see the
    difference. Raises InvalidURI for a bad escape or text that is not UTF-8, InvalidArgument past the bounds in limits.
    """
    if not raw:
        return []
    pairs = _split_query(raw)
    try:
        return [(name.decode(), value.decode()) for name, value in map(_decode_pair, pairs)]
    except UnicodeDecodeError:
        raise S3Failure(INVALID_URI) from None


def only_value(parameters: Sequence[tuple[str, str]], name: str) -> str | None:
    """The value of a parameter that may stand at most once; None when absent. Raises InvalidArgument for a repeat."""
    values = [value for found, value in parameters if found == name]
    if len(values) > 1:
        raise S3Failure(INVALID_ARGUMENT, f"The query parameter {name} was given more than once.")
    return values[0] if values else None


def _split_query(raw: bytes) -> list[bytes]:
    if len(raw) > QUERY_BYTES_MAX or raw.count(b"&") >= QUERY_PARAMETERS_MAX:
        raise S3Failure(INVALID_ARGUMENT, "The query string is too long.")
    return [pair for pair in raw.split(b"&") if pair]


def _decode_pair(pair: bytes) -> tuple[bytes, bytes]:
    name, _, value = pair.replace(b"+", b" ").partition(b"=")
    return percent_decode(name), percent_decode(value)


def parse_resource(raw_path: bytes, host: bytes, domains: tuple[str, ...] = ()) -> Resource:
    """The bucket and key that a request names.

    `raw_path` is the path as sent, without the query; `host` the Host header. A host that is a label in front of one of
    `domains` (lower case, no port) names the bucket itself; else the path's first segment does. Neither name is
    checked further than that it is UTF-8. Raises InvalidURI, InvalidRequest for a bad Host, KeyTooLongError, and
    InvalidBucketName for a path like `//key`.
    """
    path = decode_path(raw_path)
    hosted = hosted_bucket(host, domains)
    if hosted:
        return Resource(hosted, path[1:], is_hosted=True)
    bucket, slash, key = path[1:].partition("/")
    if slash and not bucket:
        raise S3Failure(INVALID_BUCKET_NAME, fields={"BucketName": ""})
    return Resource(bucket, key)


def decode_path(raw_path: bytes) -> str:
    """The path's text. Raises InvalidURI unless it starts with a slash and is UTF-8, KeyTooLongError past the bound."""
    if len(raw_path) > PATH_BYTES_MAX:
        raise S3Failure(KEY_TOO_LONG)
    if not raw_path.startswith(b"/"):
        raise S3Failure(INVALID_URI)
    try:
        return percent_decode(raw_path).decode()
    except UnicodeDecodeError:
        raise S3Failure(INVALID_URI) from None


@lru_cache(maxsize=256)  # nearly all requests of a store name one host
def hosted_bucket(host: bytes, domains: tuple[str, ...] = ()) -> str:
    """The bucket that a virtual-hosted Host header names, "" for path style. Raises InvalidRequest for a bad Host.

    Only a name or address with an optional port is let through: a Host holding `/`, `?`, `#` or `@` would make a URL
    built from it name another path than the one that was authorised.
    """
    found = _HOST.fullmatch(host) if len(host) <= HOST_BYTES_MAX else None
    if found is None:
        raise S3Failure(INVALID_REQUEST, "The Host header is not valid.")
    name = found[1].decode("ascii").lower()
    if name in domains:
        return ""
    fits = [domain for domain in domains if name.endswith("." + domain)]
    return name[: -len(max(fits, key=len)) - 1] if fits else ""
