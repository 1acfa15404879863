"""GET and PUT ?acl: the owner has full control and nobody else anything, as at AWS with "bucket owner enforced"."""

from liteio_contracts.object_layer import ReadObject
from liteio_gateway.context import Context
from liteio_gateway.handlers.object_facts import version_headers
from liteio_gateway.replies import Reply, xml_reply
from liteio_gateway.requests import S3Request
from liteio_s3.access_control import ACL_HEADER, check_access_control, check_acl_headers, parse_access_control
from liteio_s3.bucket_responses import access_control_response
from liteio_s3.errors import MISSING_REQUEST_BODY, S3Failure
from liteio_s3.limits import XML_BODY_BYTES_MAX
from liteio_s3.response_parts import Owner


async def get_bucket_acl(request: S3Request, context: Context) -> Reply:
    bucket = await context.buckets.bucket(request.bucket, deadline=context.deadline())
    return xml_reply(access_control_response(Owner(bucket.owner, bucket.owner)))


async def put_bucket_acl(request: S3Request, context: Context) -> Reply:
    bucket = await context.buckets.bucket(request.bucket, deadline=context.deadline())
    await _accept_private(request, context, bucket.owner)
    return Reply()


async def get_object_acl(request: S3Request, context: Context) -> Reply:
    bucket = await context.buckets.bucket(request.bucket, deadline=context.deadline())
    named = ReadObject(request.bucket, request.key, request.version_id())
    info = await context.reads.head(named, deadline=context.deadline())
    return xml_reply(access_control_response(Owner(bucket.owner, bucket.owner)), headers=version_headers(info))


async def put_object_acl(request: S3Request, context: Context) -> Reply:
    bucket = await context.buckets.bucket(request.bucket, deadline=context.deadline())
    named = ReadObject(request.bucket, request.key, request.version_id())
    info = await context.reads.head(named, deadline=context.deadline())
    await _accept_private(request, context, bucket.owner)
    return Reply(headers=version_headers(info))


async def _accept_private(request: S3Request, context: Context, owner_id: str) -> None:
    """Take a list that says what holds anyway. Raises S3Failure with NotImplemented for one that shares."""
    check_acl_headers(request.headers)
    document = await context.document(request, size_max=XML_BODY_BYTES_MAX)
    if document:
        check_access_control(parse_access_control(document), owner_id)
    elif ACL_HEADER not in request.headers:
        raise S3Failure(MISSING_REQUEST_BODY)
