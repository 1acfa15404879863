"""Records as the object layer's callers see them."""

from collections.abc import Iterable
from typing import Final

import msgspec

from liteio_contracts.object_layer import BucketInfo, ObjectInfo, PartInfo, UploadInfo
from liteio_formats.bodies import UploadBody
from liteio_formats.keys import part_number_of
from liteio_formats.record import Kind, PartEntry, Record

_DELETE_MARKER: Final = Kind.DELETE_MARKER  # An attribute of an enum costs as much as a call.


def object_info(info: BucketInfo, record: Record, *, is_latest: bool) -> ObjectInfo:
    [shown] = latest_infos(info, (record,))
    return shown if is_latest else msgspec.structs.replace(shown, is_latest=False)


def latest_infos(info: BucketInfo, records: Iterable[Record]) -> list[ObjectInfo]:
    """Of records that are the latest of their keys. By position: names take a third more, a thousand times a page."""
    bucket, is_versioned = info.name, bool(info.versioning)
    return [
        ObjectInfo(
            bucket,
            record.key.decode(),
            record.version_id,
            True,
            record.kind is _DELETE_MARKER,
            record.modified_ns,
            record.size_bytes,
            record.etag,
            record.metadata,
            record.tags,
            record.checksum,
            tuple(map(_part_info, record.parts)) if "-" in record.etag else (),  # S3 marks uploads in the ETag.
            is_versioned,
        )
        for record in records
    ]


def _part_info(part: PartEntry) -> PartInfo:
    return PartInfo(part.number, part.size_bytes, part.etag, part.checksum)


def versions_a_write(info: BucketInfo) -> bool:
    """Whether a PUT makes a version of its own (Enabled) or replaces the null version (never versioned, Suspended)."""
    return info.versioning == "Enabled"


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
