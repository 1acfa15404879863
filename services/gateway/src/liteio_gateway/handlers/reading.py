"""GetObject, HeadObject, GetObjectAttributes."""

from collections.abc import AsyncIterator, Mapping
from typing import Final

import msgspec

from liteio_base.byte_span import ByteSpan
from liteio_base.check import check
from liteio_contracts.object_layer import ObjectInfo, PartInfo, ReadObject
from liteio_gateway.context import Context
from liteio_gateway.handlers.object_facts import (
    checksum_headers,
    checksum_type_of,
    checksums_of,
    identity_headers,
    shown_metadata,
    storage_class_of,
    version_headers,
)
from liteio_gateway.replies import Reply, xml_reply
from liteio_gateway.requests import S3Request
from liteio_s3.checksums import ChecksumAlgorithm
from liteio_s3.conditions import (
    NO_READ_CONDITIONS,
    Outcome,
    is_range_current,
    judge_read,
    parse_read_conditions,
)
from liteio_s3.errors import INVALID_PART_NUMBER, INVALID_REQUEST, NOT_MODIFIED, PRECONDITION_FAILED, S3Failure
from liteio_s3.object_attributes import (
    AskedAttributes,
    AttributePart,
    AttributeParts,
    ObjectAttributes,
    object_attributes_response,
    parse_asked_attributes,
)
from liteio_s3.object_headers import parse_response_overrides
from liteio_s3.ranges import content_range, parse_part_number, parse_range, refuse_range_with_part
from liteio_s3.timestamps import http_date
from liteio_s3.unsupported import refuse_unsupported

_PARTS_COUNT_HEADER: Final = "x-amz-mp-parts-count"


class _Plan(msgspec.Struct, frozen=True, gc=False):
    """What a read answers: status, headers, and the bytes."""

    status: int
    headers: dict[str, str]
    span: ByteSpan


async def get_object(request: S3Request, context: Context) -> Reply:
    named = _named_object(request)
    reader = await context.reads.open(named, deadline=context.deadline())
    try:
        plan = _plan_read(request, reader.info)
        reply = Reply(plan.status, plan.headers, close=reader.close)
        if plan.span.length:
            await _begin(reply, reader.read(plan.span), plan.span.length)
    except BaseException:
        await reader.close()
        raise
    return reply


async def _begin(reply: Reply, chunks: AsyncIterator[bytes], size_bytes: int) -> None:
    """Wait for the first bytes: trouble until then is still an answer, not a broken one. Often they are all."""
    first = await anext(chunks)
    if len(first) < size_bytes:
        reply.stream = _joined(first, chunks)
        return
    reply.body = first
    # Read to its end: an iterator that is merely dropped costs the loop a task to close it.
    check(await anext(chunks, None) is None, "a reader gives the bytes of its span and no more")


