"""The headers that S3 keeps with an object and gives back on GET and HEAD, and the overrides of a GET's answer.

Source: Amazon S3 user guide, "Working with object metadata" (system-defined metadata); API reference, GetObject.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from liteio_s3.errors import INVALID_ARGUMENT, INVALID_STORAGE_CLASS, METADATA_TOO_LARGE, S3Failure
from liteio_s3.limits import SYSTEM_METADATA_BYTES_MAX
from liteio_s3.user_metadata import parse_user_metadata

DEFAULT_CONTENT_TYPE: Final = "binary/octet-stream"
STANDARD: Final = "STANDARD"
STORAGE_CLASS_HEADER: Final = "x-amz-storage-class"
WEBSITE_REDIRECT_HEADER: Final = "x-amz-website-redirect-location"

# All are stored alike and read at once. They keep their name, for clients that compare it.
_READ_AT_ONCE: Final = frozenset(
    {STANDARD, "REDUCED_REDUNDANCY", "STANDARD_IA", "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"}
)
# Clients that see these names ask for a restore before they read, which nothing here would answer.
_ARCHIVES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})

_KEPT: Final = (
    "cache-control",
    "content-disposition",
    "content-encoding",
    "content-language",
    "content-type",
    "expires",
    WEBSITE_REDIRECT_HEADER,
)
_OVERRIDES: Final = {
    f"response-{name}": name
    for name in (
        "cache-control",
        "content-disposition",
        "content-encoding",
        "content-language",
        "content-type",
        "expires",
    )
}


@dataclass(slots=True)  # never changed, but not frozen: each upload makes one, and freezing doubles what that takes
class ObjectHeaders:
    """What a client says about an object besides its bytes.

    `system`: header name in lower case → value, always with a content-type. `user`: see user_metadata.
    """

    system: Mapping[str, str]
    user: Mapping[str, str]
    storage_class: str


def parse_object_headers(headers: Mapping[str, str]) -> ObjectHeaders:
    """What PutObject, CreateMultipartUpload and a copy with REPLACE keep (names in lower case).

    Raises: S3Failure with MetadataTooLarge, InvalidStorageClass, InvalidArgument for a bad redirect.
    """
    system = {name: headers[name] for name in _KEPT if name in headers}
    if "content-encoding" in system:
        encoding = strip_aws_chunked(system.pop("content-encoding"))
        if encoding:
            system["content-encoding"] = encoding
    if not system.get("content-type"):
        system["content-type"] = DEFAULT_CONTENT_TYPE
    if WEBSITE_REDIRECT_HEADER in system:
        _check_redirect(system[WEBSITE_REDIRECT_HEADER])
    size_bytes = sum(map(len, system)) + sum(map(len, system.values()))
    if size_bytes > SYSTEM_METADATA_BYTES_MAX:
        fields = {"Size": str(size_bytes), "MaxSizeAllowed": str(SYSTEM_METADATA_BYTES_MAX)}
        raise S3Failure(METADATA_TOO_LARGE, fields=fields)
    return ObjectHeaders(system, parse_user_metadata(headers), parse_storage_class(headers.get(STORAGE_CLASS_HEADER)))


def strip_aws_chunked(content_encoding: str) -> str:
    """The encodings that belong to the object: `aws-chunked` is how the body travelled, and is not kept."""
    encodings = (encoding.strip() for encoding in content_encoding.split(","))
    return ",".join(encoding for encoding in encodings if encoding and encoding.lower() != "aws-chunked")


def parse_storage_class(name: str | None) -> str:
    """The class to record. AWS's names are taken, archives as STANDARD. Raises: S3Failure with InvalidStorageClass."""
    if not name or name in _ARCHIVES:
        return STANDARD
    if name not in _READ_AT_ONCE:
        raise S3Failure(INVALID_STORAGE_CLASS, fields={"StorageClassRequested": name})
    return name


def parse_response_overrides(query: Sequence[tuple[str, str]]) -> dict[str, str]:
    """The headers, by lower-case name, that `response-*` parameters put in place of a GET's own.

    Raises: S3Failure with InvalidArgument for a value that is no header value: line ends would add headers of the
    caller's choice to the answer.
    """
    overrides = {_OVERRIDES[name]: value for name, value in query if name in _OVERRIDES and value}
    for name, value in overrides.items():
        if not (value.isprintable() and _is_latin_1(value)):
            raise S3Failure(
                INVALID_ARGUMENT,
                "Header value cannot be represented using ISO-8859-1.",
                fields={"ArgumentName": f"response-{name}", "ArgumentValue": value},
            )
    return overrides


def _check_redirect(location: str) -> None:
    if not location.startswith(("/", "http://", "https://")):
        message = "The website redirect location must have a prefix of 'http://' or 'https://' or '/'."
        fields = {"ArgumentName": WEBSITE_REDIRECT_HEADER, "ArgumentValue": location}
        raise S3Failure(INVALID_ARGUMENT, message, fields=fields)


def _is_latin_1(text: str) -> bool:
    return all(character <= "\xff" for character in text)
