"""ObjectLayer: buckets, objects, versions, uploads and listings over the drives, without a word of HTTP.

Keys are `str` (valid Unicode, 1 to 1,024 bytes in UTF-8, checked by the caller). Version ids are as liteio_base.ids has
them: "" is the null version (S3's "null"); None asks for the latest. Times are nanoseconds since 1970. Metadata names
are lower-case HTTP header names ("content-type", "x-amz-meta-colour"). The object layer does not hash content: a
`Body` does that while it is read, and gives the facts at its end.
"""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from liteio_base.byte_span import ByteSpan
from liteio_base.deadline import Deadline
from liteio_base.ids import BucketId, UploadId, VersionId
from liteio_formats.bodies import Versioning
from liteio_formats.record import StoredChecksum

# --- values -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class BodyFacts:
    """What is known of a body once it was read to its end. `etag` without quotes."""

    etag: str
    checksum: StoredChecksum | None = None


class Body(Protocol):
    """The bytes of one PUT or one part, checked while they stream. Iterating raises when the client breaks off or a
    declared length, hash or signature does not match; nothing is committed then."""

    @property
    def size_bytes(self) -> int | None:
        """The declared length, None when the client did not say."""

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    def facts(self) -> BodyFacts:
        """After the last byte only."""


@dataclass(frozen=True, slots=True)
class BucketInfo:
    name: str
    bucket_id: BucketId
    number: int
    created_ns: int
    region: str
    owner: str
    versioning: Versioning
    tags: str  # url-encoded pairs, "" when none were set
    has_events: bool


@dataclass(frozen=True, slots=True)
class PartInfo:
    number: int
    size_bytes: int
    etag: str
    checksum: str = ""  # base64 in the upload's algorithm
    modified_ns: int = 0


class ObjectInfo(msgspec.Struct, frozen=True, gc=False):
    """One version of an object, or a delete marker. `parts` is empty unless the object came from a multipart upload."""

    bucket: str
    key: str
    version_id: VersionId
    is_latest: bool
    is_delete_marker: bool
    modified_ns: int
    size_bytes: int
    etag: str
    metadata: Mapping[str, str] = {}
    tags: str = ""
    checksum: StoredChecksum | None = None
    parts: tuple[PartInfo, ...] = ()
    is_versioned: bool = False  # the bucket's versioning was ever set: S3 then names the null version too


@dataclass(frozen=True, slots=True)
class UploadInfo:
    bucket: str
    key: str
    upload_id: UploadId
    initiated_ns: int
    owner: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: str = ""
    checksum_algorithm: str = ""
    checksum_kind: str = ""


@dataclass(frozen=True, slots=True)
class WriteCondition:
    """Holds for the latest version at the moment of the commit. A delete marker counts as absent.

    if_absent: If-None-Match: *. if_etag: If-Match with this ETag, unquoted, or "*" for any existing object.
    """

    if_absent: bool = False
    if_etag: str | None = None


UNCONDITIONAL = WriteCondition()

# --- requests ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class ReadObject:
    bucket: str
    key: str
    version_id: VersionId | None = None


@dataclass(frozen=True, slots=True)
class PutObject:
    bucket: str
    key: str
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: str = ""
    condition: WriteCondition = UNCONDITIONAL
    # caller, source address, request id: for event records
    event_facts: Mapping[str, str] = field(default_factory=dict)
    event_name: str = "s3:ObjectCreated:Put"


@dataclass(frozen=True, slots=True)
class LinkObject:
    """Name the data of `source` (exactly the version that `source_info` describes) under another key, or the same."""

    source: ReadObject
    source_info: ObjectInfo
    target: PutObject


@dataclass(frozen=True, slots=True)
class DeleteObject:
    """version_id None: S3's simple delete (removes, or adds a delete marker). Given: remove exactly that version."""

    bucket: str
    key: str
    version_id: VersionId | None = None
    condition: WriteCondition = UNCONDITIONAL
    event_facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DeleteResult:
    """version_id: of the delete marker that was added or removed, or of the version removed; None when unversioned."""

    is_delete_marker: bool
    version_id: VersionId | None


@dataclass(frozen=True, slots=True)
class SetTags:
    bucket: str
    key: str
    version_id: VersionId | None
    tags: str


