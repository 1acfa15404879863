"""StorageAPI: one drive, near or far. The value types here cross the wire between gateway and storage node as msgpack.

A drive holds, for each key: *rows* (records, newest first), *unsettled marks* on rows not yet confirmed, *tombstones*,
and *fences* (versions it has promised to refuse). docs/protocols/commit.md says how drives are weighed; a drive only
executes the transactions below, each all or nothing and durable when it answers.
"""

from collections.abc import Awaitable, Sequence
from enum import IntEnum, StrEnum
from typing import Annotated, Final, NamedTuple, Protocol

import msgspec

from liteio_base.deadline import Deadline
from liteio_base.ids import BucketId, DataId, DriveId, Generation, HybridTime, VersionId
from liteio_formats.record import Kind, Space


class KeyName(NamedTuple):
    """A key in one space of one bucket. Sorts as drives sort."""

    space: Space
    bucket_id: BucketId
    key: bytes


class Entry(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One row or tombstone as a drive holds it. `digest` is the encoded record's own
    (liteio_formats.record.digest_of)."""

    version_id: VersionId
    created: HybridTime
    time: HybridTime
    kind: Kind
    is_settled: bool
    digest: bytes
    encoded: bytes
    payload: bytes | None = None  # this drive's shard of an inline object, when it was asked for
    payload_hash: bytes = b""  # liteio_erasure.bitrot hash of that shard, as stored

    @property
    def is_tombstone(self) -> bool:
        return self.kind is Kind.TOMBSTONE


class Fence(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A promise to refuse the record of `version_id` committed at `time`."""

    version_id: VersionId
    time: HybridTime


class KeyQuery(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What to read of a key.

    version_ids None: the *head*: rows newest created first, down to and including the first settled row whose `created`
    is below `below`, and every unsettled tombstone. This is what a healthy read needs, and one seek.
    version_ids given: those *registers* whole: all rows, tombstones (settled too) and fences of exactly these versions.
    """

    name: KeyName
    version_ids: tuple[VersionId, ...] | None = None
    below: HybridTime = HybridTime(2**63 - 1)
    wants_payload: bool = False


class KeyAnswer(msgspec.Struct, frozen=True, array_like=True):
    """A drive's answer about a key, from one moment. `head_time`: the newest created or tombstone time it holds of the
    key in any version, 0 when it holds nothing. `topology_number`: of the topology that the drive keeps.
    `is_unchecked`: of the drive, as in DriveStatus."""

    generation: Generation
    is_authoritative: bool
    head_time: HybridTime
    entries: tuple[Entry, ...] = ()
    fences: tuple[Fence, ...] = ()
    topology_number: int = 0
    is_unchecked: bool = False


class CasScope(IntEnum):
    """What must not be newer than the base: anything of the key, or only the rows and tombstones of the version."""

    KEY = 0
    VERSION = 1


class RowCommit(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record to add. A TOMBSTONE is added to the tombstones and hides its version at once (rows go at confirm)."""

    encoded: bytes
    scope: CasScope = CasScope.KEY
    base: HybridTime = HybridTime(0)
    shard_index: int = 0
    payload: bytes | None = None
    payload_hash: bytes = b""


class Commit(msgspec.Struct, frozen=True, array_like=True):
    """Rows to add in one transaction, all or none.

    generation: the drive's own as the writer read it; None when settling (nothing was promised about it).
    is_unread: the writer has not read the key. Only an authoritative drive takes it, others raise NotAuthoritative:
    that they hold nothing newer than the base does not say that nothing newer was ever given to them. A tombstone is
    refused (NothingHeld) where its version is not there, or is hidden by another one.
    bucket_number: the configuration the writer acted on; None when settling. The drive refuses (StaleBucket) when it
    holds a newer one, does not know the bucket, or the bucket is closing. Never checked for Space.BUCKET.
    A BUCKET record that says closing is refused (BucketHoldsObjects) where the bucket has an object, unless settling:
    what
    other drives took must not stay in doubt for ever, and a bucket found closing is opened again.
    requires: a key whose newest row must be a VALUE (a part's upload that is OPEN), else RequirementMissing.
    lifts_fences: PROTOCOL R7: the version was seen committed, so a fence against it is void and removed.
    already held rows are a yes; the payload that comes with one takes the place of the one stored (a repair). A data id
    that a row names must have been staged on this drive with the length that the
    record implies (parts of 0 bytes have none), else ShardMissing and nothing is written (checked inside the
    transaction; not for inline rows).
    events: outbox payloads, kept until `outbox_done`.
    topology_number: of the topology by which the writer looked for the key; None when settling. The drive refuses
    (StaleTopology) when it keeps a newer one.
    """

    rows: tuple[RowCommit, ...]
    generation: Generation | None = None
    bucket_number: int | None = None
    requires: KeyName | None = None
    lifts_fences: bool = False
    events: tuple[bytes, ...] = ()
    is_unread: bool = False
    topology_number: int | None = None


class VersionRef(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One record: this version id of this key, committed at this time."""

    name: KeyName
    version_id: VersionId
    time: HybridTime


class FenceRequest(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """PROTOCOL R1: do you hold it? If not, refuse it from now on. `named_generation`: this drive's generation as the
    version's record names it ("" for none): a drive that is not authoritative fences only if that is its own or
    none."""

    ref: VersionRef
    base: HybridTime
    named_generation: Generation


class FenceAnswer(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """is_held: the drive holds the row (not fenced). is_fenced: it does not, may vouch for that, and will refuse it."""

    is_held: bool
    is_fenced: bool


class ShardRef(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One drive's shard of one part."""

    data_id: DataId
    part_number: int
    shard_index: int


class ShardFacts(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a shard file says of itself in its footer."""

    ref: ShardRef
    k: int
    m: int
    part_size_bytes: int
    hashes: tuple[bytes, ...]  # one a block


class ListMode(IntEnum):
    LATEST = 0  # one item a key, delete markers passed by
    VERSIONS = 1  # one item a row


class ListQuery(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """One page of one space of a bucket, in key order (VERSIONS: newest created first within a key).

    Begins at keys ≥ prefix and > `after` (or ≥ `after` when `is_after_inclusive`). In VERSIONS mode `after_created` and
    `after_version_id` name the row of key `after` behind which to go on; None skips the rest of that key.
    """

    space: Space
    bucket_id: BucketId
    mode: ListMode = ListMode.LATEST
    prefix: bytes = b""
    after: bytes = b""
    is_after_inclusive: bool = False
    after_created: HybridTime | None = None
    after_version_id: VersionId = VersionId("")
    delimiter: bytes = b""
    limit: int = 1000


class ListItem(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A key's head (LATEST), a row (VERSIONS), or a common prefix.

    entry None with is_prefix False: the drive holds something unsettled for `key` that decides: ask all drives.
    is_ambiguous: the key holds unsettled rows or tombstones besides `entry`. In VERSIONS mode a key with unsettled
    tombstones is ambiguous on every one of its items.
    For a prefix, `key` is the prefix and `entry` the head of the first live key under it.
    Entries carry no payload and no hash of one: what drives hold alike, they show alike.
    """

    key: bytes
    is_prefix: bool = False
    entry: Entry | None = None
    is_ambiguous: bool = False


class ListPage(msgspec.Struct, frozen=True, array_like=True):
    """`is_truncated`: there may be more behind the last item. An untruncated page is whole up to the
    end of the prefix. `is_unchecked`: of the drive, as in DriveStatus."""

    generation: Generation
    is_authoritative: bool
    items: tuple[ListItem, ...]
    is_truncated: bool
    is_unchecked: bool = False


class BucketUsage(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Exact at every commit, of this drive's rows: live objects (keys whose newest row is a VALUE), all VALUE rows,
    delete
    markers, and the sum of the VALUE rows' object sizes in bytes (not shard sizes)."""

    objects: int = 0
    versions: int = 0
    delete_markers: int = 0
    size_bytes: int = 0
    unsettled: int = 0


class DriveState(StrEnum):
    ONLINE = "online"
    READ_ONLY = "read-only"
    FULL = "full"
    SLOW = "slow"
    CORRUPT = "corrupt"
    OFFLINE = "offline"


TAKES_WRITES: Final = frozenset({DriveState.ONLINE, DriveState.SLOW})
"""The states in which a drive takes new data."""


class DriveStatus(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """versions: objects' versions held, delete markers included; stored_bytes: of these objects, not of their shards.
    client_calls: made for clients by all processes that have the drive open, since one of them opened it; it grows.
    unchecked_boot: not "" while the drive is *unchecked*: its machine has restarted, and the drive was not compared
    with the others since. It may have lost what it had answered for, if its disk lies about its syncs. Names the start.
    """

    drive_id: DriveId
    slot: int
    state: DriveState
    reason: str = ""
    generation: Generation
    is_authoritative: bool
    total_bytes: int = 0
    free_bytes: int = 0
    unsettled: int = 0
    outbox: int = 0
    versions: int = 0
    stored_bytes: int = 0
    client_calls: int = 0
    unchecked_boot: str = ""

    @property
    def is_unchecked(self) -> bool:
        return bool(self.unchecked_boot)


class OutboxRow(msgspec.Struct, frozen=True, array_like=True, gc=False):
    number: int
    queued_ns: int
    payload: bytes


class StoredTopology(msgspec.Struct, frozen=True, array_like=True):
    """The topology record as a drive keeps it: the newest that it was given. number 0: none yet, and `encoded` is
    empty.

    encoded: liteio_formats.topology. is_active: somebody has seen that enough drives keep it (docs/formats/topology.md,
    "Changes"), so nobody need count them again.
    """

    number: int = 0
    encoded: bytes = b""
    is_active: bool = False


class RangeDigest(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One range: behind the one before it, up to and including `until` (None: to the end of what was asked).

    `count`: records, tombstones and marks in it. `digest`: equal where all of them are.
    """

    until: KeyName | None
    count: int
    digest: bytes


RANGES_MAX: Final = 1024  # in a DigestAnswer, and bounds in a query


class DigestQuery(msgspec.Struct, frozen=True, array_like=True, kw_only=True):
    """Digests of the keys behind `after` (None: from the first) up to and including `until` (None: to the last).

    Cut behind each of `bounds`, which lie between the two, in order; or, without bounds, behind the key at which
    `rows` records or more have been counted: 1 gives each key a range of its own.
    tombstones_after: settled tombstones that are not newer are left out: drives forget old ones at their own times.
    """

    after: KeyName | None = None
    until: KeyName | None = None
    bounds: Annotated[tuple[KeyName, ...], msgspec.Meta(max_length=RANGES_MAX)] = ()
    rows: Annotated[int, msgspec.Meta(ge=1)] = 2048
    tombstones_after: HybridTime = HybridTime(0)


class DigestAnswer(msgspec.Struct, frozen=True, array_like=True):
    """Ranges from `after` on, without a gap. They may end early, then behind the last one's `until`: ask on from there.
    At least one. The last of all ends at the query's `until`. Not of one moment: what changes meanwhile may be seen in
    part."""

    generation: Generation
    is_authoritative: bool
    ranges: tuple[RangeDigest, ...]


class MissingShards(msgspec.Struct, frozen=True, array_like=True):
    """A stretch of a drive's look at its own shard files. `names`: keys of which a row names a file that is not there,
    or is not as long as the record implies. `reached`: where to go on; None at the end. `looked_at`: files in the
    stretch."""

    names: tuple[KeyName, ...]
    reached: KeyName | None
    looked_at: int


class ShardWriter(Protocol):
    """A shard file being written. Nothing names it until a commit does; `close` makes it durable, `abort` removes it.
    One of the two is always called. Left behind by a crash it is garbage and collected."""

    async def write(self, shards: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        """Append the shards of the next blocks with their hashes. Returns when more may be sent (bounded buffering). A
        block that is not what its hash says may have been spoilt on its way: a drive that is far refuses it with
        DriveUnavailable, here or at `close`."""

    async def close(self, facts_k: int, facts_m: int, part_size_bytes: int) -> None:
        """Write the footer, sync data and directory entry. Raises DriveUnavailable."""

    async def abort(self) -> None:
        """Give up; never raises for a drive in trouble."""


class ShardReader(Protocol):
    """An open shard. The file may be unlinked meanwhile; the descriptor keeps the bytes."""

    @property
    def hashes(self) -> Sequence[bytes]:
        """The stored hash of each block asked for, in order. The caller verifies: once, where the bytes are decoded."""

    @property
    def ahead(self) -> int:
        """How many of the next blocks are here already: `read` gives so many without waiting."""

    async def read(self, count: int) -> Sequence[bytes]:
        """The shards of the next `count` blocks, fewer at the end of the span. Raises ShardCorrupt when the file is
        short.
        """

    async def close(self) -> None: ...


class StorageAPI(Protocol):
    """One drive. Callers never learn whether it is local or one hop away.

    Every method may raise DriveUnavailable, when it is awaited: what every request needs returns an Awaitable, so that
    a drive of this process need not be a coroutine for it. A drive that can not be asked is never the same as one that
    holds nothing.
    """

    @property
    def drive_id(self) -> DriveId: ...

    @property
    def slot(self) -> int:
        """The drive's place in its set, which records' `order` and `generations` count by."""

    @property
    def is_likely_slow(self) -> bool:
        """A hint from what the drive or its node knows of itself (offline, damaged): ask others first, wait for it
        last. Whether it is slow beside its siblings is for who asks them all (liteio_objects.pace)."""

    async def status(self, *, deadline: Deadline) -> DriveStatus: ...

    def read_key(self, query: KeyQuery, *, deadline: Deadline) -> Awaitable[KeyAnswer]:
        """Raises RecordCorrupt when the index is damaged there."""

    def list_page(self, query: ListQuery, *, deadline: Deadline) -> Awaitable[ListPage]: ...

    def commit(self, commit: Commit, *, deadline: Deadline) -> Awaitable[None]:
        """Durable when it returns. Raises CommitRefused (nothing written), ShardMissing, or
        DriveUnavailable (unknown)."""

    async def confirm(self, refs: Sequence[VersionRef], *, deadline: Deadline) -> None:
        """PROTOCOL R8, for each ref whose row is held here: clear unsettled marks of that version id up to its time,
        delete
        rows and tombstones of the version id older than it, and, for a tombstone, the version's rows; delete fences of
        the version id whose base is below its time. Settling an UPLOAD that is COMPLETED or tombstoned also deletes its
        PART rows; of a BUCKET tombstone, everything that is left of the bucket. Not synced on its own, may be lost."""

    async def fence(self, request: FenceRequest, *, deadline: Deadline) -> FenceAnswer: ...

    async def roll_back(self, ref: VersionRef, *, deadline: Deadline) -> None:
        """Delete a row found dead. A row whose unsettled mark is gone is kept."""

    async def create_shard(self, ref: ShardRef, *, size_hint: int, deadline: Deadline) -> ShardWriter:
        """Begin a shard file; at `close` it takes the place of one of the same ref at once (a repair). Raises
        DriveFull. `size_hint` is the expected shard file's bytes, 0 when unknown."""

    async def open_shard(self, ref: ShardRef, first_block: int, block_count: int, *, deadline: Deadline) -> ShardReader:
        """Open and check the footer. Raises ShardMissing, ShardCorrupt (a footer that is damaged or
        another shard's)."""

    async def shard_facts(self, ref: ShardRef, *, verify: bool, deadline: Deadline) -> ShardFacts:
        """The footer; with `verify`, every block was read and hashed. Raises ShardMissing, ShardCorrupt."""

    async def walk(self, after: KeyName | None, limit: int, *, deadline: Deadline) -> Sequence[KeyName]:
        """Distinct keys of all spaces and buckets with rows or tombstones, in order, behind `after`: for census and
        rebuild.
        """

    async def range_digests(self, query: DigestQuery, *, deadline: Deadline) -> DigestAnswer:
        """What the drive holds, as digests over ranges of keys (liteio_contracts.range_digest says of what). Takes long
        for many rows, and lets other calls pass meanwhile."""

    async def missing_shards(self, after: KeyName | None, limit: int, *, deadline: Deadline) -> MissingShards:
        """Compare the rows of the keys behind `after`, about `limit` of them, with the files that they name: whether
        they are there and how long they are, not what they hold. A file that is replaced meanwhile may be told as
        missing."""

    async def key_versions(self, name: KeyName, *, deadline: Deadline) -> Sequence[VersionId]:
        """Every version id of which this drive holds a row, a tombstone or a fence."""

    async def unsettled(self, older_than_ns: int, limit: int, *, deadline: Deadline) -> Sequence[VersionRef]:
        """Records whose mark was set before `older_than_ns` on this drive's wall clock, oldest first; then those of a
        time that is still to come: the clock was stepped back since."""

    async def outbox(self, older_than_ns: int, limit: int, *, deadline: Deadline) -> Sequence[OutboxRow]: ...

    async def outbox_done(self, numbers: Sequence[int], *, deadline: Deadline) -> None: ...

    async def bucket_usage(self, bucket_id: BucketId, *, deadline: Deadline) -> BucketUsage: ...

    async def collect_garbage(self, *, deadline: Deadline) -> int:
        """Remove shard files that no row names and whose writer is gone or has left them for longer than the grace,
        expired tombstones and fences. Returns how many files.
        Does nothing while the drive is not authoritative."""

    async def set_authoritative(self, generation: Generation, *, deadline: Deadline) -> None:
        """The rebuild of the drive with this generation is done. Raises GenerationChanged."""

    async def set_checked(self, boot: str, *, deadline: Deadline) -> None:
        """The drive holds what the others do, as a comparison found that began when its status named this
        `unchecked_boot`. Raises GenerationChanged when its machine has restarted since."""

    async def read_topology(self, *, deadline: Deadline) -> StoredTopology: ...

    async def write_topology(self, topology: StoredTopology, *, deadline: Deadline) -> None:
        """Keep it, durably. The one kept already is a yes, and once active it stays so. Raises StaleTopology when the
        drive keeps a newer one, or another of the same number."""
