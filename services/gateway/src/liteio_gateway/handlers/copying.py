"""CopyObject: by naming the same data under another key where that is possible, else by reading and writing it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from liteio_base.byte_span import ByteSpan
from liteio_base.limits import PUT_BYTES_MAX
from liteio_contracts.object_errors import DeleteMarkerFound, NotLinkable
from liteio_contracts.object_layer import LinkObject, ObjectInfo, ObjectReader, PutObject, ReadObject
from liteio_gateway.context import Context
from liteio_gateway.handlers.object_facts import (
    checksum_type_of,
    checksums_of,
    stored_metadata,
    stored_tags,
    version_headers,
    write_condition,
)
from liteio_gateway.replies import Reply, xml_reply
from liteio_gateway.requests import S3Request
from liteio_s3.access_control import check_acl_headers
from liteio_s3.checksum_headers import parse_algorithm
from liteio_s3.checksums import ChecksumAlgorithm, ChecksumType
from liteio_s3.conditions import COPY_SOURCE_PREFIX, Outcome, judge_copy_source, parse_read_conditions
from liteio_s3.copy_source import (
    COPY_SOURCE_HEADER,
    CopySource,
    Directive,
    parse_copy_source,
    parse_metadata_directive,
    parse_tagging_directive,
)
from liteio_s3.errors import ACCESS_DENIED, INVALID_REQUEST, PRECONDITION_FAILED, S3Failure
from liteio_s3.names import version_text
from liteio_s3.object_headers import STANDARD, STORAGE_CLASS_HEADER, WEBSITE_REDIRECT_HEADER, parse_storage_class
from liteio_s3.object_responses import copy_object_response
from liteio_s3.unsupported import refuse_unsupported

_EXPECTED_SOURCE_OWNER: Final = "x-amz-source-expected-bucket-owner"
_COPY_EVENT: Final = "s3:ObjectCreated:Copy"


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a copy of this very source version writes. `algorithm`: the checksum that the copy must carry."""

    target: PutObject
    algorithm: ChecksumAlgorithm | None
    may_link: bool


async def copy_object(request: S3Request, context: Context) -> Reply:
    refuse_unsupported(request.headers)
    check_acl_headers(request.headers)
    source = await read_source(request, context)
    named = ReadObject(source.bucket, source.key, source.version_id)
    seen = await head_source(named, context)
    plan = _plan(request, source, seen)
    made: ObjectInfo | None = None
    if plan.may_link:
        try:
            made = await context.writes.link(LinkObject(named, seen, plan.target), deadline=context.deadline())
        except NotLinkable:
            made = None
    if made is None:
        seen, made = await _copy_bytes(request, context, source, named)
    document = copy_object_response(
        made.etag, made.modified_ns, checksums_of(made.checksum), checksum_type_of(made.checksum)
    )
    return xml_reply(document, headers={**version_headers(made), **source_version_headers(seen)})


async def read_source(request: S3Request, context: Context) -> CopySource:
    """The source that the request names, once the caller may read it and its bucket is whose the caller expects."""
    source = parse_copy_source(request.headers[COPY_SOURCE_HEADER])
    action = "s3:GetObject" if source.version_id is None else "s3:GetObjectVersion"
    await context.check(request, action, source.bucket, source.key)
    expected = request.headers.get(_EXPECTED_SOURCE_OWNER)
    if expected is not None:
        bucket = await context.buckets.bucket(source.bucket, deadline=context.deadline())
        if bucket.owner != expected:
            raise S3Failure(ACCESS_DENIED)
    return source


async def head_source(named: ReadObject, context: Context) -> ObjectInfo:
    try:
        return await context.reads.head(named, deadline=context.deadline())
    except DeleteMarkerFound as error:
        raise _names_a_marker() from error


async def open_source(named: ReadObject, context: Context) -> ObjectReader:
    try:
        return await context.reads.open(named, deadline=context.deadline())
    except DeleteMarkerFound as error:
        raise _names_a_marker() from error


def check_source_conditions(headers: Mapping[str, str], info: ObjectInfo) -> None:
    """Raises S3Failure with PreconditionFailed."""
    conditions = parse_read_conditions(headers, prefix=COPY_SOURCE_PREFIX)
    if judge_copy_source(conditions, info.etag, info.modified_ns) is not Outcome.PROCEED:
        condition = next(name for name in headers if name.startswith(f"{COPY_SOURCE_PREFIX}if-"))
        raise S3Failure(PRECONDITION_FAILED, fields={"Condition": condition})