async def _joined(first: bytes, rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in rest:
        yield chunk


async def head_object(request: S3Request, context: Context) -> Reply:
    info = await context.reads.head(_named_object(request), deadline=context.deadline())
    plan = _plan_read(request, info)
    return Reply(plan.status, plan.headers)


async def get_object_attributes(request: S3Request, context: Context) -> Reply:
    asked = parse_asked_attributes(request.headers)
    info = await context.reads.head(_named_object(request), deadline=context.deadline())
    _check_conditions(request.headers, info)
    attributes = ObjectAttributes(
        etag=info.etag,
        size_bytes=info.size_bytes,
        storage_class=storage_class_of(info),
        checksums=checksums_of(info.checksum),
        checksum_type=checksum_type_of(info.checksum),
        parts=_part_attributes(asked, info),
    )
    headers = {"last-modified": http_date(info.modified_ns), **version_headers(info)}
    return xml_reply(object_attributes_response(asked, attributes), headers=headers)


def _named_object(request: S3Request) -> ReadObject:
    refuse_unsupported(request.headers)
    return ReadObject(request.bucket, request.key, request.version_id() if request.parameters else None)


def _plan_read(request: S3Request, info: ObjectInfo) -> _Plan:
    headers = request.headers
    _check_conditions(headers, info)
    range_header = headers.get("range")
    part_number = _part_number(request, range_header) if request.parameters else None
    answer = {"accept-ranges": "bytes", **identity_headers(info), **shown_metadata(info.metadata)}
    if info.tags:
        answer["x-amz-tagging-count"] = str(info.tags.count("&") + 1)
    if request.parameters:
        answer.update(_overrides(request))
    span = None
    if part_number is not None:
        if info.parts:
            answer[_PARTS_COUNT_HEADER] = str(len(info.parts))
        span = _part_span(info, part_number)
    elif range_header is not None and is_range_current(headers.get("if-range"), info.etag, info.modified_ns):
        span = parse_range(range_header, info.size_bytes)
    if span is not None:
        # The stored checksum is over the whole object: clients would hold it against these few bytes.
        answer["content-range"] = content_range(span, info.size_bytes)
        answer["content-length"] = str(span.length)
        return _Plan(206, answer, span)
    if headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
        answer.update(checksum_headers(info.checksum))
    answer["content-length"] = str(info.size_bytes)
    return _Plan(200, answer, ByteSpan(0, info.size_bytes))


def _check_conditions(headers: Mapping[str, str], info: ObjectInfo) -> None:
    conditions = parse_read_conditions(headers)
    if conditions is NO_READ_CONDITIONS:
        return
    match judge_read(conditions, info.etag, info.modified_ns):
        case Outcome.NOT_MODIFIED:
            raise S3Failure(NOT_MODIFIED, headers=identity_headers(info))
        case Outcome.PRECONDITION_FAILED:
            raise S3Failure(PRECONDITION_FAILED, fields={"Condition": _failed_condition(headers)})
        case _:
            pass


def _failed_condition(headers: Mapping[str, str]) -> str:
    return "If-Match" if "if-match" in headers else "If-Unmodified-Since"


def _overrides(request: S3Request) -> dict[str, str]:
    overrides = parse_response_overrides(request.query)
    if overrides and request.caller.is_anonymous:
        message = "Request specific response headers cannot be used for anonymous GET requests."
        raise S3Failure(INVALID_REQUEST, message)
    return overrides


def _part_number(request: S3Request, range_header: str | None) -> int | None:
    text = request.parameters.get("partNumber")
    number = None if text is None else parse_part_number(text)
    refuse_range_with_part(range_header, number)
    return number


def _part_span(info: ObjectInfo, number: int) -> ByteSpan | None:
    """The bytes of a part; None for the one part, without bytes, of an empty object."""
    if not info.parts:
        if number != 1:
            raise S3Failure(INVALID_PART_NUMBER)
        return ByteSpan(0, info.size_bytes) if info.size_bytes else None
    start = 0
    for part in info.parts:
        if part.number == number:
            return ByteSpan(start, part.size_bytes) if part.size_bytes else None
        start += part.size_bytes
    raise S3Failure(INVALID_PART_NUMBER)


def _part_attributes(asked: AskedAttributes, info: ObjectInfo) -> AttributeParts | None:
    if not info.parts:
        return None
    if info.checksum is None:
        return AttributeParts(len(info.parts))
    algorithm = ChecksumAlgorithm(info.checksum.algorithm)
    behind = [part for part in info.parts if part.number > asked.part_number_marker]
    page = behind[: asked.max_parts]
    marker = page[-1].number if page and len(behind) > len(page) else None
    return AttributeParts(len(info.parts), [_attribute_part(part, algorithm) for part in page], marker)


def _attribute_part(part: PartInfo, algorithm: ChecksumAlgorithm) -> AttributePart:
    checksums = ((algorithm, part.checksum),) if part.checksum else ()
    return AttributePart(part.number, part.size_bytes, checksums)
