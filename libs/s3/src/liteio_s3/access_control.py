"""Access control lists, as far as a store without them needs: is this one "private", or does it ask for more?

The store answers as AWS does with "bucket owner enforced": the owner has everything, policies say the rest. Clients
that set a private list are content; a list that would share is refused, never ignored.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from liteio_s3.errors import INVALID_ARGUMENT, MALFORMED_ACL, NOT_IMPLEMENTED, S3Failure
from liteio_s3.xml_reader import Element, leaves, name_of, nested, read_document

ACL_HEADER: Final = "x-amz-acl"
_GRANTS_MAX: Final = 100  # S3: "An ACL can have up to 100 grants"
_GRANTEE_PARTS: Final = frozenset({"ID", "DisplayName", "EmailAddress", "URI", "Type"})
_KEPT: Final = frozenset({"private", "bucket-owner-full-control"})
_SHARED: Final = frozenset(
    {
        "public-read",
        "public-read-write",
        "authenticated-read",
        "aws-exec-read",
        "bucket-owner-read",
        "log-delivery-write",
    }
)


@dataclass(frozen=True, slots=True)
class Grant:
    """One permission. `grantee_id` is empty when the grantee is a group or an address."""

    grantee_id: str
    permission: str


@dataclass(frozen=True, slots=True)
class AccessControl:
    """An AccessControlPolicy document."""

    owner_id: str
    grants: tuple[Grant, ...]

    def is_private(self) -> bool:
        """Whether it gives its owner full control and nobody anything else."""
        return set(self.grants) == {Grant(self.owner_id, "FULL_CONTROL")}


def parse_access_control(body: bytes) -> AccessControl:
    """AccessControlPolicy. Raises: S3Failure with MalformedACLError."""
    root = read_document(body, "AccessControlPolicy", fault=MALFORMED_ACL)
    parts = nested(root, {"Owner", "AccessControlList"}, fault=MALFORMED_ACL)
    if len(parts) != 2:
        raise S3Failure(MALFORMED_ACL)
    owner = leaves(parts["Owner"], {"ID", "DisplayName"}, fault=MALFORMED_ACL)
    grants = list(parts["AccessControlList"])
    if len(grants) > _GRANTS_MAX or any(name_of(grant) != "Grant" for grant in grants):
        raise S3Failure(MALFORMED_ACL)
    return AccessControl(owner.get("ID", ""), tuple(_grant(grant) for grant in grants))


def check_access_control(access: AccessControl, owner_id: str) -> None:
    """Accept a private list of `owner_id`. Raises: S3Failure with NotImplemented for any other."""
    if access.owner_id != owner_id or not access.is_private():
        raise S3Failure(NOT_IMPLEMENTED, "Access control lists that share are not implemented; use a bucket policy")


def check_acl_headers(headers: Mapping[str, str]) -> None:
    """Accept `x-amz-acl` where it means what the store does anyway (header names in lower case).

    Raises: S3Failure with NotImplemented for a list that would share, with InvalidArgument for an unknown name.
    """
    grants = [name for name in headers if name.startswith("x-amz-grant-")]
    canned = headers.get(ACL_HEADER)
    if grants or canned in _SHARED:
        raise S3Failure(NOT_IMPLEMENTED, fields={"Header": grants[0] if grants else ACL_HEADER})
    if canned is not None and canned not in _KEPT:
        raise S3Failure(INVALID_ARGUMENT, fields={"ArgumentName": ACL_HEADER, "ArgumentValue": canned})


def _grant(element: Element) -> Grant:
    parts = nested(element, {"Grantee", "Permission"}, fault=MALFORMED_ACL)
    if len(parts) != 2:
        raise S3Failure(MALFORMED_ACL)
    grantee = leaves(parts["Grantee"], _GRANTEE_PARTS, fault=MALFORMED_ACL)
    return Grant(grantee.get("ID", ""), parts["Permission"].text or "")