@dataclass(frozen=True, slots=True)
class CreateBucket:
    name: str
    owner: str
    region: str = ""


@dataclass(frozen=True, slots=True)
class BucketChange:
    """What to change of a bucket's configuration; None leaves a thing as it is."""

    versioning: Versioning | None = None
    tags: str | None = None
    has_events: bool | None = None


@dataclass(frozen=True, slots=True)
class CreateUpload:
    bucket: str
    key: str
    owner: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: str = ""
    checksum_algorithm: str = ""
    checksum_kind: str = ""


@dataclass(frozen=True, slots=True)
class UploadName:
    bucket: str
    key: str
    upload_id: UploadId


@dataclass(frozen=True, slots=True)
class PutPart:
    upload: UploadName
    number: int


@dataclass(frozen=True, slots=True)
class NamedPart:
    """A part as CompleteMultipartUpload names it; `checksum` "" when the client gave none."""

    number: int
    etag: str
    checksum: str = ""


@dataclass(frozen=True, slots=True)
class CompleteUpload:
    """`summarise` gives the object's ETag and checksum from the parts as stored (in the order named), and may raise to
    refuse them; nothing is written then. Parts but the last must have at least `part_bytes_min` bytes."""

    upload: UploadName
    parts: Sequence[NamedPart]
    summarise: Callable[[UploadInfo, Sequence[PartInfo]], BodyFacts]
    condition: WriteCondition = UNCONDITIONAL
    part_bytes_min: int = 5 * 1024 * 1024
    event_facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ListObjects:
    """Keys after `after` (exclusive; a common prefix as `after` skips all below it), at most `limit`
    keys and prefixes."""

    bucket: str
    prefix: str = ""
    delimiter: str = ""
    after: str = ""
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class ObjectPage:
    """`next_after`: the last key or common prefix given, when `is_truncated`."""

    objects: Sequence[ObjectInfo]
    prefixes: Sequence[str]
    is_truncated: bool
    next_after: str = ""


@dataclass(frozen=True, slots=True)
class ListVersions:
    """Behind version `after_version_id` of key `after`; None skips the rest of that key."""

    bucket: str
    prefix: str = ""
    delimiter: str = ""
    after: str = ""
    after_version_id: VersionId | None = None
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class VersionPage:
    versions: Sequence[ObjectInfo]
    prefixes: Sequence[str]
    is_truncated: bool
    next_after: str = ""
    next_version_id: VersionId | None = None  # None when the page ended in a common prefix


@dataclass(frozen=True, slots=True)
class ListUploads:
    """Behind upload `after_upload_id` of key `after`; "" skips that key."""

    bucket: str
    prefix: str = ""
    delimiter: str = ""
    after: str = ""
    after_upload_id: str = ""
    limit: int = 1000


@dataclass(frozen=True, slots=True)
class UploadPage:
    uploads: Sequence[UploadInfo]
    prefixes: Sequence[str]
    is_truncated: bool
    next_after: str = ""
    next_upload_id: str = ""


@dataclass(frozen=True, slots=True)
class PartPage:
    upload: UploadInfo
    parts: Sequence[PartInfo]
    is_truncated: bool
    next_number: int = 0


@dataclass(frozen=True, slots=True)
class UsageInfo:
    """Exact when the drives have nothing unsettled (`is_exact`)."""

    objects: int
    versions: int
    delete_markers: int
    size_bytes: int
    is_exact: bool


# --- roles ------------------------------------------------------------------------------------------------------------


class ObjectReader(Protocol):
    """An object that is open: what it is, and its bytes, even if it is replaced meanwhile."""

    @property
    def info(self) -> ObjectInfo: ...

    def read(self, span: ByteSpan) -> AsyncIterator[bytes]:
        """Exactly the bytes of `span`, in chunks of at most 4 MiB, each verified. Raises ReadQuorumLost midway when too
        few good shards are left: the caller must then break its connection, never end it cleanly."""

    async def close(self) -> None: ...


class ObjectReads(Protocol):
    async def head(self, request: ReadObject, *, deadline: Deadline) -> ObjectInfo:
        """Raises BucketMissing, ObjectMissing, VersionMissing, DeleteMarkerFound, ReadQuorumLost."""

    async def open(self, request: ReadObject, *, deadline: Deadline) -> ObjectReader:
        """As `head`, with the bytes behind it."""


