"""Family 1: what one drive can report. `code` and the fields cross the wire; the wording is free to improve.

StorageError
├── DriveUnavailable           no answer: counts as unknown wherever drives are weighed
│   ├── DriveOffline           marked bad, not there, or refused by its node
│   ├── DriveTimeout           the deadline passed
│   └── DriveFull              refuses new data (deletes still work)
├── CommitRefused              a definite no: nothing was written by this commit
│   ├── Superseded             the drive holds something newer than the commit's base
│   ├── Fenced                 the drive has promised to refuse this version
│   ├── GenerationChanged      the drive is not the one that the writer read
│   ├── NotAuthoritative       the writer did not read the drive, which is not whole
│   ├── StaleTopology          the drive keeps a newer topology than the writer acted on
│   ├── StaleBucket            the bucket's configuration here is newer, closing, or not known
│   ├── BucketHoldsObjects     closing a bucket that is not empty
│   ├── RequirementMissing     what the commit depends on (a part's upload) is not there
│   └── NothingHeld            an unread removal of what is not there
├── ShardMissing
├── ShardCorrupt
└── RecordCorrupt
"""

from typing import Any, ClassVar


class StorageError(Exception):
    """One drive's trouble. Subclasses take their fields as keyword arguments and keep them in `fields`."""

    code: ClassVar[str] = "storage"

    def __init__(self, message: str = "", **fields: Any) -> None:
        super().__init__(message or self.code, fields)
        self.message = message or self.code
        self.fields: dict[str, Any] = fields

    def __str__(self) -> str:
        facts = ", ".join(f"{name}={value!r}" for name, value in self.fields.items())
        return f"{self.message} ({facts})" if facts else self.message


class DriveUnavailable(StorageError):
    code = "drive.unavailable"


class DriveOffline(DriveUnavailable):
    code = "drive.offline"


class DriveTimeout(DriveUnavailable):
    code = "drive.timeout"


class DriveFull(DriveUnavailable):
    code = "drive.full"


class CommitRefused(StorageError):
    code = "commit.refused"


class Superseded(CommitRefused):
    """Field `newest`: the hybrid time that the drive holds."""

    code = "commit.superseded"


class Fenced(CommitRefused):
    code = "commit.fenced"


class GenerationChanged(CommitRefused):
    """Field `generation`: the drive's present one."""

    code = "commit.generation_changed"


class NotAuthoritative(CommitRefused):
    """The drive is not whole, so it can not tell whether it should hold something newer."""

    code = "commit.not_authoritative"


class StaleTopology(CommitRefused):
    """Field `number`: that of the topology which the drive keeps."""

    code = "commit.stale_topology"


class StaleBucket(CommitRefused):
    """Field `number`: the configuration number that the drive holds, 0 when it does not know the bucket."""

    code = "commit.stale_bucket"


class BucketHoldsObjects(CommitRefused):
    code = "commit.bucket_holds_objects"


class RequirementMissing(CommitRefused):
    code = "commit.requirement_missing"


class NothingHeld(CommitRefused):
    code = "commit.nothing_held"


class ShardMissing(StorageError):
    code = "shard.missing"


class ShardCorrupt(StorageError):
    code = "shard.corrupt"


class RecordCorrupt(StorageError):
    code = "record.corrupt"


def _tree(top: type[StorageError]) -> list[type[StorageError]]:
    return [top, *(found for child in top.__subclasses__() for found in _tree(child))]


_BY_CODE = {kind.code: kind for kind in _tree(StorageError)}


def rebuild_error(code: str, message: str, fields: dict[str, Any]) -> StorageError:
    """The error that a drive on another machine raised, as the very class. An unknown code becomes StorageError."""
    return _BY_CODE.get(code, StorageError)(message, **fields)
