"""Between S3's headers and an object's stored facts: metadata, tags, checksums, version ids."""

from collections.abc import Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import parse_qsl, urlencode

from liteio_contracts.object_layer import UNCONDITIONAL, ObjectInfo, UploadInfo, WriteCondition
from liteio_formats.record import StoredChecksum
from liteio_s3.checksums import ChecksumAlgorithm, ChecksumType
from liteio_s3.conditions import (
    NO_WRITE_CONDITIONS,
    WriteConditions,
    parse_delete_conditions,
    parse_write_conditions,
)
from liteio_s3.names import version_text
from liteio_s3.object_headers import STANDARD, STORAGE_CLASS_HEADER, ObjectHeaders, parse_object_headers
from liteio_s3.response_parts import Checksums
from liteio_s3.tags import TAGGING_HEADER, Tag, parse_tagging_header
from liteio_s3.timestamps import http_date
from liteio_s3.user_metadata import METADATA_PREFIX, metadata_headers

CHECKSUM_TYPE_HEADER: Final = "x-amz-checksum-type"
VERSION_HEADER: Final = "x-amz-version-id"


def stored_metadata(headers: Mapping[str, str]) -> dict[str, str]:
    """What of a request's headers is kept with the object: system headers, `x-amz-meta-*` as text, storage class.

    Raises S3Failure as liteio_s3.object_headers.
    """
    return metadata_of(parse_object_headers(headers))


def metadata_of(parsed: ObjectHeaders) -> dict[str, str]:
    metadata = dict(parsed.system)
    for name, text in parsed.user.items():
        metadata[METADATA_PREFIX + name] = text
    if parsed.storage_class != STANDARD:
        metadata[STORAGE_CLASS_HEADER] = parsed.storage_class
    return metadata


def shown_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """The headers that give stored metadata back."""
    shown: dict[str, str] = {}
    user: dict[str, str] = {}
    for name, value in metadata.items():
        if name.startswith(METADATA_PREFIX):
            user[name[len(METADATA_PREFIX) :]] = value
        else:
            shown[name] = value
    if user:
        shown.update(metadata_headers(user))
    return shown


def storage_class_of(thing: ObjectInfo | UploadInfo) -> str:
    return thing.metadata.get(STORAGE_CLASS_HEADER, STANDARD)


def stored_tags(headers: Mapping[str, str]) -> str:
    """`x-amz-tagging` in its stored form, checked; "" without it. Raises S3Failure."""
    header = headers.get(TAGGING_HEADER)
    return "" if header is None else encode_tags(parse_tagging_header(header))


def encode_tags(tags: tuple[Tag, ...]) -> str:
    return urlencode([(tag.key, tag.value) for tag in tags])


def decode_tags(stored: str) -> tuple[Tag, ...]:
    return tuple(Tag(key, value) for key, value in parse_qsl(stored, keep_blank_values=True))


def write_condition(headers: Mapping[str, str]) -> WriteCondition:
    """The write's condition as the object layer takes it. Raises S3Failure with NotImplemented for unknown ones."""
    return _write_condition(parse_write_conditions(headers))


def delete_condition(headers: Mapping[str, str], *, names_version: bool) -> WriteCondition:
    """The same of a delete, which may be conditional on the current version only. Raises as `write_condition`."""
    return _write_condition(parse_delete_conditions(headers, names_version=names_version))


def _write_condition(conditions: WriteConditions) -> WriteCondition:
    if conditions is NO_WRITE_CONDITIONS:
        return UNCONDITIONAL
    return WriteCondition(if_absent=conditions.must_be_absent, if_etag=conditions.must_match)


def version_headers(info: ObjectInfo) -> dict[str, str]:
    """`x-amz-version-id`, once versioning was ever set for the bucket."""
    return {VERSION_HEADER: version_text(info.version_id)} if info.version_id or info.is_versioned else {}


def identity_headers(info: ObjectInfo) -> dict[str, str]:
    """What also a 304 tells of an object."""
    headers = {"etag": f'"{info.etag}"', "last-modified": last_modified(info.modified_ns // 1_000_000_000)}
    if info.version_id or info.is_versioned:
        headers[VERSION_HEADER] = version_text(info.version_id)
    return headers


@lru_cache(maxsize=8192)
def last_modified(seconds: int) -> str:
    """The header's value. Writing it costs 3 µs, and hot objects are read over and over."""
    return http_date(seconds * 1_000_000_000)


def checksum_headers(checksum: StoredChecksum | None) -> dict[str, str]:
    if checksum is None or not checksum.value:
        return {}
    return {ChecksumAlgorithm(checksum.algorithm).header: checksum.value, CHECKSUM_TYPE_HEADER: checksum.kind}


def checksums_of(checksum: StoredChecksum | None) -> Checksums:
    """The same as rows of an XML answer."""
    if checksum is None or not checksum.value:
        return ()
    return ((ChecksumAlgorithm(checksum.algorithm), checksum.value),)


def checksum_type_of(checksum: StoredChecksum | None) -> ChecksumType | None:
    return None if checksum is None or not checksum.value else ChecksumType(checksum.kind)
