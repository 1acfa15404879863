"""User metadata: the `x-amz-meta-*` headers, kept with an object as text and given back with it.

Names are lower case, values text. Raw bytes that are UTF-8 are taken as the text they spell; what is not ASCII goes
back as one RFC 2047 word (`=?UTF-8?B?…?=`), as S3 does. Words that come in already encoded are ASCII and go back
unchanged.
Source: Amazon S3 user guide, "Working with object metadata".
"""

from base64 import b64encode
from collections.abc import Mapping
from typing import Final

from liteio_s3.errors import METADATA_TOO_LARGE, S3Failure
from liteio_s3.limits import USER_METADATA_BYTES_MAX

METADATA_PREFIX: Final = "x-amz-meta-"
MISSING_METADATA: Final = "x-amz-missing-meta"


def parse_user_metadata(headers: Mapping[str, str]) -> dict[str, str]:
    """Name without the prefix → text. Raises: S3Failure with MetadataTooLarge."""
    start = len(METADATA_PREFIX)
    metadata = {name[start:]: decode_text(value) for name, value in headers.items() if name.startswith(METADATA_PREFIX)}
    if metadata:
        check_user_metadata(metadata)
    return metadata


def check_user_metadata(metadata: Mapping[str, str]) -> None:
    """Names (without their prefix) and values may be 2 KiB together, in UTF-8. Raises: S3Failure, MetadataTooLarge."""
    size_bytes = sum(len(name.encode()) + len(value.encode()) for name, value in metadata.items())
    if size_bytes > USER_METADATA_BYTES_MAX:
        fields = {"Size": str(size_bytes), "MaxSizeAllowed": str(USER_METADATA_BYTES_MAX)}
        raise S3Failure(METADATA_TOO_LARGE, fields=fields)


def metadata_headers(metadata: Mapping[str, str]) -> list[tuple[str, str]]:
    """The headers that give metadata back; `x-amz-missing-meta` counts those that no header can hold."""
    headers = [
        (METADATA_PREFIX + name, encode_text(value))
        for name, value in metadata.items()
        if value.isprintable() and name.isascii() and name.isprintable()
    ]
    missing = len(metadata) - len(headers)
    return [*headers, (MISSING_METADATA, str(missing))] if missing else headers


def decode_text(value: str) -> str:
    """The text of a header decoded as Latin-1: UTF-8 if its bytes are that, else Latin-1 indeed."""
    if value.isascii():
        return value
    try:
        return value.encode("latin-1").decode()
    except (UnicodeEncodeError, UnicodeDecodeError):
        return value


def encode_text(text: str) -> str:
    """`text` as a header may carry it: itself if ASCII, else as an RFC 2047 word."""
    return text if text.isascii() else f"=?UTF-8?B?{b64encode(text.encode()).decode('ascii')}?="
