"""The names of things. Every id is text of one fixed shape; a seeded `Randomness` decides the new ones."""

from typing import Final, NewType

from liteio_base.clock import Randomness

DeploymentId = NewType("DeploymentId", str)  # 32 hex digits, one a cluster, drawn at the first format
DriveId = NewType("DriveId", str)  # 32 hex digits, one a drive slot's present occupant
Generation = NewType("Generation", str)  # 16 hex digits, new at each format or emptying of a drive
BucketId = NewType(
    "BucketId", str
)  # a bucket's incarnation: 32 hex digits, new at each CreateBucket; "" is the system bucket
DataId = NewType("DataId", str)  # 32 hex digits, one a part's data, never used twice
UploadId = NewType("UploadId", str)  # 48 hex digits: hybrid time, then 128 random bits
VersionId = NewType("VersionId", str)  # NULL_VERSION, or 32 hex digits: hybrid time of creation, then 64 random bits
HybridTime = NewType("HybridTime", int)  # nanoseconds since 1970, bumped so that it never goes back for a key; 63 bits

SYSTEM_BUCKET: Final = BucketId("")
NULL_VERSION: Final = VersionId("")
NO_TIME: Final = HybridTime(0)


def new_data_id(randomness: Randomness) -> DataId:
    return DataId(randomness.token_bytes(16).hex())


def new_generation(randomness: Randomness) -> Generation:
    return Generation(randomness.token_bytes(8).hex())


def new_drive_id(randomness: Randomness) -> DriveId:
    return DriveId(randomness.token_bytes(16).hex())


def new_deployment_id(randomness: Randomness) -> DeploymentId:
    return DeploymentId(randomness.token_bytes(16).hex())


def new_version_id(created: HybridTime, randomness: Randomness) -> VersionId:
    """A version id that carries its creation time, so that a version is found by one seek in a tree ordered by it."""
    return VersionId(f"{created:016x}{randomness.token_bytes(8).hex()}")


def new_bucket_id(created: HybridTime, randomness: Randomness) -> BucketId:
    return BucketId(f"{created:016x}{randomness.token_bytes(8).hex()}")


def new_upload_id(initiated: HybridTime, randomness: Randomness) -> UploadId:
    return UploadId(f"{initiated:016x}{randomness.token_bytes(16).hex()}")


def is_version_id(text: str) -> bool:
    """Whether `text` has the shape that `new_version_id` gives (the null version's shape is "" and not meant here)."""
    return len(text) == 32 and all(digit in "0123456789abcdef" for digit in text) and text < "8"


def created_of(version_id: VersionId) -> HybridTime:
    """The hybrid time that a version id from `new_version_id` carries. Raises ValueError for any other text."""
    if not is_version_id(version_id):
        raise ValueError(f"not a version id of this store: {version_id!r}")
    return HybridTime(int(version_id[:16], 16))
