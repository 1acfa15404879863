"""The answers about buckets and their settings, and about access control.

Source: Amazon S3 API reference, the response syntax of each operation.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from liteio_s3.bodies import VersioningStatus
from liteio_s3.list_parameters import ListBuckets, encode_token
from liteio_s3.response_parts import Owner, owner_element
from liteio_s3.tags import Tag
from liteio_s3.timestamps import iso_timestamp
from liteio_s3.xml_writer import document, escape, leaf, parent

# The oldest region has no name here: clients read the empty element as it.
UNNAMED_REGION: Final = "us-east-1"
_XSI: Final = "http://www.w3.org/2001/XMLSchema-instance"


@dataclass(frozen=True, slots=True)
class ListedBucket:
    """One bucket; `created_ns` since 1970."""

    name: str
    created_ns: int
    region: str


def list_buckets_response(
    owner: Owner, asked: ListBuckets, buckets: Sequence[ListedBucket], next_after: str | None = None
) -> bytes:
    """ListAllMyBucketsResult. `next_after` is the last bucket's name if more follow, None on the last page."""
    rows = (
        parent(
            "Bucket",
            (
                leaf("Name", bucket.name),
                leaf("CreationDate", iso_timestamp(bucket.created_ns)),
                leaf("BucketRegion", bucket.region),
            ),
        )
        for bucket in buckets
    )
    return document(
        "ListAllMyBucketsResult",
        (
            owner_element(owner),
            parent("Buckets", rows),
            "" if next_after is None else leaf("ContinuationToken", encode_token(next_after)),
            leaf("Prefix", asked.prefix) if asked.prefix else "",
        ),
    )


def location_response(region: str) -> bytes:
    """LocationConstraint of GetBucketLocation."""
    return document("LocationConstraint", ("" if region == UNNAMED_REGION else escape(region),))


def versioning_response(status: VersioningStatus | None) -> bytes:
    """VersioningConfiguration; None, for a bucket that never had versions, is an empty one."""
    return document("VersioningConfiguration", () if status is None else (leaf("Status", status),))


def tagging_response(tags: Sequence[Tag]) -> bytes:
    """Tagging, of a bucket or an object."""
    rows = (parent("Tag", (leaf("Key", tag.key), leaf("Value", tag.value))) for tag in tags)
    return document("Tagging", (parent("TagSet", rows),))


def access_control_response(owner: Owner) -> bytes:
    """AccessControlPolicy: its owner has full control, nobody else anything."""
    grantee = (
        f'<Grantee xmlns:xsi="{_XSI}" xsi:type="CanonicalUser">'
        f"{leaf('ID', owner.id)}{leaf('DisplayName', owner.display_name)}</Grantee>"
    )
    grant = parent("Grant", (grantee, leaf("Permission", "FULL_CONTROL")))
    return document("AccessControlPolicy", (owner_element(owner), parent("AccessControlList", (grant,))))
