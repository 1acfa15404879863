"""Multipart uploads: create, complete, abort, list."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from liteio_base.limits import OBJECT_BYTES_MAX
from liteio_contracts.object_layer import (
    BodyFacts,
    CompleteUpload,
    CreateUpload,
    ListUploads,
    NamedPart,
    PartInfo,
    UploadInfo,
)
from liteio_gateway.context import Context
from liteio_gateway.handlers.multipart_facts import algorithm_of, summarise_parts, upload_name
from liteio_gateway.handlers.object_facts import (
    CHECKSUM_TYPE_HEADER,
    checksum_type_of,
    checksums_of,
    storage_class_of,
    stored_metadata,
    stored_tags,
    version_headers,
    write_condition,
)
from liteio_gateway.replies import Reply, xml_reply
from liteio_gateway.requests import S3Request
from liteio_s3.access_control import check_acl_headers
from liteio_s3.bodies import CompletedPart, parse_complete_multipart_upload
from liteio_s3.checksum_headers import ClaimedChecksum, parse_upload_checksum
from liteio_s3.checksums import (
    ALGORITHM_BY_HEADER,
    ChecksumType,
    check_digest,
    decode_checksum,
)
from liteio_s3.errors import BAD_DIGEST, ENTITY_TOO_LARGE, INVALID_ARGUMENT, INVALID_PART, INVALID_REQUEST, S3Failure
from liteio_s3.limits import LONG_XML_BODY_BYTES_MAX
from liteio_s3.list_parameters import parse_list_parts, parse_list_uploads
from liteio_s3.multipart_responses import (
    CompletedUpload,
    ListedPart,
    ListedUpload,
    PartPage,
    UploadPage,
    complete_multipart_upload_response,
    create_multipart_upload_response,
    list_parts_response,
    list_uploads_response,
)
from liteio_s3.response_parts import Owner
from liteio_s3.unsupported import refuse_unsupported

_SIZE_HEADER: Final = "x-amz-mp-object-size"


async def create_multipart_upload(request: S3Request, context: Context) -> Reply:
    refuse_unsupported(request.headers)
    check_acl_headers(request.headers)
    checksum = parse_upload_checksum(request.headers)
    order = CreateUpload(
        bucket=request.bucket,
        key=request.key,
        owner=request.caller.owner_id,
        metadata=stored_metadata(request.headers),
        tags=stored_tags(request.headers),
        checksum_algorithm="" if checksum is None else checksum[0].value,
        checksum_kind="" if checksum is None else checksum[1].value,
    )
    upload = await context.multipart.create_upload(order, deadline=context.deadline())
    headers = {}
    if checksum is not None:
        headers = {"x-amz-checksum-algorithm": checksum[0].value, CHECKSUM_TYPE_HEADER: checksum[1].value}
    document = create_multipart_upload_response(request.bucket, request.key, upload.upload_id)
    return xml_reply(document, headers=headers)


async def complete_multipart_upload(request: S3Request, context: Context) -> Reply:
    refuse_unsupported(request.headers)
    name = upload_name(request)
    claim = _CompletionClaim(request.headers)
    condition = write_condition(request.headers)
    document = await _completion_document(request, context)
    parts = parse_complete_multipart_upload(document)
    order = CompleteUpload(
        upload=name,
        parts=[NamedPart(part.part_number, part.etag) for part in parts],
        summarise=lambda upload, found: claim.judge(upload, found, parts),
        condition=condition,
        event_facts=request.event_facts(),
    )
    made = await context.multipart.complete_upload(order, deadline=context.deadline())
    answer = CompletedUpload(
        location=_location(request),
        bucket=request.bucket,
        key=request.key,
        etag=made.etag,
        checksums=checksums_of(made.checksum),
        checksum_type=checksum_type_of(made.checksum),
    )
    return xml_reply(complete_multipart_upload_response(answer), headers=version_headers(made))


async def abort_multipart_upload(request: S3Request, context: Context) -> Reply:
    await context.multipart.abort_upload(upload_name(request), deadline=context.deadline())
    return Reply(204)


async def list_parts(request: S3Request, context: Context) -> Reply:
    asked = parse_list_parts(request.query)
    name = upload_name(request)
    if asked.max_parts:
        page = await context.multipart.list_parts(
            name, asked.part_number_marker, asked.max_parts, deadline=context.deadline()
        )
        upload, parts, next_number = page.upload, page.parts, page.next_number if page.is_truncated else None
    else:
        upload, parts, next_number = await context.multipart.upload(name, deadline=context.deadline()), (), None
    algorithm = algorithm_of(upload)
    shown = PartPage(
        owner=Owner(upload.owner, upload.owner),
        parts=[_listed_part(part, upload) for part in parts],
        next_part_number_marker=next_number,
        storage_class=storage_class_of(upload),
        checksum_algorithm=algorithm,
        checksum_type=None if algorithm is None else ChecksumType(upload.checksum_kind),
    )
    return xml_reply(list_parts_response(request.bucket, request.key, asked, shown))


async def list_multipart_uploads(request: S3Request, context: Context) -> Reply:
    asked = parse_list_uploads(request.query)
    if not asked.max_uploads:
        await context.buckets.bucket(request.bucket, deadline=context.deadline())
        return xml_reply(list_uploads_response(request.bucket, asked, UploadPage(())))
    order = ListUploads(
        request.bucket, asked.prefix, asked.delimiter, asked.key_marker, asked.upload_id_marker, asked.max_uploads
    )
    page = await context.multipart.list_uploads(order, deadline=context.deadline())
    shown = UploadPage(
        uploads=[_listed_upload(upload) for upload in page.uploads],
        common_prefixes=page.prefixes,
        next_key_marker=page.next_after if page.is_truncated else None,
        next_upload_id_marker=(page.next_upload_id or None) if page.is_truncated else None,
    )
    return xml_reply(list_uploads_response(request.bucket, asked, shown))


class _CompletionClaim:
    """What a CompleteMultipartUpload says the object will be: its checksum, that one's type, its size."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        """Raises S3Failure with InvalidRequest or InvalidArgument for values that are none."""
        self._checksum: ClaimedChecksum | None = None
        self._composite = ""
        self._type = headers.get(CHECKSUM_TYPE_HEADER, "").upper()
        for name, algorithm in ALGORITHM_BY_HEADER.items():
            value = headers.get(name)
            if value is None:
                continue
            if self._checksum is not None:
                raise S3Failure(INVALID_REQUEST, "Expecting a single x-amz-checksum- header.")
            # A composite value may be written with or without its count of parts.
            digest = decode_checksum(algorithm, value.partition("-")[0])
            self._checksum = ClaimedChecksum(algorithm, digest)
        size = headers.get(_SIZE_HEADER, "")
        if size and not (size.isascii() and size.isdigit() and len(size) < 18):
            raise S3Failure(INVALID_ARGUMENT, fields={"ArgumentName": _SIZE_HEADER, "ArgumentValue": size[:32]})
        self._size = int(size) if size else None

    def judge(self, upload: UploadInfo, found: Sequence[PartInfo], parts: Sequence[CompletedPart]) -> BodyFacts:
        """The object's facts, if all that was claimed holds of the parts as they are stored. Raises S3Failure."""
        size = sum(part.size_bytes for part in found)
        if size > OBJECT_BYTES_MAX:
            raise S3Failure(ENTITY_TOO_LARGE, fields={"MaxSizeAllowed": str(OBJECT_BYTES_MAX)})
        if self._size is not None and self._size != size:
            message = f"The provided '{_SIZE_HEADER}' header does not match what was computed."
            raise S3Failure(INVALID_REQUEST, message)
        _check_part_checksums(upload, found, parts)
        facts = summarise_parts(upload, found)
        if self._type and (facts.checksum is None or facts.checksum.kind != self._type):
            message = f"The upload was not created with the checksum type {self._type[:32]}."
            raise S3Failure(INVALID_REQUEST, message)
        self._check_checksum(facts)
        return facts

    def _check_checksum(self, facts: BodyFacts) -> None:
        claim = self._checksum
        if claim is None or claim.digest is None:
            return
        if facts.checksum is None or facts.checksum.algorithm != claim.algorithm.value:
            raise S3Failure(BAD_DIGEST, f"The {claim.algorithm} you specified was not computed for this upload.")
        value = facts.checksum.value.partition("-")[0]
        check_digest(claim.algorithm, claim.digest, decode_checksum(claim.algorithm, value))


