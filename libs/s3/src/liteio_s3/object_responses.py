"""The answers of CopyObject and DeleteObjects.

Source: Amazon S3 API reference, the response syntax of each operation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from liteio_s3.checksums import ChecksumType
from liteio_s3.names import version_text
from liteio_s3.response_parts import Checksums, checksum_elements
from liteio_s3.timestamps import iso_timestamp
from liteio_s3.xml_writer import boolean, document, leaf, parent, quoted


@dataclass(frozen=True, slots=True)
class DeletedObject:
    """A success of DeleteObjects. Version ids: "" is the null version, None is not shown.

    `version_id` is the version that the request named; `marker_version_id` that of the delete marker that the request
    made, or removed.
    """

    key: str
    version_id: str | None = None
    is_delete_marker: bool = False
    marker_version_id: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteFailure:
    """A failure of DeleteObjects. `version_id` as the request wrote it; None is not shown."""

    key: str
    version_id: str | None
    code: str
    message: str


def copy_object_response(
    etag: str, last_modified_ns: int, checksums: Checksums = (), checksum_type: ChecksumType | None = None
) -> bytes:
    """CopyObjectResult."""
    children = (leaf("LastModified", iso_timestamp(last_modified_ns)), quoted("ETag", etag))
    return document("CopyObjectResult", (*children, checksum_elements(checksums, checksum_type)))


def delete_objects_response(results: Sequence[DeletedObject | DeleteFailure], *, quiet: bool) -> bytes:
    """DeleteResult, in the order of the request. `quiet` leaves the successes out."""
    return document(
        "DeleteResult",
        (_result_element(result) for result in results if not quiet or isinstance(result, DeleteFailure)),
    )


def _result_element(result: DeletedObject | DeleteFailure) -> str:
    if isinstance(result, DeletedObject):
        return parent(
            "Deleted",
            (
                leaf("Key", result.key),
                _version("VersionId", result.version_id),
                boolean("DeleteMarker", True) if result.is_delete_marker else "",
                _version("DeleteMarkerVersionId", result.marker_version_id),
            ),
        )
    version = "" if result.version_id is None else leaf("VersionId", result.version_id)
    children = (leaf("Key", result.key), version, leaf("Code", result.code), leaf("Message", result.message))
    return parent("Error", children)


def _version(name: str, version_id: str | None) -> str:
    return "" if version_id is None else leaf(name, version_text(version_id))
