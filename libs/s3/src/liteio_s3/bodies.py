"""Request bodies, parsed to frozen values. Every parser is linear in a bounded body.

Source: Amazon S3 API reference, the request syntax of each operation. What does not fit the schema is MalformedXML;
what AWS knows and this store does not do is NotImplemented.
"""

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

from liteio_base.limits import PART_NUMBER_MAX
from liteio_s3.checksums import ChecksumAlgorithm
from liteio_s3.errors import (
    INVALID_ARGUMENT,
    INVALID_LOCATION_CONSTRAINT,
    INVALID_PART_ORDER,
    MALFORMED_XML,
    NOT_IMPLEMENTED,
    S3Failure,
)
from liteio_s3.limits import BUCKET_TAGS_MAX, DELETE_KEYS_MAX, LONG_XML_BODY_BYTES_MAX
from liteio_s3.tags import Tag, check_bucket_tags, check_object_tags
from liteio_s3.xml_reader import Element, leaves, nested, read_document, table


@dataclass(frozen=True, slots=True)
class NewBucket:
    """CreateBucketConfiguration. An empty `location` asks for the store's own region."""

    location: str = ""
    tags: tuple[Tag, ...] = ()


@dataclass(frozen=True, slots=True)
class KeyToDelete:
    """One `Object` of a Delete. `version_id` as sent; `etag` bare, or `*` for "if it is there"; None: not given."""

    key: str
    version_id: str | None = None
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteObjects:
    """Delete: 1 to 1,000 keys; `quiet` leaves the successes out of the answer."""

    objects: tuple[KeyToDelete, ...]
    quiet: bool = False


@dataclass(frozen=True, slots=True)
class CompletedPart:
    """One `Part`: its number, bare ETag, and the checksums it promises, in base64."""

    part_number: int
    etag: str
    checksums: tuple[tuple[ChecksumAlgorithm, str], ...] = ()


class VersioningStatus(StrEnum):
    """The states a bucket can be put into; a bucket that was never in one has none."""

    ENABLED = "Enabled"
    SUSPENDED = "Suspended"


def parse_create_bucket(body: bytes) -> NewBucket:
    """CreateBucketConfiguration, or nothing at all. Raises: S3Failure."""
    if not body:
        return NewBucket()
    root = read_document(body, "CreateBucketConfiguration")
    parts = nested(root, {"LocationConstraint", "Location", "Bucket", "Tags"})
    if "Location" in parts or "Bucket" in parts:
        raise S3Failure(NOT_IMPLEMENTED, "Directory buckets are not implemented")
    constraint = parts.get("LocationConstraint")
    if constraint is not None and len(constraint):
        raise S3Failure(MALFORMED_XML)
    tags = _tags(parts["Tags"]) if "Tags" in parts else ()
    check_bucket_tags(tags)
    return NewBucket("" if constraint is None else (constraint.text or "").strip(), tags)


def check_location(location: str, region: str) -> None:
    """Accept a CreateBucketConfiguration's location that is this store's `region`, by name, or left out.

    Raises: S3Failure with InvalidLocationConstraint. Unlike AWS, us-east-1 may be named: clients of other stores do.
    """
    if _REGION_ALIASES.get(location, location) not in ("", region):
        raise S3Failure(INVALID_LOCATION_CONSTRAINT, fields={"LocationConstraint": location})


def parse_delete(body: bytes) -> DeleteObjects:
    """Delete. Cost: about 2 µs a key, 3 µs with its version id. Raises: S3Failure."""
    root = read_document(body, "Delete", bytes_max=LONG_XML_BODY_BYTES_MAX)
    rows, singles = table(root, "Object", _OBJECT_PARTS, rows_max=DELETE_KEYS_MAX, singles={"Quiet"})
    if not rows:
        raise S3Failure(MALFORMED_XML)
    return DeleteObjects(tuple(map(_key_to_delete, rows)), _boolean(singles.get("Quiet", "false")))


def parse_complete_multipart_upload(body: bytes) -> tuple[CompletedPart, ...]:
    """CompleteMultipartUpload: at least one part, in ascending order of part number. Raises: S3Failure."""
    if not body:
        raise S3Failure(MALFORMED_XML)
    root = read_document(body, "CompleteMultipartUpload", bytes_max=LONG_XML_BODY_BYTES_MAX)
    rows, _ = table(root, "Part", _PART_PARTS, rows_max=PART_NUMBER_MAX)
    parts = tuple(map(_completed_part, rows))
    if not parts:
        raise S3Failure(MALFORMED_XML)
    if any(later.part_number <= earlier.part_number for earlier, later in pairwise(parts)):
        raise S3Failure(INVALID_PART_ORDER)
    return parts