async def _completion_document(request: S3Request, context: Context) -> bytes:
    """The body. A checksum header of this operation is of the object, not of the body, and not held against that."""
    for name in (*ALGORITHM_BY_HEADER, "x-amz-sdk-checksum-algorithm"):
        request.headers.pop(name, None)
    return await context.document(request, size_max=LONG_XML_BODY_BYTES_MAX)


def _check_part_checksums(upload: UploadInfo, found: Sequence[PartInfo], named: Sequence[CompletedPart]) -> None:
    """Hold the checksums that the request names against those stored. One in another algorithm than the upload's can
    not be held against anything, so it does not hold; an upload without algorithm stores none, and its parts' were
    verified as they came. Raises S3Failure with InvalidPart."""
    if not upload.checksum_algorithm:
        return
    for part, claim in zip(found, named, strict=True):
        if any(pair != (upload.checksum_algorithm, part.checksum) for pair in claim.checksums):
            raise S3Failure(INVALID_PART, fields={"PartNumber": str(part.number), "ETag": part.etag})


def _listed_part(part: PartInfo, upload: UploadInfo) -> ListedPart:
    algorithm = algorithm_of(upload)
    checksums = ((algorithm, part.checksum),) if algorithm is not None and part.checksum else ()
    return ListedPart(part.number, part.modified_ns, part.etag, part.size_bytes, checksums)


def _listed_upload(upload: UploadInfo) -> ListedUpload:
    algorithm = algorithm_of(upload)
    return ListedUpload(
        key=upload.key,
        upload_id=upload.upload_id,
        initiated_ns=upload.initiated_ns,
        owner=Owner(upload.owner, upload.owner),
        storage_class=storage_class_of(upload),
        checksum_algorithm=algorithm,
        checksum_type=None if algorithm is None else ChecksumType(upload.checksum_kind),
    )


def _location(request: S3Request) -> str:
    host = request.headers["host"]
    return f"{request.scheme}://{host}/{request.bucket}/{quote(request.key, safe='/')}"
