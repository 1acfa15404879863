"""Request headers that ask for what this store does not do yet.

A promise that would not be kept (encryption, retention, another owner's rights) is refused, never ignored.
"""

from collections.abc import Mapping
from typing import Final

from liteio_s3.errors import NOT_IMPLEMENTED, S3Failure

_PREFIXES: Final = (
    "x-amz-server-side-encryption",
    "x-amz-copy-source-server-side-encryption",
    "x-amz-object-lock-",
    "x-amz-grant-",
)
_NAMES: Final = frozenset(
    {
        "x-amz-write-offset-bytes",
        "x-amz-rename-source",
        "x-amz-mfa",
        "x-amz-bucket-namespace",
        "x-amz-if-match-last-modified-time",
        "x-amz-if-match-size",
        "x-amz-copy-source-if-match-size",
        "x-amz-annotation-directive",
    }
)
# Headers whose one harmless value says what the store does anyway.
_HARMLESS: Final = {
    "x-amz-bucket-object-lock-enabled": "false",
    "x-amz-object-ownership": "BucketOwnerEnforced",
    "x-amz-server-side-encryption-bucket-key-enabled": "false",
}


def unsupported_header(headers: Mapping[str, str]) -> str | None:
    """The first header (names in lower case) that asks for something not implemented; None when all is well."""
    for name in headers:
        if not name.startswith("x-amz-"):  # most, and none of these is asked for below
            continue
        if name in _HARMLESS:
            if headers[name] != _HARMLESS[name]:
                return name
        elif name in _NAMES or name.startswith(_PREFIXES):
            return name
    return None


def refuse_unsupported(headers: Mapping[str, str]) -> None:
    """Raises: S3Failure with NotImplemented, naming the header."""
    name = unsupported_header(headers)
    if name is not None:
        raise S3Failure(NOT_IMPLEMENTED, fields={"Header": name})