def parse_versioning(body: bytes) -> VersioningStatus:
    """VersioningConfiguration. Raises: S3Failure; NotImplemented if MFA delete is to be switched on."""
    fields = leaves(read_document(body, "VersioningConfiguration"), {"Status", "MfaDelete"})
    match fields.get("MfaDelete", "Disabled"):
        case "Enabled":
            raise S3Failure(NOT_IMPLEMENTED, "MFA delete is not implemented")
        case "Disabled":
            pass
        case _:
            raise S3Failure(MALFORMED_XML)
    try:
        return VersioningStatus(fields.get("Status", ""))
    except ValueError as error:
        raise S3Failure(MALFORMED_XML) from error


def parse_object_tagging(body: bytes) -> tuple[Tag, ...]:
    """Tagging of an object, within its limits. Raises: S3Failure."""
    tags = _tagging(body)
    check_object_tags(tags)
    return tags


def parse_bucket_tagging(body: bytes) -> tuple[Tag, ...]:
    """Tagging of a bucket, within its limits. Raises: S3Failure."""
    tags = _tagging(body)
    check_bucket_tags(tags)
    return tags


# Newer checksums of AWS are not in this list: a part that promises one is refused, as it could not be verified.
_CHECKSUM_ELEMENTS: Final = {algorithm.element: algorithm for algorithm in ChecksumAlgorithm}
_REGION_ALIASES: Final = {"EU": "eu-west-1"}  # S3's first name for it, still in its API
_OBJECT_PARTS: Final = frozenset({"Key", "VersionId", "ETag", "LastModifiedTime", "Size"})
_PART_PARTS: Final = frozenset({"PartNumber", "ETag", *_CHECKSUM_ELEMENTS})
_TAG_PARTS: Final = frozenset({"Key", "Value"})
_TAGS_READ_MAX: Final = 2 * BUCKET_TAGS_MAX  # so that a few too many are answered with the limit, not MalformedXML


def _key_to_delete(fields: dict[str, str]) -> KeyToDelete:
    key = fields.get("Key")
    if not key:
        raise S3Failure(MALFORMED_XML)
    if "LastModifiedTime" in fields or "Size" in fields:
        # AWS has these in directory buckets only. Deleting without looking at them would be worse than refusing.
        raise S3Failure(NOT_IMPLEMENTED, "Deleting by size or time is not implemented")
    etag = fields.get("ETag")
    return KeyToDelete(key, fields.get("VersionId") or None, etag.strip().strip('"') if etag else None)


def _completed_part(fields: dict[str, str]) -> CompletedPart:
    number, etag = fields.get("PartNumber", "").strip(), fields.get("ETag")
    if etag is None or not (number.isascii() and number.isdigit()):
        raise S3Failure(MALFORMED_XML)
    if len(number) > 9 or not 1 <= int(number) <= PART_NUMBER_MAX:
        raise S3Failure(
            INVALID_ARGUMENT,
            f"Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive",
            fields={"ArgumentName": "partNumber", "ArgumentValue": number[:20]},
        )
    checksums = tuple((_CHECKSUM_ELEMENTS[name], text) for name, text in fields.items() if name in _CHECKSUM_ELEMENTS)
    return CompletedPart(int(number), etag.strip().strip('"'), checksums)


def _tagging(body: bytes) -> tuple[Tag, ...]:
    sets = nested(read_document(body, "Tagging"), {"TagSet"})
    if not sets:
        raise S3Failure(MALFORMED_XML)
    return _tags(sets["TagSet"])


def _tags(tag_set: Element) -> tuple[Tag, ...]:
    rows, _ = table(tag_set, "Tag", _TAG_PARTS, rows_max=_TAGS_READ_MAX)
    if any(len(row) != len(_TAG_PARTS) for row in rows):
        raise S3Failure(MALFORMED_XML)
    return tuple(Tag(row["Key"], row["Value"]) for row in rows)


def _boolean(text: str) -> bool:
    match text.strip().lower():
        case "true" | "1":
            return True
        case "false" | "0":
            return False
        case _:
            raise S3Failure(MALFORMED_XML)
