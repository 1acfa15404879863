"""UploadPart and UploadPartCopy."""

from collections.abc import AsyncIterator

from liteio_base.byte_span import ByteSpan
from liteio_base.limits import PUT_BYTES_MAX
from liteio_contracts.object_layer import BodyFacts, PartInfo, PutPart, ReadObject
from liteio_formats.record import StoredChecksum
from liteio_gateway.context import Context
from liteio_gateway.handlers.copying import (
    check_source_conditions,
    open_source,
    read_source,
    source_version_headers,
)
from liteio_gateway.handlers.multipart_facts import algorithm_of, upload_name
from liteio_gateway.payload import RequestBody
from liteio_gateway.replies import Reply, xml_reply
from liteio_gateway.requests import S3Request
from liteio_s3.checksums import ChecksumAlgorithm
from liteio_s3.errors import INVALID_REQUEST, S3Failure
from liteio_s3.multipart_responses import upload_part_copy_response
from liteio_s3.ranges import COPY_SOURCE_RANGE, parse_copy_range, parse_part_number
from liteio_s3.response_parts import Checksums
from liteio_s3.unsupported import refuse_unsupported


async def upload_part(request: S3Request, context: Context) -> Reply:
    refuse_unsupported(request.headers)
    order = PutPart(upload_name(request), parse_part_number(request.parameters["partNumber"]))
    upload = await context.multipart.upload(order.upload, deadline=context.deadline())
    algorithm = algorithm_of(upload)
    body = context.body(request, size_max=PUT_BYTES_MAX, algorithm=algorithm)
    kept = body if algorithm is not None else _Unsummed(body)
    part = await context.multipart.put_part(order, kept, deadline=context.deadline())
    return Reply(headers={"etag": f'"{part.etag}"', **_shown_checksum(body.facts().checksum)})


async def upload_part_copy(request: S3Request, context: Context) -> Reply:
    refuse_unsupported(request.headers)
    order = PutPart(upload_name(request), parse_part_number(request.parameters["partNumber"]))
    source = await read_source(request, context)
    upload = await context.multipart.upload(order.upload, deadline=context.deadline())
    named = ReadObject(source.bucket, source.key, source.version_id)
    reader = await open_source(named, context)
    try:
        info = reader.info
        check_source_conditions(request.headers, info)
        asked = parse_copy_range(request.headers.get(COPY_SOURCE_RANGE), info.size_bytes)
        span = ByteSpan(0, info.size_bytes) if asked is None else asked
        if span.length > PUT_BYTES_MAX:
            message = f"The specified copy source is larger than the maximum allowable size: {PUT_BYTES_MAX}"
            raise S3Failure(INVALID_REQUEST, message)
        body = context.copied_body(reader, span, algorithm_of(upload))
        part = await context.multipart.put_part(order, body, deadline=context.deadline())
    finally:
        await reader.close()
    document = upload_part_copy_response(part.etag, part.modified_ns, _checksums(part, algorithm_of(upload)))
    return xml_reply(document, headers=source_version_headers(info))


class _Unsummed:
    """A part's body whose upload keeps no checksum: what the client claimed was verified, and is not stored."""

    def __init__(self, body: RequestBody) -> None:
        self._body = body

    @property
    def size_bytes(self) -> int | None:
        return self._body.size_bytes

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._body.__aiter__()

    def facts(self) -> BodyFacts:
        return BodyFacts(self._body.facts().etag)


def _shown_checksum(checksum: StoredChecksum | None) -> dict[str, str]:
    """A part's checksum has no type of its own."""
    return {} if checksum is None else {ChecksumAlgorithm(checksum.algorithm).header: checksum.value}


def _checksums(part: PartInfo, algorithm: ChecksumAlgorithm | None) -> Checksums:
    return ((algorithm, part.checksum),) if algorithm is not None and part.checksum else ()
