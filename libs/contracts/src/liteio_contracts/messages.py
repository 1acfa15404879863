"""What travels on the bus, one pydantic model a subject, and what waits for it in the drives' outboxes.

docs/protocols/bus.md shows every message with an example. A reader must ignore fields that it does not know: a version
rises only when a field's meaning changes. Object keys never stand in a subject; where JSON carries one that may be any
bytes, it is percent-encoded.

An *outbox row* is what `Commit.events` holds: one byte that tells the row's kind, then msgpack. It is small and made on
the data path; the wide JSON record that consumers want is made from it when it is published (liteio_bus.events).
"""

import hashlib
from enum import IntEnum, StrEnum
from typing import Annotated, Any, Final, Literal
from urllib.parse import quote, unquote_to_bytes

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from liteio_base.ids import BucketId, HybridTime, VersionId
from liteio_contracts.storage import KeyName
from liteio_formats.record import Kind, Record, Space

# --- outbox rows ------------------------------------------------------------------------------------------------------

EVENT_FACTS: Final = ("principal", "source_ip", "user_agent", "request_id", "region", "origin_endpoint")
"""The names that `event_facts` of a request may hold; each may be missing. All are text."""

_EVENT_METADATA_PREFIX: Final = "x-amz-meta-"


class OutboxKind(IntEnum):
    """The first byte of an outbox row. The numbers reach the disk."""

    OBJECT_CHANGE = 1
    HEAL_TASK = 2