class ObjectWrites(Protocol):
    async def put(self, request: PutObject, body: Body, *, deadline: Deadline) -> ObjectInfo:
        """Raises BucketMissing, PreconditionFailed, ConditionalConflict, WriteQuorumLost, ReadQuorumLost, StoreFull,
        OperationTimeout, and whatever `body` raises. `deadline` bounds each wait for drives and locks, not the
        client."""

    async def link(self, request: LinkObject, *, deadline: Deadline) -> ObjectInfo:
        """Copy without copying. Raises NotLinkable when source and target do not lie on the same drives or the source
        has changed; else as `put`. Keeps ETag, parts and checksum."""

    async def delete(self, request: DeleteObject, *, deadline: Deadline) -> DeleteResult:
        """Deleting what is not there is a success. Raises as `put`, and ObjectMissing only for a failed if_etag."""

    async def delete_all(
        self, requests: Sequence[DeleteObject], *, deadline: Deadline
    ) -> Sequence[DeleteResult | Exception]:
        """Several of one bucket, each as by `delete`, whatever becomes of the others: its result, or in its place what
        it raised. They take effect in no certain order."""

    async def set_tags(self, request: SetTags, *, deadline: Deadline) -> ObjectInfo: ...


class Buckets(Protocol):
    async def create_bucket(self, request: CreateBucket, *, deadline: Deadline) -> BucketInfo:
        """Raises BucketExists, WriteQuorumLost."""

    async def bucket(self, name: str, *, deadline: Deadline) -> BucketInfo:
        """Raises BucketMissing, ReadQuorumLost."""

    async def change_bucket(self, name: str, change: BucketChange, *, deadline: Deadline) -> BucketInfo: ...

    async def delete_bucket(self, name: str, *, deadline: Deadline) -> None:
        """Raises BucketMissing, BucketNotEmpty, WriteQuorumLost."""

    async def list_buckets(self, *, deadline: Deadline) -> Sequence[BucketInfo]:
        """All buckets by name."""

    async def usage(self, name: str, *, deadline: Deadline) -> UsageInfo: ...


class Multipart(Protocol):
    async def create_upload(self, request: CreateUpload, *, deadline: Deadline) -> UploadInfo: ...

    async def upload(self, name: UploadName, *, deadline: Deadline) -> UploadInfo:
        """An open upload. Raises UploadMissing."""

    async def put_part(self, request: PutPart, body: Body, *, deadline: Deadline) -> PartInfo: ...

    async def complete_upload(self, request: CompleteUpload, *, deadline: Deadline) -> ObjectInfo:
        """Idempotent: repeated within a week it gives the same version and ETag and writes nothing.
        Raises UploadMissing, PartRejected, and as `put`."""

    async def abort_upload(self, name: UploadName, *, deadline: Deadline) -> None:
        """Raises UploadMissing."""

    async def list_parts(self, name: UploadName, after_number: int, limit: int, *, deadline: Deadline) -> PartPage: ...

    async def list_uploads(self, request: ListUploads, *, deadline: Deadline) -> UploadPage: ...


class Listing(Protocol):
    async def list_objects(self, request: ListObjects, *, deadline: Deadline) -> ObjectPage: ...

    async def list_versions(self, request: ListVersions, *, deadline: Deadline) -> VersionPage: ...


@dataclass(frozen=True, slots=True)
class HealResult:
    """`shards_total`/`shards_good` counted raw after the repair; `is_whole` only when N of N verify
    and all is settled. `waits_for_drives`: not whole, while drives are away or take nothing: more can only be done when
    they are back. `bytes_read`: by each drive, to verify shards. `holders`: the slots of the drives that surely hold
    the newest record of each of its versions; `given`: of those that had lacked one."""

    is_whole: bool
    shards_total: int
    shards_good: int
    rewritten: int
    problems: tuple[str, ...] = ()
    waits_for_drives: bool = False
    bytes_read: int = 0
    holders: frozenset[int] = frozenset()
    given: frozenset[int] = frozenset()


class ObjectLayer(ObjectReads, ObjectWrites, Buckets, Multipart, Listing, Protocol):
    """All of it. A handler asks for the role it uses."""

    async def drives_ready(self, *, deadline: Deadline) -> bool:
        """Whether every set has a write quorum of drives that answer."""
