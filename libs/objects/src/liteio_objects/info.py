"""Records as the object layer's callers see them."""

from liteio_contracts.object_layer import BucketInfo, ObjectInfo, PartInfo, UploadInfo
from liteio_formats.bodies import UploadBody
from liteio_formats.keys import part_number_of
from liteio_formats.record import Kind, PartEntry, Record


def object_info(info: BucketInfo, record: Record, *, is_latest: bool) -> ObjectInfo:
    return ObjectInfo(
        bucket=info.name,
        key=record.key.decode(),
        version_id=record.version_id,
        is_latest=is_latest,
        is_delete_marker=record.kind is Kind.DELETE_MARKER,
        modified_ns=record.modified_ns,
        size_bytes=record.size_bytes,
        etag=record.etag,
        metadata=record.metadata,
        tags=record.tags,
        checksum=record.checksum,
        parts=tuple(_part_info(part) for part in record.parts) if is_multipart(record) else (),
        is_versioned=bool(info.versioning),
    )


def is_multipart(record: Record) -> bool:
    """Whether the object was completed from an upload: S3 marks that in the ETag."""
    return "-" in record.etag


def _part_info(part: PartEntry) -> PartInfo:
    return PartInfo(part.number, part.size_bytes, part.etag, part.checksum)


def versions_a_write(info: BucketInfo) -> bool:
    """Whether a PUT makes a version of its own (Enabled) or replaces the null version (never versioned, Suspended)."""
    return info.versioning.value == "Enabled"


def part_info(record: Record) -> PartInfo:
    return PartInfo(
        number=part_number_of(record.key),
        size_bytes=record.size_bytes,
        etag=record.etag,
        checksum=record.checksum.value if record.checksum is not None else "",
        modified_ns=record.modified_ns,
    )


def upload_info(bucket: str, key: str, record: Record, body: UploadBody) -> UploadInfo:
    return UploadInfo(
        bucket=bucket,
        key=key,
        upload_id=body.upload_id,
        initiated_ns=body.initiated_ns,
        owner=body.owner,
        metadata=record.metadata,
        tags=record.tags,
        checksum_algorithm=record.checksum.algorithm if record.checksum is not None else "",
        checksum_kind=record.checksum.kind if record.checksum is not None else "",
    )
