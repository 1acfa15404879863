"""ListObjects (both versions) and ListObjectVersions."""

from liteio_contracts.object_layer import ListObjects, ListVersions, ObjectInfo, ObjectPage
from liteio_gateway.context import Context
from liteio_gateway.replies import Reply, xml_reply
from liteio_gateway.requests import S3Request
from liteio_s3 import list_responses as rendered
from liteio_s3.checksums import ChecksumAlgorithm, ChecksumType
from liteio_s3.list_parameters import parse_list_objects, parse_list_objects_v2, parse_list_versions
from liteio_s3.object_headers import STANDARD, STORAGE_CLASS_HEADER
from liteio_s3.response_parts import Owner

_EMPTY = ObjectPage((), (), False)


async def list_objects(request: S3Request, context: Context) -> Reply:
    asked = parse_list_objects(request.query)
    order = ListObjects(request.bucket, asked.prefix, asked.delimiter, asked.marker, asked.max_keys)
    page = await _page(order, context)
    return xml_reply(rendered.list_objects_response(request.bucket, asked, _shown(page, request.caller.owner)))


async def list_objects_v2(request: S3Request, context: Context) -> Reply:
    asked = parse_list_objects_v2(request.query)
    order = ListObjects(request.bucket, asked.prefix, asked.delimiter, asked.after, asked.max_keys)
    page = await _page(order, context)
    owner = request.caller.owner if asked.fetches_owner else None
    return xml_reply(rendered.list_objects_v2_response(request.bucket, asked, _shown(page, owner)))


async def list_object_versions(request: S3Request, context: Context) -> Reply:
    asked = parse_list_versions(request.query)
    order = ListVersions(
        request.bucket, asked.prefix, asked.delimiter, asked.key_marker, asked.version_id_marker, asked.max_keys
    )
    owner = request.caller.owner
    if not asked.max_keys:
        await context.buckets.bucket(request.bucket, deadline=context.deadline())
        return xml_reply(rendered.list_versions_response(request.bucket, asked, rendered.VersionPage(())))
    page = await context.listing.list_versions(order, deadline=context.deadline())
    shown = rendered.VersionPage(
        entries=[_shown_version(info, owner) for info in page.versions],
        common_prefixes=page.prefixes,
        next_key_marker=page.next_after if page.is_truncated else None,
        next_version_id_marker=page.next_version_id if page.is_truncated else None,
    )
    return xml_reply(rendered.list_versions_response(request.bucket, asked, shown))


async def _page(order: ListObjects, context: Context) -> ObjectPage:
    if order.limit:
        return await context.listing.list_objects(order, deadline=context.deadline())
    # A page of nothing is asked for to see whether the bucket is there. As at AWS it is never truncated.
    await context.buckets.bucket(order.bucket, deadline=context.deadline())
    return _EMPTY


def _shown(page: ObjectPage, owner: Owner | None) -> rendered.ObjectPage:
    return rendered.ObjectPage(
        objects=[_shown_object(info, owner) for info in page.objects],
        common_prefixes=page.prefixes,
        next_marker=page.next_after if page.is_truncated else None,
    )


def _shown_object(info: ObjectInfo, owner: Owner | None) -> rendered.ListedObject:
    checksum = info.checksum
    algorithm = checksum_type = None
    if checksum is not None and checksum.value:
        algorithm, checksum_type = ChecksumAlgorithm(checksum.algorithm), ChecksumType(checksum.kind)
    return rendered.ListedObject(
        info.key,
        info.modified_ns,
        info.etag,
        info.size_bytes,
        info.metadata.get(STORAGE_CLASS_HEADER, STANDARD),
        owner,
        algorithm,
        checksum_type,
    )


def _shown_version(info: ObjectInfo, owner: Owner) -> rendered.ListedVersion | rendered.ListedDeleteMarker:
    if info.is_delete_marker:
        return rendered.ListedDeleteMarker(info.key, info.version_id, info.is_latest, info.modified_ns, owner)
    return rendered.ListedVersion(_shown_object(info, owner), info.version_id, info.is_latest)
