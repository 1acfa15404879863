"""What the `body` of a bucket record and of an upload record says. Both are msgpack; new fields go
last, with defaults."""

from enum import StrEnum
from typing import Final, TypeVar

import msgspec

from liteio_base.ids import BucketId, UploadId, VersionId


class Versioning(StrEnum):
    """A bucket's versioning state. The words reach the disk."""

    NEVER = ""
    ENABLED = "Enabled"
    SUSPENDED = "Suspended"


class BucketState(StrEnum):
    """OPEN, or CLOSING while DeleteBucket asks every drive whether it is empty. The words reach the disk."""

    OPEN = "open"
    CLOSING = "closing"


class BucketBody(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """A bucket's configuration. `number` rises with every change; drives refuse commits that name an older one."""

    bucket_id: BucketId
    number: int
    state: BucketState
    created_ns: int
    region: str = ""
    owner: str = ""
    versioning: Versioning = Versioning.NEVER
    tags: str = ""
    has_events: bool = False


class UploadState(StrEnum):
    """An upload is OPEN until it is COMPLETED (kept for a week, so that Complete can be repeated) or tombstoned by
    Abort.
    """

    OPEN = "open"
    COMPLETED = "completed"


class UploadBody(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """What CreateMultipartUpload was told beyond the record's own metadata, tags and checksum, and how the upload
    ended.
    """

    upload_id: UploadId
    state: UploadState
    initiated_ns: int
    owner: str = ""
    object_version_id: VersionId = VersionId("")
    object_etag: str = ""


Body = TypeVar("Body")

_bucket_decoder: Final = msgspec.msgpack.Decoder(BucketBody)
_upload_decoder: Final = msgspec.msgpack.Decoder(UploadBody)
_encoder: Final = msgspec.msgpack.Encoder()


def encode_body(body: BucketBody | UploadBody) -> bytes:
    return _encoder.encode(body)


def decode_bucket_body(packed: bytes) -> BucketBody:
    """Raises msgspec.DecodeError when `packed` is no bucket body."""
    return _decode(_bucket_decoder, packed)


def decode_upload_body(packed: bytes) -> UploadBody:
    """Raises msgspec.DecodeError when `packed` is no upload body."""
    return _decode(_upload_decoder, packed)


def _decode(decoder: msgspec.msgpack.Decoder[Body], packed: bytes) -> Body:
    """msgspec says nothing of its own about text that is no UTF-8."""
    try:
        return decoder.decode(packed)
    except UnicodeDecodeError as problem:
        raise msgspec.DecodeError(str(problem)) from problem
