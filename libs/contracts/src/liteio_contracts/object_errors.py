"""Family 2: what the object layer reports once it has weighed the drives' answers. Each is mapped once to the S3
catalogue.

ObjectError
├── QuorumLost                  503: too few drives answered to be sure; the outcome of a write is unknown
│   ├── ReadQuorumLost
│   └── WriteQuorumLost
├── NotFound
│   ├── BucketMissing
│   ├── ObjectMissing
│   ├── VersionMissing
│   └── UploadMissing
├── BucketExists
├── BucketNotEmpty
├── DeleteMarkerFound           the version asked for is a delete marker
├── PreconditionFailed          a write condition does not hold
├── ConditionalConflict         a rival write won between decision and commit
├── PartRejected                CompleteUpload names a part that is missing, out of order, too small or different
├── NotLinkable                 the data can not be named under the other key without copying
├── OperationTimeout            a lock or an answer did not come in time; nothing was written
└── StoreFull                   too many drives refuse new data
"""

from collections.abc import Sequence
from enum import StrEnum

from liteio_contracts.storage_errors import StorageError


class ObjectError(Exception):
    """An operation's outcome other than success. `causes` keeps the drive errors that were weighed."""

    def __init__(self, message: str = "", *, causes: Sequence[StorageError] = ()) -> None:
        super().__init__(message)
        self.causes = tuple(causes)


class QuorumLost(ObjectError):
    def __init__(self, message: str = "", *, needed: int, got: int, causes: Sequence[StorageError] = ()) -> None:
        super().__init__(message or f"{needed} drives are needed, {got} answered", causes=causes)
        self.needed, self.got = needed, got


class ReadQuorumLost(QuorumLost):
    """Too few answers to say what is stored."""


class WriteQuorumLost(QuorumLost):
    """Too few acceptances. Some drives may have taken the write: its outcome is unknown until settled."""


class NotFound(ObjectError):
    pass


class BucketMissing(NotFound):
    def __init__(self, bucket: str) -> None:
        super().__init__(f"no bucket {bucket!r}")
        self.bucket = bucket


class ObjectMissing(NotFound):
    """`is_delete_marker`: the newest version is a delete marker, of id `version_id`."""

    def __init__(self, key: str, *, is_delete_marker: bool = False, version_id: str = "") -> None:
        super().__init__(f"no object {key!r}")
        self.key, self.is_delete_marker, self.version_id = key, is_delete_marker, version_id


class VersionMissing(NotFound):
    def __init__(self, key: str, version_id: str) -> None:
        super().__init__(f"no version {version_id!r} of {key!r}")
        self.key, self.version_id = key, version_id


class UploadMissing(NotFound):
    def __init__(self, upload_id: str) -> None:
        super().__init__(f"no upload {upload_id!r}")
        self.upload_id = upload_id


class BucketExists(ObjectError):
    """`owner`: who owns the bucket of that name."""

    def __init__(self, bucket: str, owner: str) -> None:
        super().__init__(f"bucket {bucket!r} exists")
        self.bucket, self.owner = bucket, owner


class BucketNotEmpty(ObjectError):
    def __init__(self, bucket: str) -> None:
        super().__init__(f"bucket {bucket!r} is not empty")
        self.bucket = bucket


class DeleteMarkerFound(ObjectError):
    def __init__(self, key: str, version_id: str, modified_ns: int) -> None:
        super().__init__(f"version {version_id!r} of {key!r} is a delete marker")
        self.key, self.version_id, self.modified_ns = key, version_id, modified_ns


class PreconditionFailed(ObjectError):
    """`condition`: the header's name, as S3 reports it."""

    def __init__(self, condition: str) -> None:
        super().__init__(f"{condition} does not hold")
        self.condition = condition


class ConditionalConflict(ObjectError):
    pass


class PartFault(StrEnum):
    MISSING = "missing"
    ETAG_DIFFERS = "etag-differs"
    CHECKSUM_DIFFERS = "checksum-differs"
    OUT_OF_ORDER = "out-of-order"
    TOO_SMALL = "too-small"


class PartRejected(ObjectError):
    def __init__(self, fault: PartFault, part_number: int, *, etag: str = "", size_bytes: int = 0) -> None:
        super().__init__(f"part {part_number}: {fault}")
        self.fault, self.part_number, self.etag, self.size_bytes = fault, part_number, etag, size_bytes


class NotLinkable(ObjectError):
    pass


class OperationTimeout(ObjectError):
    pass


class StoreFull(ObjectError):
    pass
