"""What a copy copies: `x-amz-copy-source` and the directives beside it.

Source: Amazon S3 API reference, CopyObject and UploadPartCopy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import unquote_to_bytes

from liteio_base.ids import VersionId
from liteio_s3.errors import INVALID_ARGUMENT, NOT_IMPLEMENTED, S3Failure
from liteio_s3.names import check_bucket_name, check_key, parse_version_id

COPY_SOURCE_HEADER: Final = "x-amz-copy-source"
_VERSION_PARAMETER: Final = "versionId="


@dataclass(frozen=True, slots=True)
class CopySource:
    """The object to copy; `version_id` None is its current version."""

    bucket: str
    key: str
    version_id: VersionId | None = None


class Directive(StrEnum):
    """Whether a copy takes the source's metadata (or tags) along or those of the request."""

    COPY = "COPY"
    REPLACE = "REPLACE"


def parse_copy_source(header: str) -> CopySource:
    """`/bucket/key?versionId=…`, percent-encoded, its first slash optional; `header` is decoded as Latin-1.

    Only the `?` that is not encoded starts the version. As S3 does, `+` is read as a space and an encoded slash divides
    bucket from key like a plain one, for clients that encode all of it as a form. Everything after that slash is a key:
    `..` means nothing. Raises: S3Failure with InvalidArgument, NoSuchBucket, KeyTooLongError.
    """
    if header.startswith("arn:"):
        raise S3Failure(NOT_IMPLEMENTED, "Access points as copy sources are not implemented")
    path, mark, parameter = header.partition("?")
    if mark and not parameter.startswith(_VERSION_PARAMETER):
        raise _malformed(header)
    bucket, _, key = _decode(path, header).removeprefix("/").partition("/")
    if not bucket or not key:
        raise _malformed(header)
    check_bucket_name(bucket)
    check_key(key)
    return CopySource(bucket, key, _version(parameter, header) if mark else None)


def parse_metadata_directive(headers: Mapping[str, str]) -> Directive:
    """`x-amz-metadata-directive`, COPY unless given. Raises: S3Failure with InvalidArgument."""
    return _directive(headers, "x-amz-metadata-directive", "Unknown metadata directive.")


def parse_tagging_directive(headers: Mapping[str, str]) -> Directive:
    """`x-amz-tagging-directive`, COPY unless given. Raises: S3Failure with InvalidArgument."""
    return _directive(headers, "x-amz-tagging-directive", "Unknown tagging directive.")


def _directive(headers: Mapping[str, str], name: str, message: str) -> Directive:
    value = headers.get(name, Directive.COPY)
    try:
        return Directive(value)
    except ValueError as error:
        fields = {"ArgumentName": name, "ArgumentValue": value}
        raise S3Failure(INVALID_ARGUMENT, message, fields=fields) from error


def _version(parameter: str, header: str) -> VersionId:
    return parse_version_id(_decode(parameter.removeprefix(_VERSION_PARAMETER), header))


def _decode(text: str, header: str) -> str:
    try:
        return unquote_to_bytes(text.encode("latin-1").replace(b"+", b" ")).decode()
    except (UnicodeEncodeError, UnicodeDecodeError) as error:
        raise _malformed(header) from error


def _malformed(header: str) -> S3Failure:
    return S3Failure(
        INVALID_ARGUMENT,
        "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
        fields={"ArgumentName": COPY_SOURCE_HEADER, "ArgumentValue": header},
    )