def source_version_headers(info: ObjectInfo) -> dict[str, str]:
    shown = info.version_id or info.is_versioned
    return {"x-amz-copy-source-version-id": version_text(info.version_id)} if shown else {}


async def _copy_bytes(
    request: S3Request, context: Context, source: CopySource, named: ReadObject
) -> tuple[ObjectInfo, ObjectInfo]:
    """Read and write. The source may have changed since it was looked at, so it is judged again, as it was opened."""
    reader = await open_source(named, context)
    try:
        info = reader.info
        plan = _plan(request, source, info)
        body = context.copied_body(reader, ByteSpan(0, info.size_bytes), plan.algorithm)
        return info, await context.writes.put(plan.target, body, deadline=context.deadline())
    finally:
        await reader.close()


def _plan(request: S3Request, source: CopySource, info: ObjectInfo) -> _Plan:
    headers = request.headers
    check_source_conditions(headers, info)
    if info.size_bytes > PUT_BYTES_MAX:
        message = (
            f"The specified copy source is larger than the maximum allowable size for a copy source: {PUT_BYTES_MAX}"
        )
        raise S3Failure(INVALID_REQUEST, message)
    is_self = (source.bucket, source.key) == (request.bucket, request.key)
    if is_self and info.is_latest:
        _check_self_copy(headers)
    algorithm, is_new = _copied_algorithm(headers, info)
    target = PutObject(
        bucket=request.bucket,
        key=request.key,
        metadata=_copied_metadata(headers, info),
        tags=stored_tags(headers) if parse_tagging_directive(headers) is Directive.REPLACE else info.tags,
        condition=write_condition(headers),
        event_facts=request.event_facts(),
        event_name=_COPY_EVENT,
    )
    return _Plan(target, algorithm, may_link=not is_new and (is_self or not info.parts))


def _check_self_copy(headers: Mapping[str, str]) -> None:
    changes = (
        parse_metadata_directive(headers) is Directive.REPLACE
        or STORAGE_CLASS_HEADER in headers
        or WEBSITE_REDIRECT_HEADER in headers
        or "x-amz-checksum-algorithm" in headers
    )
    if not changes:
        raise S3Failure(
            INVALID_REQUEST,
            "This copy request is illegal because it is trying to copy an object to itself without changing the"
            " object's metadata, storage class, website redirect location or encryption attributes.",
        )


def _copied_metadata(headers: Mapping[str, str], info: ObjectInfo) -> dict[str, str]:
    if parse_metadata_directive(headers) is Directive.REPLACE:
        return stored_metadata(headers)
    # The class and the redirect belong to the request, not to what is copied.
    own = {STORAGE_CLASS_HEADER, WEBSITE_REDIRECT_HEADER}
    metadata = {name: value for name, value in info.metadata.items() if name not in own}
    storage_class = parse_storage_class(headers.get(STORAGE_CLASS_HEADER))
    if storage_class != STANDARD:
        metadata[STORAGE_CLASS_HEADER] = storage_class
    if WEBSITE_REDIRECT_HEADER in headers:
        metadata[WEBSITE_REDIRECT_HEADER] = headers[WEBSITE_REDIRECT_HEADER]
    return metadata


def _copied_algorithm(headers: Mapping[str, str], info: ObjectInfo) -> tuple[ChecksumAlgorithm | None, bool]:
    """The algorithm of the copy, and whether its checksum must be computed anew."""
    stored = info.checksum
    header = headers.get("x-amz-checksum-algorithm")
    if header is not None:
        algorithm = parse_algorithm(header, "x-amz-checksum-algorithm")
        is_kept = stored is not None and (stored.algorithm, stored.kind) == (algorithm, ChecksumType.FULL_OBJECT)
        return algorithm, not is_kept
    return (None if stored is None else ChecksumAlgorithm(stored.algorithm)), False


def _names_a_marker() -> S3Failure:
    message = "The source of a copy request may not specifically refer to a delete marker by version id."
    return S3Failure(INVALID_REQUEST, message)
