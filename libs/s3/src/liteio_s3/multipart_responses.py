"""The answers of the multipart operations.

Source: Amazon S3 API reference, the response syntax of each operation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from liteio_s3.checksums import ChecksumAlgorithm, ChecksumType
from liteio_s3.list_parameters import ListParts, ListUploads
from liteio_s3.response_parts import (
    Checksums,
    KeyEncoder,
    Owner,
    checksum_elements,
    common_prefix_elements,
    delimiter_element,
    encoding_element,
    key_encoder,
    owner_element,
)
from liteio_s3.timestamps import iso_timestamp
from liteio_s3.xml_writer import boolean, document, leaf, number, optional, parent, quoted


@dataclass(frozen=True, slots=True)
class CompletedUpload:
    """What CompleteMultipartUpload made. `location` is the object's URL; `etag` bare."""

    location: str
    bucket: str
    key: str
    etag: str
    checksums: Checksums = ()
    checksum_type: ChecksumType | None = None


@dataclass(frozen=True, slots=True)
class ListedPart:
    """One part that is there. `etag` bare; `last_modified_ns` since 1970."""

    part_number: int
    last_modified_ns: int
    etag: str
    size_bytes: int
    checksums: Checksums = ()


@dataclass(frozen=True, slots=True)
class PartPage:
    """Parts of an upload, by number. `next_part_number_marker` is the last one's number if more follow, else None."""

    owner: Owner
    parts: Sequence[ListedPart]
    next_part_number_marker: int | None = None
    storage_class: str = "STANDARD"
    checksum_algorithm: ChecksumAlgorithm | None = None
    checksum_type: ChecksumType | None = None


@dataclass(frozen=True, slots=True)
class ListedUpload:
    """One upload under way."""

    key: str
    upload_id: str
    initiated_ns: int
    owner: Owner
    storage_class: str = "STANDARD"
    checksum_algorithm: ChecksumAlgorithm | None = None
    checksum_type: ChecksumType | None = None


@dataclass(frozen=True, slots=True)
class UploadPage:
    """Uploads by key, then start. Both markers are None on the last page."""

    uploads: Sequence[ListedUpload]
    common_prefixes: Sequence[str] = ()
    next_key_marker: str | None = None
    next_upload_id_marker: str | None = None


def create_multipart_upload_response(bucket: str, key: str, upload_id: str) -> bytes:
    """InitiateMultipartUploadResult."""
    return document(
        "InitiateMultipartUploadResult", (leaf("Bucket", bucket), leaf("Key", key), leaf("UploadId", upload_id))
    )


def complete_multipart_upload_response(made: CompletedUpload) -> bytes:
    """CompleteMultipartUploadResult."""
    return document(
        "CompleteMultipartUploadResult",
        (
            leaf("Location", made.location),
            leaf("Bucket", made.bucket),
            leaf("Key", made.key),
            quoted("ETag", made.etag),
            checksum_elements(made.checksums, made.checksum_type),
        ),
    )


def upload_part_copy_response(etag: str, last_modified_ns: int, checksums: Checksums = ()) -> bytes:
    """CopyPartResult."""
    children = (leaf("LastModified", iso_timestamp(last_modified_ns)), quoted("ETag", etag))
    return document("CopyPartResult", (*children, checksum_elements(checksums)))


def list_parts_response(bucket: str, key: str, asked: ListParts, page: PartPage) -> bytes:
    """ListPartsResult."""
    encode = key_encoder(asked.encodes_keys)
    marker = page.next_part_number_marker
    return document(
        "ListPartsResult",
        (
            leaf("Bucket", bucket),
            encoding_element(asked.encodes_keys),
            leaf("Key", encode(key)),
            leaf("UploadId", asked.upload_id),
            owner_element(page.owner, "Initiator"),
            owner_element(page.owner),
            leaf("StorageClass", page.storage_class),
            _checksum_kind(page.checksum_algorithm, page.checksum_type),
            number("PartNumberMarker", asked.part_number_marker),
            "" if marker is None else number("NextPartNumberMarker", marker),
            number("MaxParts", asked.max_parts),
            boolean("IsTruncated", marker is not None),
            *[_part_element(part) for part in page.parts],
        ),
    )


def list_uploads_response(bucket: str, asked: ListUploads, page: UploadPage) -> bytes:
    """ListMultipartUploadsResult."""
    encode = key_encoder(asked.encodes_keys)
    return document(
        "ListMultipartUploadsResult",
        (
            leaf("Bucket", bucket),
            leaf("KeyMarker", encode(asked.key_marker)),
            leaf("UploadIdMarker", asked.upload_id_marker),
            "" if page.next_key_marker is None else leaf("NextKeyMarker", encode(page.next_key_marker)),
            optional("NextUploadIdMarker", page.next_upload_id_marker),
            leaf("Prefix", encode(asked.prefix)),
            delimiter_element(asked.delimiter, encode),
            encoding_element(asked.encodes_keys),
            number("MaxUploads", asked.max_uploads),
            boolean("IsTruncated", page.next_key_marker is not None),
            *[_upload_element(upload, encode) for upload in page.uploads],
            common_prefix_elements(page.common_prefixes, encode),
        ),
    )


def _part_element(part: ListedPart) -> str:
    return parent(
        "Part",
        (
            number("PartNumber", part.part_number),
            leaf("LastModified", iso_timestamp(part.last_modified_ns)),
            quoted("ETag", part.etag),
            number("Size", part.size_bytes),
            checksum_elements(part.checksums),
        ),
    )


def _upload_element(upload: ListedUpload, encode: KeyEncoder) -> str:
    return parent(
        "Upload",
        (
            leaf("Key", encode(upload.key)),
            leaf("UploadId", upload.upload_id),
            owner_element(upload.owner, "Initiator"),
            owner_element(upload.owner),
            leaf("StorageClass", upload.storage_class),
            leaf("Initiated", iso_timestamp(upload.initiated_ns)),
            _checksum_kind(upload.checksum_algorithm, upload.checksum_type),
        ),
    )


def _checksum_kind(algorithm: ChecksumAlgorithm | None, checksum_type: ChecksumType | None) -> str:
    return optional("ChecksumAlgorithm", algorithm) + optional("ChecksumType", checksum_type)
