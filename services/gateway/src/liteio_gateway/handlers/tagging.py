"""Tags of objects, also of one version."""

from liteio_contracts.object_layer import ReadObject, SetTags
from liteio_gateway.context import Context
from liteio_gateway.handlers.object_facts import decode_tags, encode_tags, version_headers
from liteio_gateway.replies import Reply, xml_reply
from liteio_gateway.requests import S3Request
from liteio_s3.bodies import parse_object_tagging
from liteio_s3.bucket_responses import tagging_response
from liteio_s3.limits import XML_BODY_BYTES_MAX


async def get_object_tagging(request: S3Request, context: Context) -> Reply:
    named = ReadObject(request.bucket, request.key, request.version_id())
    info = await context.reads.head(named, deadline=context.deadline())
    return xml_reply(tagging_response(decode_tags(info.tags)), headers=version_headers(info))


async def put_object_tagging(request: S3Request, context: Context) -> Reply:
    version_id = request.version_id()
    tags = parse_object_tagging(await context.document(request, size_max=XML_BODY_BYTES_MAX))
    order = SetTags(request.bucket, request.key, version_id, encode_tags(tags))
    info = await context.writes.set_tags(order, deadline=context.deadline())
    return Reply(headers=version_headers(info))


async def delete_object_tagging(request: S3Request, context: Context) -> Reply:
    order = SetTags(request.bucket, request.key, request.version_id(), "")
    info = await context.writes.set_tags(order, deadline=context.deadline())
    return Reply(204, version_headers(info))