class ObjectChange(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One version that came, or went. Reaches the disk: new fields go last and have defaults.

    `event_name` as S3 has it, with "s3:" ("s3:ObjectCreated:Put"). `version_id` and `time` are the record's own.
    `has_versions`: the bucket knows versions, so that the null version is named too. Sizes in bytes.
    """

    event_name: str
    bucket: str
    bucket_id: BucketId
    key: bytes
    version_id: VersionId
    time: HybridTime
    modified_ns: int
    has_versions: bool = False
    size_bytes: int = 0
    etag: str = ""
    metadata: dict[str, str] = {}
    facts: dict[str, str] = {}

    @property
    def event_id(self) -> str:
        """The same for every copy of this row, on whichever drive, and for no other change."""
        return f"{self.version_id or 'null'}-{self.time:016x}-{_key_hash(self.key_name)}"

    @property
    def key_name(self) -> KeyName:
        return KeyName(Space.OBJECT, self.bucket_id, self.key)


def object_change(
    record: Record, *, event_name: str, bucket: str, has_versions: bool, facts: dict[str, str]
) -> ObjectChange:
    """The change that committing `record` makes. Only what event records show is taken of its metadata."""
    is_value = record.kind is Kind.VALUE
    shown = {
        name: value
        for name, value in record.metadata.items()
        if name == "content-type" or name.startswith(_EVENT_METADATA_PREFIX)
    }
    return ObjectChange(
        event_name=event_name,
        bucket=bucket,
        bucket_id=record.bucket_id,
        key=record.key,
        version_id=record.version_id,
        time=record.time,
        modified_ns=record.modified_ns,
        has_versions=has_versions,
        size_bytes=record.size_bytes if is_value else 0,
        etag=record.etag if is_value else "",
        metadata=shown if is_value else {},
        facts=facts,
    )


class OutboxRowError(ValueError):
    """These bytes are no outbox row that this version can read."""


_packer: Final = msgspec.msgpack.Encoder()
_change_decoder: Final = msgspec.msgpack.Decoder(ObjectChange)


def encode_outbox_row(message: "ObjectChange | HealTask") -> bytes:
    """What `Commit.events` takes."""
    if isinstance(message, ObjectChange):
        return bytes((OutboxKind.OBJECT_CHANGE,)) + _packer.encode(message)
    return bytes((OutboxKind.HEAL_TASK,)) + message.model_dump_json().encode()


def decode_outbox_row(payload: bytes) -> "ObjectChange | HealTask":
    """Raises OutboxRowError for an unknown kind or a wrong shape."""
    try:
        kind = OutboxKind(payload[0])
        if kind is OutboxKind.OBJECT_CHANGE:
            return _change_decoder.decode(payload[1:])
        return HealTask.model_validate_json(payload[1:])
    except (IndexError, ValueError, msgspec.DecodeError) as problem:
        raise OutboxRowError(f"not an outbox row: {problem}") from problem


# --- messages ---------------------------------------------------------------------------------------------------------


class BusMessage(BaseModel):
    """What every message of ours has. S3 event records are the exception: their shape is not ours."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    version: Literal[1] = 1


class HealReason(StrEnum):
    """Why an object needs a look."""

    MISSED_WRITE = "missed-write"  # some drives did not take a commit
    BAD_SHARD = "bad-shard"  # a read found a shard missing or wrong
    DRIVES_DIFFER = "drives-differ"  # drives disagree on the key's versions
    UNSETTLED = "unsettled"  # a version was left between commit and confirm


class HealTask(BusMessage):
    """liteio.v1.mrf.<set>.<object>: one object to settle and repair. A hint: the scanner finds it as well."""

    set_index: Annotated[int, Field(ge=0)]
    space: Space = Space.OBJECT
    bucket_id: BucketId
    key_quoted: str
    """The key, percent-encoded."""
    version_id: VersionId | None = None
    """None: all versions of the key."""
    reason: HealReason

    @classmethod
    def for_key(
        cls, set_index: int, name: KeyName, reason: HealReason, version_id: VersionId | None = None
    ) -> "HealTask":
        return cls(
            set_index=set_index,
            space=name.space,
            bucket_id=name.bucket_id,
            key_quoted=quote(name.key),
            version_id=version_id,
            reason=reason,
        )

    @property
    def name(self) -> KeyName:
        return KeyName(self.space, self.bucket_id, unquote_to_bytes(self.key_quoted))

    @property
    def object_token(self) -> str:
        """16 hex digits that stand for the key in a subject: a second task for it is recognised by them."""
        return _key_hash(self.name)


class DeadHealTask(BusMessage):
    """liteio.v1.mrf-dead.<set>.<object>: a task that was given up. Kept until it is queued again, or for a month."""

    task: HealTask
    attempts: int
    problems: tuple[str, ...] = ()
    """What the last attempt said."""
    given_up_ns: int
    """Wall clock, nanoseconds since 1970."""


class BucketChanged(BusMessage):
    """liteio.v1.bucket.<name>.changed: reload the bucket's configuration. `number` 0: the bucket was deleted."""

    bucket: str
    bucket_id: BucketId
    number: int


class DriveStateChanged(BusMessage):
    """liteio.v1.drive.<id>.state: a drive's state as DriveState names it, and why."""

    drive_id: str
    slot: int
    state: str
    reason: str = ""


class GatewayStatus(BusMessage):
    """The answer to liteio.v1.ctl.gateway.status: one gateway process as it is now."""

    host: str
    pid: int
    release: str
    """The version of liteio."""
    deployment_id: str
    worker: int
    is_ready: bool
    """Whether every set has a write quorum of drives, as this process sees it."""
    topology: int
    """The number of the topology that it acts on; 0 on one machine."""
    nodes: dict[str, str]
    """Storage nodes by URL: "up" or "down". Empty on one machine."""
    repairs_waiting: int
    """Keys that it found wanting and will repair itself, because the bus did not take them."""


class UnhealedKey(BaseModel):
    """A key that is not whole after a repair, and why."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    set_index: int
    space: Space = Space.OBJECT
    bucket_id: BucketId
    key_quoted: str
    """The key, percent-encoded."""
    waits_for_drives: bool
    """More can be done when drives are back or take data again."""
    problems: tuple[str, ...] = ()

    @classmethod
    def for_key(
        cls, set_index: int, name: KeyName, *, waits_for_drives: bool, problems: tuple[str, ...]
    ) -> "UnhealedKey":
        return cls(
            set_index=set_index,
            space=name.space,
            bucket_id=name.bucket_id,
            key_quoted=quote(name.key),
            waits_for_drives=waits_for_drives,
            problems=problems,
        )


class ScanStatus(BaseModel):
    """A scan of one set, under way or the last one. `is_deep`: it reads and hashes every shard; `rows`: compared, or
    versions read; `seconds`: since its beginning, or that it took."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    set_index: int
    is_deep: bool = False
    began_ns: int
    """Wall clock, nanoseconds since 1970."""
    seconds: float
    is_done: bool
    rows: int = 0
    rows_total: int = 0
    """Of a deep scan: about how many there are."""
    bytes_read: int = 0
    """Of a deep scan, on all drives together."""
    keys_differing: int = 0
    files: int = 0
    """Shard files that drives looked for, all drives together."""
    files_missing: int = 0
    healed: int = 0
    unhealed: int = 0


class RebuildStatus(BaseModel):
    """The rebuild of a drive. Versions and bytes of objects; totals are another drive's, rates a second."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    set_index: int
    slot: int
    drive_id: str
    versions_done: int
    versions_total: int
    bytes_done: int
    bytes_total: int
    rate_versions: float
    rate_bytes: float
    eta_seconds: float | None
    """None while nothing can be said."""
    is_resumed: bool
    """It goes on where an earlier process stopped."""


class HealerStatus(BusMessage):
    """liteio.v1.heal.status, and the answer to liteio.v1.ctl.healer.status: what one healer does now."""

    host: str
    pid: int
    release: str
    """The version of liteio."""
    deployment_id: str
    time_ns: int
    """When it was so: wall clock, nanoseconds since 1970."""
    is_yielding: bool
    """Clients are busy, and healing takes only `share` of the time."""
    share: float
    client_calls: float
    """Calls for clients a second, on the busiest drive."""
    duties: tuple[str, ...]
    """The loops that this healer has, by name and set: "scan 0"."""
    repairing: int
    """Reported objects in hand."""
    queue_length: int | None = None
    """Reported objects that wait or are in anybody's hand; None while the bus does not tell."""
    dead_letters: int | None = None
    """Reported objects that were given up, by anybody."""
    left_for_scan: int = 0
    """Reported objects left, since the start, for the scan that follows a drive's return."""
    objects_healed: int = 0
    """Since the start: objects of which shards or records were made again. Those of rebuilds are counted there."""
    bytes_healed: int = 0
    """Since the start: bytes of the shards made again."""
    rate_objects: float = 0.0
    """Objects a second, lately."""
    rate_bytes: float = 0.0
    rebuilds: tuple[RebuildStatus, ...] = ()
    scans: tuple[ScanStatus, ...] = ()
    unhealed: tuple[UnhealedKey, ...] = ()
    """The first of what the last scans could not make whole."""


class S3EventMessage(BaseModel):
    """liteio.v1.events.<bucket>.<group>.<name>: the S3 event record, in the envelope that MinIO's consumers know.

    `records` holds one record of S3's event message structure 2.0; the names inside are S3's.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True)

    event_name: str = Field(alias="EventName")
    key: str = Field(alias="Key")
    """Bucket, "/", key as it is."""
    records: tuple[dict[str, Any], ...] = Field(alias="Records")


def _key_hash(name: KeyName) -> str:
    whole = b"\x00".join((str(int(name.space)).encode(), name.bucket_id.encode(), name.key))
    return hashlib.blake2b(whole, digest_size=8).hexdigest()
