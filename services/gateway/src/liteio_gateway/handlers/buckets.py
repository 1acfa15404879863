"""Buckets themselves: create, delete, head, list, location, versioning, tags."""

from liteio_contracts.object_errors import BucketExists
from liteio_contracts.object_layer import BucketChange, CreateBucket
from liteio_formats.bodies import Versioning
from liteio_gateway.context import Context
from liteio_gateway.handlers.object_facts import decode_tags, encode_tags
from liteio_gateway.replies import Reply, xml_reply
from liteio_gateway.requests import S3Request
from liteio_s3.access_control import check_acl_headers
from liteio_s3.bodies import (
    VersioningStatus,
    check_location,
    parse_bucket_tagging,
    parse_create_bucket,
    parse_versioning,
)
from liteio_s3.bucket_responses import (
    ListedBucket,
    list_buckets_response,
    location_response,
    tagging_response,
    versioning_response,
)
from liteio_s3.errors import (
    BUCKET_ALREADY_OWNED_BY_YOU,
    NO_SUCH_TAG_SET,
    S3Failure,
)
from liteio_s3.limits import XML_BODY_BYTES_MAX
from liteio_s3.list_parameters import parse_list_buckets
from liteio_s3.names import check_new_bucket_name
from liteio_s3.unsupported import refuse_unsupported


async def list_buckets(request: S3Request, context: Context) -> Reply:
    asked = parse_list_buckets(request.query)
    buckets = [
        ListedBucket(bucket.name, bucket.created_ns, bucket.region or context.region)
        for bucket in await context.buckets.list_buckets(deadline=context.deadline())
        if bucket.name > asked.after and bucket.name.startswith(asked.prefix)
    ]
    if asked.region:
        buckets = [bucket for bucket in buckets if bucket.region == asked.region]
    page = buckets[: asked.max_buckets]
    next_after = page[-1].name if len(buckets) > len(page) else None
    return xml_reply(list_buckets_response(request.caller.owner, asked, page, next_after))


async def create_bucket(request: S3Request, context: Context) -> Reply:
    check_new_bucket_name(request.bucket)
    refuse_unsupported(request.headers)
    check_acl_headers(request.headers)
    asked = parse_create_bucket(await context.document(request, size_max=XML_BODY_BYTES_MAX))
    check_location(asked.location, context.region)
    order = CreateBucket(request.bucket, request.caller.owner_id, context.region)
    try:
        await context.buckets.create_bucket(order, deadline=context.deadline())
    except BucketExists as error:
        if error.owner != request.caller.owner_id:
            raise
        raise S3Failure(BUCKET_ALREADY_OWNED_BY_YOU, fields={"BucketName": request.bucket}) from error
    if asked.tags:
        change = BucketChange(tags=encode_tags(asked.tags))
        await context.buckets.change_bucket(request.bucket, change, deadline=context.deadline())
    return Reply(headers={"location": f"/{request.bucket}"})


async def delete_bucket(request: S3Request, context: Context) -> Reply:
    await context.buckets.delete_bucket(request.bucket, deadline=context.deadline())
    return Reply(204)


async def head_bucket(request: S3Request, context: Context) -> Reply:
    bucket = await context.buckets.bucket(request.bucket, deadline=context.deadline())
    headers = {
        "x-amz-bucket-region": bucket.region or context.region,
        "x-amz-access-point-alias": "false",
        "content-type": "application/xml",
    }
    return Reply(headers=headers)


async def get_bucket_location(request: S3Request, context: Context) -> Reply:
    bucket = await context.buckets.bucket(request.bucket, deadline=context.deadline())
    return xml_reply(location_response(bucket.region or context.region))


async def get_bucket_versioning(request: S3Request, context: Context) -> Reply:
    bucket = await context.buckets.bucket(request.bucket, deadline=context.deadline())
    status = None if bucket.versioning is Versioning.NEVER else VersioningStatus(bucket.versioning.value)
    return xml_reply(versioning_response(status))


async def put_bucket_versioning(request: S3Request, context: Context) -> Reply:
    refuse_unsupported(request.headers)
    status = parse_versioning(await context.document(request, size_max=XML_BODY_BYTES_MAX))
    change = BucketChange(versioning=Versioning(status.value))
    await context.buckets.change_bucket(request.bucket, change, deadline=context.deadline())
    return Reply()


async def get_bucket_tagging(request: S3Request, context: Context) -> Reply:
    bucket = await context.buckets.bucket(request.bucket, deadline=context.deadline())
    if not bucket.tags:
        raise S3Failure(NO_SUCH_TAG_SET, fields={"BucketName": request.bucket})
    return xml_reply(tagging_response(decode_tags(bucket.tags)))


async def put_bucket_tagging(request: S3Request, context: Context) -> Reply:
    tags = parse_bucket_tagging(await context.document(request, size_max=XML_BODY_BYTES_MAX))
    change = BucketChange(tags=encode_tags(tags))
    await context.buckets.change_bucket(request.bucket, change, deadline=context.deadline())
    return Reply(204)


async def delete_bucket_tagging(request: S3Request, context: Context) -> Reply:
    await context.buckets.change_bucket(request.bucket, BucketChange(tags=""), deadline=context.deadline())
    return Reply(204)
