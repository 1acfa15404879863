"""The one translation that the gateway owns: what the object layer reports, as rows of the S3 catalogue."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from liteio_contracts.object_errors import (
    BucketExists,
    BucketMissing,
    BucketNotEmpty,
    ConditionalConflict,
    DeleteMarkerFound,
    NotFound,
    NotLinkable,
    ObjectError,
    ObjectMissing,
    OperationTimeout,
    PartFault,
    PartRejected,
    PreconditionFailed,
    QuorumLost,
    ReadQuorumLost,
    StoreFull,
    UploadMissing,
    VersionMissing,
    WriteQuorumLost,
)
from liteio_s3.errors import (
    BUCKET_ALREADY_EXISTS,
    BUCKET_NOT_EMPTY,
    CONDITIONAL_REQUEST_CONFLICT,
    ENTITY_TOO_SMALL,
    INSUFFICIENT_STORAGE,
    INTERNAL_ERROR,
    INVALID_PART,
    INVALID_PART_ORDER,
    METHOD_NOT_ALLOWED,
    NO_SUCH_BUCKET,
    NO_SUCH_KEY,
    NO_SUCH_UPLOAD,
    NO_SUCH_VERSION,
    PRECONDITION_FAILED,
    SERVICE_UNAVAILABLE,
    SLOW_DOWN,
    S3Failure,
)
from liteio_s3.names import version_text
from liteio_s3.timestamps import http_date

# SDKs back off and repeat on 503; the header tells the others when.
_RETRY: Final[Mapping[str, str]] = {"retry-after": "1"}


def failure_of(error: ObjectError) -> S3Failure:
    """The S3 answer to an object layer's error. A subclass without a row of its own takes its parent's."""
    for kind in type(error).__mro__:
        translate = _TABLE.get(kind)
        if translate is not None:
            return translate(error)
    return S3Failure(INTERNAL_ERROR)


def _object_missing(error: ObjectMissing) -> S3Failure:
    headers: dict[str, str] = {}
    if error.is_delete_marker:
        headers = {"x-amz-delete-marker": "true", "x-amz-version-id": version_text(error.version_id)}
    return S3Failure(NO_SUCH_KEY, fields={"Key": error.key}, headers=headers)


def _version_missing(error: VersionMissing) -> S3Failure:
    return S3Failure(NO_SUCH_VERSION, fields={"Key": error.key, "VersionId": version_text(error.version_id)})


def _delete_marker(error: DeleteMarkerFound) -> S3Failure:
    headers = {
        "x-amz-delete-marker": "true",
        "x-amz-version-id": version_text(error.version_id),
        "last-modified": http_date(error.modified_ns),
        "allow": "DELETE",
    }
    fields = {"Method": "GET", "ResourceType": "DeleteMarker"}
    return S3Failure(METHOD_NOT_ALLOWED, fields=fields, headers=headers)


def _part_rejected(error: PartRejected) -> S3Failure:
    number = str(error.part_number)
    match error.fault:
        case PartFault.OUT_OF_ORDER:
            return S3Failure(INVALID_PART_ORDER, fields={"PartNumber": number})
        case PartFault.TOO_SMALL:
            fields = {"ProposedSize": str(error.size_bytes), "PartNumber": number, "ETag": error.etag}
            return S3Failure(ENTITY_TOO_SMALL, fields=fields)
        case _:
            return S3Failure(INVALID_PART, fields={"PartNumber": number, "ETag": error.etag})


_TABLE: Final[dict[type, Callable[[Any], S3Failure]]] = {
    ReadQuorumLost: lambda error: S3Failure(SLOW_DOWN, headers=_RETRY),
    WriteQuorumLost: lambda error: S3Failure(SLOW_DOWN, headers=_RETRY),
    QuorumLost: lambda error: S3Failure(SLOW_DOWN, headers=_RETRY),
    BucketMissing: lambda error: S3Failure(NO_SUCH_BUCKET, fields={"BucketName": error.bucket}),
    ObjectMissing: _object_missing,
    VersionMissing: _version_missing,
    UploadMissing: lambda error: S3Failure(NO_SUCH_UPLOAD, fields={"UploadId": error.upload_id}),
    NotFound: lambda error: S3Failure(NO_SUCH_KEY),
    BucketExists: lambda error: S3Failure(BUCKET_ALREADY_EXISTS, fields={"BucketName": error.bucket}),
    BucketNotEmpty: lambda error: S3Failure(BUCKET_NOT_EMPTY, fields={"BucketName": error.bucket}),
    DeleteMarkerFound: _delete_marker,
    PreconditionFailed: lambda error: S3Failure(PRECONDITION_FAILED, fields={"Condition": error.condition}),
    ConditionalConflict: lambda error: S3Failure(CONDITIONAL_REQUEST_CONFLICT),
    PartRejected: _part_rejected,
    # A copy falls back to reading and writing, so this reaches no client; were it to, trying again is harmless.
    NotLinkable: lambda error: S3Failure(SERVICE_UNAVAILABLE, headers=_RETRY),
    OperationTimeout: lambda error: S3Failure(SERVICE_UNAVAILABLE, headers=_RETRY),
    StoreFull: lambda error: S3Failure(INSUFFICIENT_STORAGE),
}
