"""GetObjectAttributes: which attributes a request names, and the answer with exactly those.

Source: Amazon S3 API reference, GetObjectAttributes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from liteio_base.limits import LIST_KEYS_MAX
from liteio_s3.checksums import ChecksumType
from liteio_s3.errors import INVALID_ARGUMENT, S3Failure
from liteio_s3.response_parts import Checksums, checksum_elements
from liteio_s3.xml_writer import boolean, document, leaf, number, parent

ATTRIBUTES_HEADER: Final = "x-amz-object-attributes"


class Attribute(StrEnum):
    """What can be asked for."""

    ETAG = "ETag"
    CHECKSUM = "Checksum"
    OBJECT_PARTS = "ObjectParts"
    STORAGE_CLASS = "StorageClass"
    OBJECT_SIZE = "ObjectSize"


@dataclass(frozen=True, slots=True)
class AskedAttributes:
    """The request's headers. Parts with numbers above `part_number_marker` are asked for, at most `max_parts`."""

    attributes: frozenset[Attribute]
    part_number_marker: int
    max_parts: int


@dataclass(frozen=True, slots=True)
class AttributePart:
    part_number: int
    size_bytes: int
    checksums: Checksums = ()


@dataclass(frozen=True, slots=True)
class AttributeParts:
    """A page of an object's parts, out of `parts_count`. `parts` is empty unless parts have checksums, as at AWS."""

    parts_count: int
    parts: Sequence[AttributePart] = ()
    next_part_number_marker: int | None = None


@dataclass(frozen=True, slots=True)
class ObjectAttributes:
    """Everything there is to say; `parts` None for an object that was sent in one piece. `etag` bare."""

    etag: str
    size_bytes: int
    storage_class: str = "STANDARD"
    checksums: Checksums = ()
    checksum_type: ChecksumType | None = None
    parts: AttributeParts | None = None


def parse_asked_attributes(headers: Mapping[str, str]) -> AskedAttributes:
    """`x-amz-object-attributes`, `x-amz-max-parts`, `x-amz-part-number-marker` (names in lower case).

    Raises: S3Failure with InvalidArgument for a missing or unknown attribute, or a bad number.
    """
    header = headers.get(ATTRIBUTES_HEADER, "")
    try:
        attributes = frozenset(Attribute(name.strip()) for name in header.split(","))
    except ValueError as error:
        fields = {"ArgumentName": ATTRIBUTES_HEADER, "ArgumentValue": header}
        raise S3Failure(INVALID_ARGUMENT, "Invalid attribute name specified.", fields=fields) from error
    max_parts = min(_number(headers, "x-amz-max-parts", LIST_KEYS_MAX), LIST_KEYS_MAX)
    return AskedAttributes(attributes, _number(headers, "x-amz-part-number-marker", 0), max_parts)


def object_attributes_response(asked: AskedAttributes, found: ObjectAttributes) -> bytes:
    """GetObjectAttributesResponse. Unlike everywhere else, S3 writes this ETag without quotes."""
    elements = {
        Attribute.ETAG: leaf("ETag", found.etag),
        Attribute.CHECKSUM: _checksum_element(found),
        Attribute.OBJECT_PARTS: "" if found.parts is None else _parts_element(asked, found.parts),
        Attribute.STORAGE_CLASS: leaf("StorageClass", found.storage_class),
        Attribute.OBJECT_SIZE: number("ObjectSize", found.size_bytes),
    }
    chosen = (element for attribute, element in elements.items() if attribute in asked.attributes)
    return document("GetObjectAttributesResponse", chosen)


def _checksum_element(found: ObjectAttributes) -> str:
    return parent("Checksum", (checksum_elements(found.checksums, found.checksum_type),)) if found.checksums else ""


def _parts_element(asked: AskedAttributes, page: AttributeParts) -> str:
    marker = page.next_part_number_marker
    rows = (
        parent(
            "Part",
            (
                number("PartNumber", part.part_number),
                number("Size", part.size_bytes),
                checksum_elements(part.checksums),
            ),
        )
        for part in page.parts
    )
    return parent(
        "ObjectParts",
        (
            number("PartsCount", page.parts_count),
            number("PartNumberMarker", asked.part_number_marker),
            "" if marker is None else number("NextPartNumberMarker", marker),
            number("MaxParts", asked.max_parts),
            boolean("IsTruncated", marker is not None),
            *rows,
        ),
    )


def _number(headers: Mapping[str, str], name: str, default: int) -> int:
    text = headers.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) <= 9):
        fields = {"ArgumentName": name, "ArgumentValue": text}
        raise S3Failure(INVALID_ARGUMENT, f"Provided {name} not an integer or within integer range", fields=fields)
    return int(text)
