"""Tags of objects and buckets, in their XML and in their header form.

Source: Amazon S3 user guide, "Categorizing your objects using tags", and API reference, PutObjectTagging.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from liteio_s3.errors import BAD_REQUEST, INVALID_ARGUMENT, INVALID_TAG, S3Failure
from liteio_s3.limits import (
    BUCKET_TAGS_MAX,
    HEADER_SECTION_BYTES_MAX,
    OBJECT_TAGS_MAX,
    TAG_KEY_CHARACTERS_MAX,
    TAG_VALUE_CHARACTERS_MAX,
)

TAGGING_HEADER: Final = "x-amz-tagging"
_PUNCTUATION: Final = frozenset("_.:/=+-@")
_CATEGORIES: Final = frozenset("LZN")  # letters, separators (spaces), numbers


@dataclass(frozen=True, slots=True)
class Tag:
    key: str
    value: str


def parse_tagging_header(header: str) -> tuple[Tag, ...]:
    """The tags of `x-amz-tagging: key=value&other=…`, percent-encoded UTF-8. Raises: S3Failure."""
    malformed = S3Failure(
        INVALID_ARGUMENT,
        f"The header '{TAGGING_HEADER}' shall be encoded as UTF-8 then URLEncoded URL query parameters"
        " without tag name duplicates.",
        fields={"ArgumentName": TAGGING_HEADER, "ArgumentValue": header[:HEADER_SECTION_BYTES_MAX]},
    )
    if len(header) > HEADER_SECTION_BYTES_MAX:
        raise malformed
    try:
        pairs = parse_qsl(header, keep_blank_values=True, errors="strict")
    except ValueError as error:
        raise malformed from error
    if len({key for key, _ in pairs}) < len(pairs):
        raise malformed
    tags = tuple(Tag(key, value) for key, value in pairs)
    check_object_tags(tags)
    return tags


def check_object_tags(tags: Sequence[Tag]) -> None:
    """Raises: S3Failure with BadRequest for too many, InvalidTag for one that may not be."""
    if len(tags) > OBJECT_TAGS_MAX:
        raise S3Failure(BAD_REQUEST, f"Object tags cannot be greater than {OBJECT_TAGS_MAX}")
    _check_each(tags)


def check_bucket_tags(tags: Sequence[Tag]) -> None:
    """Raises: as `check_object_tags`, with the limit of buckets."""
    if len(tags) > BUCKET_TAGS_MAX:
        raise S3Failure(BAD_REQUEST, f"Bucket tag count cannot be greater than {BUCKET_TAGS_MAX}")
    _check_each(tags)


def _check_each(tags: Sequence[Tag]) -> None:
    seen: set[str] = set()
    for tag in tags:
        if not 1 <= _utf16_units(tag.key) <= TAG_KEY_CHARACTERS_MAX or not _is_tag_text(tag.key):
            raise S3Failure(INVALID_TAG, "The TagKey you have provided is invalid", fields={"TagKey": tag.key})
        if _utf16_units(tag.value) > TAG_VALUE_CHARACTERS_MAX or not _is_tag_text(tag.value):
            raise S3Failure(INVALID_TAG, "The TagValue you have provided is invalid", fields={"TagKey": tag.key})
        if tag.key.lower().startswith("aws:"):
            message = "System tags cannot be added/updated by requester"
            raise S3Failure(INVALID_TAG, message, fields={"TagKey": tag.key})
        if tag.key in seen:
            message = "Cannot provide multiple Tags with the same key"
            raise S3Failure(INVALID_TAG, message, fields={"TagKey": tag.key})
        seen.add(tag.key)


def _utf16_units(text: str) -> int:
    """The length as S3 counts it: characters beyond the basic plane count twice."""
    return len(text) + sum(character > "\uffff" for character in text)


def _is_tag_text(text: str) -> bool:
    return all(character in _PUNCTUATION or unicodedata.category(character)[0] in _CATEGORIES for character in text)
