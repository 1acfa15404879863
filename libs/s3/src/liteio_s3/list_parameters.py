"""The query parameters of the list operations, judged and typed.

Source: Amazon S3 API reference, ListObjects, ListObjectsV2, ListObjectVersions, ListMultipartUploads, ListParts,
ListBuckets. Empty parameters count as not given, but for tokens and version markers, which S3 refuses when empty.
"""

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from liteio_base.ids import VersionId
from liteio_base.limits import KEY_BYTES_MAX, LIST_KEYS_MAX
from liteio_s3.errors import INVALID_ARGUMENT, S3Failure
from liteio_s3.limits import INTEGER_MAX, LIST_BUCKETS_MAX
from liteio_s3.names import parse_version_id

Query = Sequence[tuple[str, str]]  # decoded (name, value) pairs, in order; of a repeated name the first counts

_TOKEN_VERSION: Final = b"\x01"  # the rest of the token is a key in UTF-8
_TOKEN_CHARACTERS_MAX: Final = 2 * KEY_BYTES_MAX


@dataclass(frozen=True, slots=True)
class ListObjects:
    """ListObjects, version 1. Keys come after `marker`, "" for the start. `max_keys` is at most 1,000."""

    prefix: str
    delimiter: str
    marker: str
    max_keys: int
    encodes_keys: bool


@dataclass(frozen=True, slots=True)
class ListObjectsV2:
    """ListObjectsV2. Keys come after `after`: the token's key, or `start_after` when there is no token."""

    prefix: str
    delimiter: str
    start_after: str
    token: str | None
    after: str
    max_keys: int
    fetches_owner: bool
    encodes_keys: bool


@dataclass(frozen=True, slots=True)
class ListVersions:
    """ListObjectVersions. With `version_id_marker` the key of `key_marker` goes on after that version."""

    prefix: str
    delimiter: str
    key_marker: str
    version_id_marker: VersionId | None
    max_keys: int
    encodes_keys: bool


@dataclass(frozen=True, slots=True)
class ListUploads:
    """ListMultipartUploads. `upload_id_marker` is "" unless `key_marker` is given, as S3 ignores it then."""

    prefix: str
    delimiter: str
    key_marker: str
    upload_id_marker: str
    max_uploads: int
    encodes_keys: bool


@dataclass(frozen=True, slots=True)
class ListParts:
    """ListParts: parts with numbers above `part_number_marker`."""

    upload_id: str
    part_number_marker: int
    max_parts: int
    encodes_keys: bool


@dataclass(frozen=True, slots=True)
class ListBuckets:
    """ListBuckets: names after `after`, the token's name, beginning with `prefix`. `region` "" is every region."""

    prefix: str
    region: str
    after: str
    max_buckets: int


def parse_list_objects(query: Query) -> ListObjects:
    """Raises: S3Failure with InvalidArgument, here and in all the functions below."""
    values = _first_values(query)
    return ListObjects(
        values.get("prefix", ""),
        values.get("delimiter", ""),
        values.get("marker", ""),
        _count(values, "max-keys", LIST_KEYS_MAX),
        _encodes_keys(values),
    )


def parse_list_objects_v2(query: Query) -> ListObjectsV2:
    values = _first_values(query)
    token = values.get("continuation-token")
    start_after = values.get("start-after", "")
    return ListObjectsV2(
        values.get("prefix", ""),
        values.get("delimiter", ""),
        start_after,
        token,
        start_after if token is None else decode_token(token),
        _count(values, "max-keys", LIST_KEYS_MAX),
        values.get("fetch-owner", "").lower() == "true",
        _encodes_keys(values),
    )


def parse_list_versions(query: Query) -> ListVersions:
    values = _first_values(query)
    key_marker, version_id = values.get("key-marker", ""), values.get("version-id-marker")
    if version_id is not None and not key_marker:
        message = "A version-id marker cannot be specified without a key marker."
        raise _refusal("version-id-marker", version_id, message)
    if version_id == "":
        raise _refusal("version-id-marker", version_id, "A version-id marker cannot be empty.")
    return ListVersions(
        values.get("prefix", ""),
        values.get("delimiter", ""),
        key_marker,
        None if version_id is None else parse_version_id(version_id, argument="version-id-marker"),
        _count(values, "max-keys", LIST_KEYS_MAX),
        _encodes_keys(values),
    )


def parse_list_uploads(query: Query) -> ListUploads:
    values = _first_values(query)
    key_marker = values.get("key-marker", "")
    return ListUploads(
        values.get("prefix", ""),
        values.get("delimiter", ""),
        key_marker,
        values.get("upload-id-marker", "") if key_marker else "",
        _count(values, "max-uploads", LIST_KEYS_MAX),
        _encodes_keys(values),
    )


def parse_list_parts(query: Query) -> ListParts:
    values = _first_values(query)
    return ListParts(
        values.get("uploadId", ""),
        _integer(values, "part-number-marker", 0),
        _count(values, "max-parts", LIST_KEYS_MAX),
        _encodes_keys(values),
    )


def parse_list_buckets(query: Query) -> ListBuckets:
    values = _first_values(query)
    token = values.get("continuation-token")
    max_buckets = _integer(values, "max-buckets", LIST_BUCKETS_MAX)
    if not 1 <= max_buckets <= LIST_BUCKETS_MAX:
        message = f"Argument max-buckets must be an integer between 1 and {LIST_BUCKETS_MAX}"
        raise _refusal("max-buckets", values["max-buckets"], message)
    after = "" if token is None else decode_token(token)
    return ListBuckets(values.get("prefix", ""), values.get("bucket-region", ""), after, max_buckets)


def encode_token(after: str) -> str:
    """The continuation token that goes on after this key or bucket. Opaque to clients, safe in a query as it is."""
    return urlsafe_b64encode(_TOKEN_VERSION + after.encode()).rstrip(b"=").decode("ascii")


def decode_token(token: str) -> str:
    """The key in a continuation token. Raises: S3Failure with InvalidArgument for what `encode_token` never gave."""
    try:
        if not token or len(token) > _TOKEN_CHARACTERS_MAX:
            raise ValueError("a token's length")
        raw = urlsafe_b64decode(token.rstrip("=").encode("ascii") + b"=" * (-len(token.rstrip("=")) % 4))
        after = raw.removeprefix(_TOKEN_VERSION).decode()
        if encode_token(after) != token.rstrip("="):
            raise ValueError("not the one spelling of this key")
    except (ValueError, binascii.Error) as error:
        raise _refusal("continuation-token", token, "The continuation token provided is incorrect") from error
    return after


def _first_values(query: Query) -> dict[str, str]:
    return dict(reversed(query))


def _count(values: dict[str, str], name: str, count_max: int) -> int:
    return min(_integer(values, name, count_max), count_max)


def _integer(values: dict[str, str], name: str, default: int) -> int:
    text = values.get(name, "")
    if not text:
        return default
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= len(str(INTEGER_MAX))):
        raise _refusal(name, text, f"Provided {name} not an integer or within integer range")
    if not 0 <= int(text) <= INTEGER_MAX:
        raise _refusal(name, text, f"Argument {name} must be an integer between 0 and {INTEGER_MAX}")
    return int(text)


def _encodes_keys(values: dict[str, str]) -> bool:
    encoding = values.get("encoding-type", "")
    if encoding not in ("", "url"):
        raise _refusal("encoding-type", encoding, "Invalid Encoding Method specified in Request")
    return encoding == "url"


def _refusal(name: str, value: str, message: str) -> S3Failure:
    return S3Failure(INVALID_ARGUMENT, message, fields={"ArgumentName": name, "ArgumentValue": value})
