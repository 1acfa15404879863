"""Names that clients choose or repeat: buckets, keys, version ids.

Reading asks `check_bucket_name`: a name that no bucket can have is a bucket that does not exist (404; clients probe
with such names). CreateBucket asks `check_new_bucket_name`, which says that the name is wrong (400).
Source: Amazon S3 user guide, "General purpose bucket naming rules", "Naming Amazon S3 objects".
"""

import re
from functools import lru_cache
from typing import Final

from liteio_base.ids import NULL_VERSION, VersionId, is_version_id
from liteio_base.limits import KEY_BYTES_MAX
from liteio_s3.errors import (
    INVALID_ARGUMENT,
    INVALID_BUCKET_NAME,
    INVALID_URI,
    KEY_TOO_LONG,
    NO_SUCH_BUCKET,
    USER_KEY_MUST_BE_SPECIFIED,
    S3Failure,
)

SYSTEM_BUCKET_NAME: Final = ".liteio.sys"  # no bucket: its leading dot keeps it out of what clients can name
NULL_VERSION_TEXT: Final = "null"  # how clients write the version that has no id

_match_bucket: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", re.ASCII).fullmatch
_match_ip_address: Final = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}", re.ASCII).fullmatch
_RESERVED_PREFIXES: Final = ("xn--", "sthree-", "amzn-s3-demo-")
_RESERVED_SUFFIXES: Final = ("-s3alias", "--ol-s3", ".mrap", "--x-s3", "--table-s3")


@lru_cache(maxsize=1024)
def is_bucket_name(name: str) -> bool:
    """Whether a bucket may be created under this name."""
    return (
        _match_bucket(name) is not None
        and ".." not in name
        and _match_ip_address(name) is None
        and not name.startswith(_RESERVED_PREFIXES)
        and not name.endswith(_RESERVED_SUFFIXES)
    )


def check_bucket_name(name: str) -> None:
    """Refuse with NoSuchBucket a name that no bucket can have."""
    if not is_bucket_name(name):
        raise S3Failure(NO_SUCH_BUCKET, fields={"BucketName": name})


def check_new_bucket_name(name: str) -> None:
    """Refuse with InvalidBucketName a name that no bucket may be given."""
    if not is_bucket_name(name):
        raise S3Failure(INVALID_BUCKET_NAME, fields={"BucketName": name})


def decode_key(raw: bytes) -> str:
    """The key that a path's bytes (percent escapes already decoded) name: any text of 1 to 1,024 bytes in UTF-8.

    Dots, slashes, backslashes and control characters mean nothing special. Raises: InvalidURI for bytes that are not
    UTF-8 (encoded surrogates included), and what `check_key` raises.
    """
    try:
        key = raw.decode()
    except UnicodeDecodeError as error:
        raise S3Failure(INVALID_URI) from error
    check_key(key)
    return key


def check_key(key: str) -> None:
    """Raises: S3Failure with UserKeyMustBeSpecified, KeyTooLongError, or InvalidURI for a lone surrogate."""
    if not key:
        raise S3Failure(USER_KEY_MUST_BE_SPECIFIED, "A key must be specified.")
    try:
        size_bytes = len(key) if key.isascii() else len(key.encode())
    except UnicodeEncodeError as error:
        raise S3Failure(INVALID_URI) from error
    if size_bytes > KEY_BYTES_MAX:
        raise S3Failure(KEY_TOO_LONG, fields={"Size": str(size_bytes), "MaxSizeAllowed": str(KEY_BYTES_MAX)})


def parse_version_id(text: str, *, argument: str = "versionId") -> VersionId:
    """The version that a client names; `null` is the null version. Raises: S3Failure with InvalidArgument."""
    if text == NULL_VERSION_TEXT:
        return NULL_VERSION
    if is_version_id(text):
        return VersionId(text)
    message = "Invalid version id specified" if text else "Version id cannot be the empty string"
    raise S3Failure(INVALID_ARGUMENT, message, fields={"ArgumentName": argument, "ArgumentValue": text})


def version_text(version_id: str) -> str:
    """How clients see a version id: the null version is `null`."""
    return version_id or NULL_VERSION_TEXT
