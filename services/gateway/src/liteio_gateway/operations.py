"""The table of operations: name, how each is recognised, its permission, its handler. What is not in it is refused.

A request is recognised by its method, by what its path names, by which *selectors* stand in its query (the parameters
that choose an operation; all others are ignored, as S3 does), and by `x-amz-copy-source`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from liteio_base.check import check
from liteio_gateway.context import Context
from liteio_gateway.handlers import (
    access_control,
    buckets,
    copying,
    listing,
    parts,
    reading,
    tagging,
    unset,
    uploads,
    writing,
)
from liteio_gateway.replies import Reply
from liteio_gateway.requests import S3Request
from liteio_s3.copy_source import COPY_SOURCE_HEADER
from liteio_s3.errors import INVALID_ARGUMENT, METHOD_NOT_ALLOWED, NOT_IMPLEMENTED, S3Failure

Handler = Callable[[S3Request, Context], Awaitable[Reply]]


class Names(StrEnum):
    """What a path names."""

    SERVICE = "SERVICE"
    BUCKET = "BUCKET"
    OBJECT = "OBJECT"


@dataclass(frozen=True, slots=True)
class Operation:
    """`action`: the permission asked for; `version_action` takes its place when the request names a version."""

    name: str
    method: str
    names: Names
    selectors: frozenset[str]
    action: str
    handler: Handler
    version_action: str = ""
    copies: bool = False


def recognise(request: S3Request) -> Operation:
    """The operation that is asked for. Raises S3Failure: MethodNotAllowed, NotImplemented, InvalidArgument."""
    names = Names.OBJECT if request.key else Names.BUCKET if request.bucket else Names.SERVICE
    selectors = _NONE
    if request.parameters:
        found = [name for name in request.parameters if name in _SELECTORS[names]]
        if found:
            selectors = frozenset(found)
    copies = request.method == "PUT" and names is Names.OBJECT and COPY_SOURCE_HEADER in request.headers
    operation = _TABLE.get((request.method, names, selectors, copies))
    if operation is None:
        raise _refusal(request.method, names, selectors, request)
    return operation


def action_of(operation: Operation, request: S3Request) -> str:
    if operation.version_action and "versionId" in request.parameters:
        return operation.version_action
    return operation.action


def _refusal(method: str, names: Names, selectors: frozenset[str], request: S3Request) -> S3Failure:
    if method == "POST" and not selectors and names is not Names.SERVICE:
        content_type = request.headers.get("content-type", "")
        if content_type.startswith("multipart/form-data"):
            return S3Failure(NOT_IMPLEMENTED, "Uploads by POST form are not implemented")
    if len(selectors) > 1 and not selectors <= _UNIMPLEMENTED[names]:
        fields = {"ResourceType": names.value, "ArgumentName": ", ".join(sorted(selectors))}
        return S3Failure(INVALID_ARGUMENT, "The query parameters do not go together.", fields=fields)
    if selectors == {"partNumber"} or selectors == {"uploadId"}:
        return S3Failure(INVALID_ARGUMENT, "An upload of a part needs both partNumber and uploadId.")
    if method in _METHODS and selectors & _UNIMPLEMENTED[names]:
        name = min(selectors)
        return S3Failure(NOT_IMPLEMENTED, f"The subresource {name} is not implemented", fields={"Header": name})
    fields = {"Method": method[:16], "ResourceType": names.value}
    return S3Failure(METHOD_NOT_ALLOWED, fields=fields)


def _operation(
    name: str,
    method: str,
    names: Names,
    selectors: str,
    action: str,
    handler: Handler,
    *,
    version_action: str = "",
    copies: bool = False,
) -> Operation:
    return Operation(name, method, names, frozenset(selectors.split()), action, handler, version_action, copies)


def _title(subresource: str) -> str:
    return "".join(word[:1].upper() + word[1:] for word in subresource.split("-"))


_SERVICE, _BUCKET, _OBJECT = Names.SERVICE, Names.BUCKET, Names.OBJECT

_IMPLEMENTED: Final = (
    _operation("ListBuckets", "GET", _SERVICE, "", "s3:ListAllMyBuckets", buckets.list_buckets),
    #
    _operation("CreateBucket", "PUT", _BUCKET, "", "s3:CreateBucket", buckets.create_bucket),
    _operation("DeleteBucket", "DELETE", _BUCKET, "", "s3:DeleteBucket", buckets.delete_bucket),
    _operation("HeadBucket", "HEAD", _BUCKET, "", "s3:ListBucket", buckets.head_bucket),
    _operation("GetBucketLocation", "GET", _BUCKET, "location", "s3:GetBucketLocation", buckets.get_bucket_location),
    _operation(
        "GetBucketVersioning", "GET", _BUCKET, "versioning", "s3:GetBucketVersioning", buckets.get_bucket_versioning
    ),
    _operation(
        "PutBucketVersioning", "PUT", _BUCKET, "versioning", "s3:PutBucketVersioning", buckets.put_bucket_versioning
    ),
    _operation("GetBucketTagging", "GET", _BUCKET, "tagging", "s3:GetBucketTagging", buckets.get_bucket_tagging),
    _operation("PutBucketTagging", "PUT", _BUCKET, "tagging", "s3:PutBucketTagging", buckets.put_bucket_tagging),
    _operation(
        "DeleteBucketTagging", "DELETE", _BUCKET, "tagging", "s3:PutBucketTagging", buckets.delete_bucket_tagging
    ),
    _operation("GetBucketAcl", "GET", _BUCKET, "acl", "s3:GetBucketAcl", access_control.get_bucket_acl),
    _operation("PutBucketAcl", "PUT", _BUCKET, "acl", "s3:PutBucketAcl", access_control.put_bucket_acl),
    #
    _operation("ListObjects", "GET", _BUCKET, "", "s3:ListBucket", listing.list_objects),
    _operation("ListObjectsV2", "GET", _BUCKET, "list-type", "s3:ListBucket", listing.list_objects_v2),
    _operation("ListObjectVersions", "GET", _BUCKET, "versions", "s3:ListBucketVersions", listing.list_object_versions),
    _operation(
        "ListMultipartUploads",
        "GET",
        _BUCKET,
        "uploads",
        "s3:ListBucketMultipartUploads",
        uploads.list_multipart_uploads,
    ),
    # Whether each key may be deleted is asked key by key; what is asked here only keeps strangers out of the parser.
    _operation("DeleteObjects", "POST", _BUCKET, "delete", "s3:DeleteObject", writing.delete_objects),
    #
    _operation(
        "GetObject", "GET", _OBJECT, "", "s3:GetObject", reading.get_object, version_action="s3:GetObjectVersion"
    ),
    _operation(
        "GetObject",
        "GET",
        _OBJECT,
        "partNumber",
        "s3:GetObject",
        reading.get_object,
        version_action="s3:GetObjectVersion",
    ),
    _operation(
        "HeadObject", "HEAD", _OBJECT, "", "s3:GetObject", reading.head_object, version_action="s3:GetObjectVersion"
    ),
    _operation(
        "HeadObject",
        "HEAD",
        _OBJECT,
        "partNumber",
        "s3:GetObject",
        reading.head_object,
        version_action="s3:GetObjectVersion",
    ),
    _operation(
        "GetObjectAttributes",
        "GET",
        _OBJECT,
        "attributes",
        "s3:GetObjectAttributes",
        reading.get_object_attributes,
        version_action="s3:GetObjectVersionAttributes",
    ),
    _operation("PutObject", "PUT", _OBJECT, "", "s3:PutObject", writing.put_object),
    _operation("CopyObject", "PUT", _OBJECT, "", "s3:PutObject", copying.copy_object, copies=True),
    _operation(
        "DeleteObject",
        "DELETE",
        _OBJECT,
        "",
        "s3:DeleteObject",
        writing.delete_object,
        version_action="s3:DeleteObjectVersion",
    ),
    _operation(
        "GetObjectTagging",
        "GET",
        _OBJECT,
        "tagging",
        "s3:GetObjectTagging",
        tagging.get_object_tagging,
        version_action="s3:GetObjectVersionTagging",
    ),
    _operation(
        "PutObjectTagging",
        "PUT",
        _OBJECT,
        "tagging",
        "s3:PutObjectTagging",
        tagging.put_object_tagging,
        version_action="s3:PutObjectVersionTagging",
    ),
    _operation(
        "DeleteObjectTagging",
        "DELETE",
        _OBJECT,
        "tagging",
        "s3:DeleteObjectTagging",
        tagging.delete_object_tagging,
        version_action="s3:DeleteObjectVersionTagging",
    ),
    _operation(
        "GetObjectAcl",
        "GET",
        _OBJECT,
        "acl",
        "s3:GetObjectAcl",
        access_control.get_object_acl,
        version_action="s3:GetObjectVersionAcl",
    ),
    _operation(
        "PutObjectAcl",
        "PUT",
        _OBJECT,
        "acl",
        "s3:PutObjectAcl",
        access_control.put_object_acl,
        version_action="s3:PutObjectVersionAcl",
    ),
    #
    _operation("CreateMultipartUpload", "POST", _OBJECT, "uploads", "s3:PutObject", uploads.create_multipart_upload),
    _operation("UploadPart", "PUT", _OBJECT, "uploadId partNumber", "s3:PutObject", parts.upload_part),
    _operation(
        "UploadPartCopy",
        "PUT",
        _OBJECT,
        "uploadId partNumber",
        "s3:PutObject",
        parts.upload_part_copy,
        copies=True,
    ),
    _operation(
        "CompleteMultipartUpload", "POST", _OBJECT, "uploadId", "s3:PutObject", uploads.complete_multipart_upload
    ),
    _operation(
        "AbortMultipartUpload",
        "DELETE",
        _OBJECT,
        "uploadId",
        "s3:AbortMultipartUpload",
        uploads.abort_multipart_upload,
    ),
    _operation("ListParts", "GET", _OBJECT, "uploadId", "s3:ListMultipartUploadParts", uploads.list_parts),
)


def _bucket_read(subresource: str, handler: Handler) -> Operation:
    title = _title(subresource)
    return _operation(f"GetBucket{title}", "GET", _BUCKET, subresource, f"s3:GetBucket{title}", handler)


_NOT_SET: Final = (
    *[_bucket_read(name, unset.missing_of_bucket(error)) for name, error in unset.MISSING_OF_BUCKET.items()],
    *[_bucket_read(name, unset.empty_of_bucket(answer)) for name, answer in unset.EMPTY_OF_BUCKET.items()],
    *[_bucket_read(name, unset.list_of_bucket(root)) for name, root in unset.LISTS_OF_BUCKET.items()],
    *[
        _operation(
            f"GetObject{_title(name)}",
            "GET",
            _OBJECT,
            name,
            f"s3:GetObject{_title(name)}",
            unset.missing_of_object(error),
        )
        for name, error in unset.MISSING_OF_OBJECT.items()
    ],
    *[
        _operation(
            f"DeleteBucket{_title(name)}",
            "DELETE",
            _BUCKET,
            name,
            f"s3:PutBucket{_title(name)}",
            unset.remove_from_bucket,
        )
        for name in sorted(unset.REMOVABLE_OF_BUCKET)
    ],
)

OPERATIONS: Final = (*_IMPLEMENTED, *_NOT_SET)

# Subresources that S3 has and this store has no operation for, at least not in every method. One that is missing here
# would be taken for a parameter, and the request for a plain PUT or DELETE: test_operations.py asks botocore for all.
_UNIMPLEMENTED: Final = {
    Names.SERVICE: frozenset[str](),
    Names.BUCKET: frozenset(
        {
            *unset.MISSING_OF_BUCKET,
            *unset.EMPTY_OF_BUCKET,
            *unset.LISTS_OF_BUCKET,
            "abac",
            "metadataAnnotationTable",
            "metadataConfiguration",
            "metadataInventoryTable",
            "metadataJournalTable",
            "metadataTable",
            "session",
        }
    ),
    Names.OBJECT: frozenset(
        {
            *unset.MISSING_OF_OBJECT,
            "annotation",
            "encryption",
            "renameObject",
            "restore",
            "select",
            "select-type",
            "torrent",
        }
    ),
}
_METHODS: Final = frozenset({"GET", "HEAD", "PUT", "POST", "DELETE"})
_NONE: Final = frozenset[str]()

_TABLE: Final = {(row.method, row.names, row.selectors, row.copies): row for row in OPERATIONS}
check(len(_TABLE) == len(OPERATIONS), "each operation is recognised in its own way")
_SELECTORS: Final = {
    names: frozenset().union(*(row.selectors for row in OPERATIONS if row.names is names), _UNIMPLEMENTED[names])
    for names in Names
}
