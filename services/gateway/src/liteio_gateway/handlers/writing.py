"""PutObject, and the deletes: DeleteObject, DeleteObjects."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from liteio_base.ids import VersionId
from liteio_base.limits import PUT_BYTES_MAX
from liteio_contracts.object_errors import ObjectError
from liteio_contracts.object_layer import UNCONDITIONAL, DeleteObject, DeleteResult, PutObject, WriteCondition
from liteio_gateway.context import Context
from liteio_gateway.errors import failure_of
from liteio_gateway.handlers.object_facts import (
    VERSION_HEADER,
    checksum_headers,
    delete_condition,
    stored_metadata,
    stored_tags,
    version_headers,
    write_condition,
)
from liteio_gateway.replies import Reply, xml_reply
from liteio_gateway.requests import S3Request
from liteio_s3.access_control import check_acl_headers
from liteio_s3.bodies import KeyToDelete, parse_delete
from liteio_s3.errors import INTERNAL_ERROR, NOT_IMPLEMENTED, S3Failure
from liteio_s3.limits import LONG_XML_BODY_BYTES_MAX
from liteio_s3.names import check_key, parse_version_id, version_text
from liteio_s3.object_responses import DeletedObject, DeleteFailure, delete_objects_response
from liteio_s3.unsupported import refuse_unsupported

log: Final = logging.getLogger("liteio.gateway")
_DELETES_AT_ONCE: Final = 64  # of one DeleteObjects; more would keep other callers waiting for the drives


async def put_object(request: S3Request, context: Context) -> Reply:
    headers = request.headers
    refuse_unsupported(headers)
    check_acl_headers(headers)
    order = PutObject(
        bucket=request.bucket,
        key=request.key,
        metadata=stored_metadata(headers),
        tags=stored_tags(headers),
        condition=write_condition(headers),
        event_facts=request.event_facts(),
    )
    body = context.body(request, size_max=PUT_BYTES_MAX)
    info = await context.writes.put(order, body, deadline=context.deadline())
    return Reply(headers={"etag": f'"{info.etag}"', **version_headers(info), **checksum_headers(info.checksum)})


async def delete_object(request: S3Request, context: Context) -> Reply:
    refuse_unsupported(request.headers)
    version_id = request.version_id()
    condition = delete_condition(request.headers, names_version=version_id is not None)
    order = DeleteObject(request.bucket, request.key, version_id, condition, request.event_facts())
    result = await context.writes.delete(order, deadline=context.deadline())
    headers = {} if result.version_id is None else {VERSION_HEADER: version_text(result.version_id)}
    if result.is_delete_marker:
        headers["x-amz-delete-marker"] = "true"
    return Reply(204, headers)


async def delete_objects(request: S3Request, context: Context) -> Reply:
    refuse_unsupported(request.headers)
    document = await context.document(request, size_max=LONG_XML_BODY_BYTES_MAX, needs_integrity_claim=True)
    asked = parse_delete(document)
    await context.buckets.bucket(request.bucket, deadline=context.deadline())
    results: list[DeletedObject | DeleteFailure] = []
    for start in range(0, len(asked.objects), _DELETES_AT_ONCE):
        results += await _delete_all(request, context, asked.objects[start : start + _DELETES_AT_ONCE])
    return xml_reply(delete_objects_response(results, quiet=asked.quiet))


@dataclass(frozen=True, slots=True)
class _Named:
    key: str
    version_id: VersionId | None
    condition: WriteCondition


async def _delete_all(
    request: S3Request, context: Context, asked: Sequence[KeyToDelete]
) -> list[DeletedObject | DeleteFailure]:
    """Each key's outcome, whatever it is: a failure of one must not hide what became of the others."""
    facts = request.event_facts()
    targets = [await _allowed(request, context, named) for named in asked]
    orders = [
        DeleteObject(request.bucket, target.key, target.version_id, target.condition, facts)
        for target in targets
        if isinstance(target, _Named)
    ]
    outcomes = iter(await context.writes.delete_all(orders, deadline=context.deadline()) if orders else ())
    return [
        _deleted(request, named, target, next(outcomes)) if isinstance(target, _Named) else target
        for named, target in zip(asked, targets, strict=True)
    ]


async def _allowed(request: S3Request, context: Context, named: KeyToDelete) -> _Named | DeleteFailure:
    try:
        target = _named(named)
        action = "s3:DeleteObject" if target.version_id is None else "s3:DeleteObjectVersion"
        await context.check(request, action, request.bucket, target.key)
    except Exception as trouble:
        return _failed(request, named, trouble)
    return target


def _named(named: KeyToDelete) -> _Named:
    check_key(named.key)
    version_id = None if named.version_id is None else parse_version_id(named.version_id)
    if version_id is not None and named.etag is not None:
        raise S3Failure(NOT_IMPLEMENTED, "Deleting a version on a condition is not implemented")
    condition = UNCONDITIONAL if named.etag is None else WriteCondition(if_etag=named.etag)
    return _Named(named.key, version_id, condition)


def _deleted(
    request: S3Request, named: KeyToDelete, target: _Named, outcome: DeleteResult | Exception
) -> DeletedObject | DeleteFailure:
    if isinstance(outcome, Exception):
        return _failed(request, named, outcome)
    return DeletedObject(
        target.key,
        version_id=target.version_id,
        is_delete_marker=outcome.is_delete_marker,
        marker_version_id=outcome.version_id if outcome.is_delete_marker else None,
    )


def _failed(request: S3Request, named: KeyToDelete, trouble: Exception) -> DeleteFailure:
    if isinstance(trouble, ObjectError):
        failure = failure_of(trouble)
    elif isinstance(trouble, S3Failure):
        failure = trouble
    else:
        log.error("request %s: one of several deletes failed", request.exchange.request_id, exc_info=trouble)
        failure = S3Failure(INTERNAL_ERROR)
    return DeleteFailure(named.key, named.version_id, failure.code, failure.message)
