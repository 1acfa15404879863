"""`MemoryDrive`: StorageAPI wholly in memory. The model that LocalDrive is compared with, and the drive of simulations.

It executes the contract's docstrings in the plainest way. Between two awaits of the caller nothing is torn: every
method runs without giving up the loop. Delay, loss and repetition are added by wrapping (FaultyDrive, SimNetwork).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from liteio_base.background import IS_BACKGROUND
from liteio_base.clock import Clock, Randomness
from liteio_base.deadline import Deadline
from liteio_base.ids import (
    SYSTEM_BUCKET,
    BucketId,
    DriveId,
    Generation,
    VersionId,
    new_drive_id,
    new_generation,
)
from liteio_contracts.storage import (
    BucketUsage,
    Commit,
    DigestAnswer,
    DigestQuery,
    DriveState,
    DriveStatus,
    FenceAnswer,
    FenceRequest,
    KeyAnswer,
    KeyName,
    KeyQuery,
    ListPage,
    ListQuery,
    MissingShards,
    OutboxRow,
    RowCommit,
    ShardFacts,
    ShardReader,
    ShardRef,
    ShardWriter,
    StoredTopology,
    VersionRef,
)
from liteio_contracts.storage_errors import (
    BucketHoldsObjects,
    DriveFull,
    DriveOffline,
    DriveTimeout,
    GenerationChanged,
    NotAuthoritative,
    NothingHeld,
    RecordCorrupt,
    RequirementMissing,
    ShardCorrupt,
    ShardMissing,
    StaleBucket,
    StaleTopology,
)
from liteio_formats.bodies import BucketState, UploadState, decode_bucket_body, decode_upload_body
from liteio_formats.keys import part_prefix, split_upload_key
from liteio_formats.record import Kind, PartEntry, Record, Space, decode_record
from liteio_testkit.held_key import HeldFence, HeldKey, HeldRow
from liteio_testkit.memory_digests import digest_ranges
from liteio_testkit.memory_listing import list_items
from liteio_testkit.memory_shards import MemoryShardReader, MemoryShardWriter, ShardFile
from liteio_testkit.memory_state import MemoryState, newest_bucket_body

_NS = 1_000_000_000
GARBAGE_GRACE_SECONDS = 24 * 3600.0
TOMBSTONE_SECONDS = 30 * 24 * 3600.0
CAPACITY_BYTES = 2**40


@dataclass(frozen=True, slots=True)
class _Step:
    """One row of a commit, decoded."""

    row: RowCommit
    record: Record

    @property
    def name(self) -> KeyName:
        return name_of(self.record)


def name_of(record: Record) -> KeyName:
    return KeyName(record.space, record.bucket_id, record.key)


class MemoryDrive:
    """One drive. `crash`, `empty`, `set_offline`, `set_full` and the `damage_…` methods are the test's hand on it."""

    def __init__(
        self,
        slot: int,
        clock: Clock,
        randomness: Randomness,
        *,
        is_authoritative: bool = True,
        garbage_grace_seconds: float = GARBAGE_GRACE_SECONDS,
        tombstone_seconds: float = TOMBSTONE_SECONDS,
    ) -> None:
        self._slot = slot
        self._clock = clock
        self._randomness = randomness
        self._drive_id = new_drive_id(randomness)
        self._generation = new_generation(randomness)
        self._is_authoritative = is_authoritative
        self._boot = self._checked_boot = "1"
        self._grace_ns = round(garbage_grace_seconds * _NS)
        self._tombstone_ns = round(tombstone_seconds * _NS)
        self._state = MemoryState()
        self._writers: list[MemoryShardWriter] = []
        self._damaged_keys: set[KeyName] = set()
        self._client_calls = 0
        self._is_offline = False
        self._is_full = False
        self.is_likely_slow = False

    # -- what the test does to it

    @property
    def generation(self) -> Generation:
        return self._generation

    @property
    def is_authoritative(self) -> bool:
        return self._is_authoritative

    @property
    def is_unchecked(self) -> bool:
        return self._checked_boot != self._boot

    def crash(self) -> None:
        """Power is lost and back: confirms that nothing made durable and shards not closed are gone."""
        self._state.lose_unflushed()
        for writer in list(self._writers):
            writer.lose()

    def remember(self) -> MemoryState:
        """What it holds now, for a `restart` that loses what comes after."""
        return self._state.copy()

    def restart(self, what_is_left: MemoryState | None = None) -> None:
        """As `crash`, and its machine was started anew: the drive is unchecked until it was compared. `what_is_left`:
        its disk has lied about every sync since it held that.
        """
        self.crash()
        self._boot = str(int(self._boot) + 1)
        if what_is_left is not None:
            self._state = what_is_left.copy()
            self._state.lose_unflushed()

    def empty(self) -> None:
        """The drive was replaced or formatted: a new generation that holds nothing and is not authoritative."""
        for writer in list(self._writers):
            writer.lose()
        self._state = MemoryState()
        self._damaged_keys.clear()
        self._generation = new_generation(self._randomness)
        self._is_authoritative = False
        self._checked_boot = self._boot

    def set_offline(self, is_offline: bool = True) -> None:
        """Off: every call raises DriveOffline and nothing is lost. Back on, it holds what it held."""
        self._is_offline = is_offline
        self.is_likely_slow = is_offline

    def set_full(self, is_full: bool = True) -> None:
        """Full: new shards and values are refused with DriveFull, deletes are not."""
        self._is_full = is_full

    def set_not_authoritative(self) -> None:
        """As after a failed sync or a long absence: it keeps what it holds, but is no witness of absence."""
        self._is_authoritative = False

    def damage_key(self, name: KeyName) -> None:
        """The index is unreadable at this key: reading it raises RecordCorrupt until it is committed to again."""
        self._damaged_keys.add(name)

    def damage_shard(self, ref: ShardRef, block: int = 0, bit: int = 0) -> None:
        """Flip one bit of a stored block."""
        self._replace_file(ref, self._file(ref).with_flipped_bit(block, bit))

    def tear_shard(self, ref: ShardRef, blocks: int) -> None:
        """Keep only the first `blocks` blocks of the file."""
        self._replace_file(ref, self._file(ref).cut_to(blocks))

    def lose_shard(self, ref: ShardRef) -> None:
        """The file is gone, and no row knows."""
        del self._state.files[ref.data_id, ref.part_number]

    @property
    def shard_files(self) -> Sequence[ShardRef]:
        """Every closed shard file, named or not, in order of data id and part: for leak checks."""
        return [self._state.files[name].facts.ref for name in sorted(self._state.files)]

    def held(self, name: KeyName) -> HeldKey:
        """What the drive holds of a key, offline or not, for oracles."""
        return self._state.get(name)

    # -- identity and state

    @property
    def drive_id(self) -> DriveId:
        return self._drive_id

    @property
    def slot(self) -> int:
        return self._slot

    async def status(self, *, deadline: Deadline) -> DriveStatus:
        self._check_reachable(deadline)
        return DriveStatus(
            drive_id=self._drive_id,
            slot=self._slot,
            state=DriveState.FULL if self._is_full else DriveState.ONLINE,
            generation=self._generation,
            is_authoritative=self._is_authoritative,
            total_bytes=CAPACITY_BYTES,
            free_bytes=0 if self._is_full else CAPACITY_BYTES - self._used_bytes(),
            unsettled=sum(1 for _ in self._unsettled_rows()),
            outbox=len(self._state.outbox),
            versions=sum(usage.versions + usage.delete_markers for usage in self._state.usages()),
            stored_bytes=sum(usage.size_bytes for usage in self._state.usages()),
            client_calls=self._client_calls,
            unchecked_boot=self._boot if self.is_unchecked else "",
        )

    def _count_call(self) -> None:
        if not IS_BACKGROUND.get():
            self._client_calls += 1

    async def set_authoritative(self, generation: Generation, *, deadline: Deadline) -> None:
        self._check_reachable(deadline)
        if generation != self._generation:
            raise GenerationChanged(generation=self._generation)
        self._is_authoritative = True
        self._state.flush()

    async def set_checked(self, boot: str, *, deadline: Deadline) -> None:
        self._check_reachable(deadline)
        if boot != self._boot:
            raise GenerationChanged(generation=self._generation)
        self._checked_boot = boot

    async def read_topology(self, *, deadline: Deadline) -> StoredTopology:
        self._check_reachable(deadline)
        return self._state.topology

    async def write_topology(self, topology: StoredTopology, *, deadline: Deadline) -> None:
        self._check_reachable(deadline)
        kept = self._state.topology
        if (topology.number, topology.encoded) == (kept.number, kept.encoded):
            topology = topology if topology.is_active else kept
        elif topology.number <= kept.number:
            raise StaleTopology(number=kept.number)
        self._state.topology = topology
        self._state.flush()

    # -- reading

    async def read_key(self, query: KeyQuery, *, deadline: Deadline) -> KeyAnswer:
        self._check_reachable(deadline)
        self._count_call()
        if query.name in self._damaged_keys:
            raise RecordCorrupt(key=query.name.key)
        held = self._state.get(query.name)
        entries, fences = held.answer(query)
        number = self._state.topology.number
        state = self._generation, self._is_authoritative
        return KeyAnswer(*state, held.head_time, entries, fences, number, self.is_unchecked)

    async def list_page(self, query: ListQuery, *, deadline: Deadline) -> ListPage:
        self._check_reachable(deadline)
        self._count_call()
        keys = self._state.keys_in(query.space, query.bucket_id, query.prefix)
        items, is_truncated = list_items(keys, query)
        return ListPage(self._generation, self._is_authoritative, items, is_truncated, self.is_unchecked)

    async def walk(self, after: KeyName | None, limit: int, *, deadline: Deadline) -> Sequence[KeyName]:
        self._check_reachable(deadline)
        return [name for name in self._state.names(after) if self._state.get(name).records][:limit]

    async def range_digests(self, query: DigestQuery, *, deadline: Deadline) -> DigestAnswer:
        self._check_reachable(deadline)
        ranges = digest_ranges(((name, self._state.get(name)) for name in self._state.names(query.after)), query)
        return DigestAnswer(self._generation, self._is_authoritative, tuple(ranges))

    async def missing_shards(self, after: KeyName | None, limit: int, *, deadline: Deadline) -> MissingShards:
        self._check_reachable(deadline)
        names = [name for name in self._state.names(after) if self._state.get(name).rows]
        looked, missing = 0, []
        for name in names[:limit]:
            wanted = [(row, part) for row in self._state.get(name).rows for part in _parts_in_files(row.record)]
            looked += len(wanted)
            if not all(self._has_file(row, part) for row, part in wanted):
                missing.append(name)
        return MissingShards(tuple(missing), names[limit - 1] if len(names) > limit else None, looked)

    def _has_file(self, row: HeldRow, part: PartEntry) -> bool:
        file = self._state.files.get((part.data_id, part.number))
        return file is not None and file.serves(part, row.record.k, row.record.m, row.shard_index)

    async def key_versions(self, name: KeyName, *, deadline: Deadline) -> Sequence[VersionId]:
        self._check_reachable(deadline)
        return sorted(self._state.get(name).version_ids())

    async def unsettled(self, older_than_ns: int, limit: int, *, deadline: Deadline) -> Sequence[VersionRef]:
        self._check_reachable(deadline)
        rows = sorted(self._unsettled_rows(), key=lambda row: (row.stored_ns, name_of(row.record), row.place))
        old = [row for row in rows if self._is_old(row.stored_ns, older_than_ns)]
        return [VersionRef(name_of(row.record), row.version_id, row.time) for row in old[:limit]]

    async def bucket_usage(self, bucket_id: BucketId, *, deadline: Deadline) -> BucketUsage:
        self._check_reachable(deadline)
        return self._state.usage(bucket_id)

    # -- committing

    async def commit(self, commit: Commit, *, deadline: Deadline) -> None:
        self._check_reachable(deadline)
        self._count_call()
        if commit.generation is not None and commit.generation != self._generation:
            raise GenerationChanged(generation=self._generation)
        if commit.is_unread and not self._is_authoritative:
            raise NotAuthoritative()
        if commit.topology_number is not None and commit.topology_number < self._state.topology.number:
            raise StaleTopology(number=self._state.topology.number)
        steps = [_Step(row, decode_record(row.encoded)) for row in commit.rows]
        self._damaged_keys.difference_update(step.name for step in steps if self._is_held(step))
        new = [step for step in steps if not self._is_held(step)]
        for step in steps:
            if step not in new and step.row.payload is not None:  # a repair
                self._state.put(step.name, self._state.get(step.name).with_payload(self._row_of(step)))
        if not new:
            self._state.flush()
            return
        self._check_preconditions(commit, new)
        for step in new:
            self._check_step(step, commit)
        for step in new:
            self._state.put(step.name, self._state.get(step.name).with_row(self._row_of(step)))
            self._damaged_keys.discard(step.name)
        self._state.queue_events(commit.events, self._clock.now_ns())
        self._state.flush()

    def _is_held(self, step: _Step) -> bool:
        found = self._state.get(step.name).find(step.record.version_id, step.record.time)
        return found is not None and found.encoded == step.row.encoded

    def _check_preconditions(self, commit: Commit, steps: Sequence[_Step]) -> None:
        if commit.bucket_number is not None:
            for step in steps:
                self._check_bucket(step.record, commit.bucket_number)
        if commit.requires is not None and not _is_open_value(self._state.get(commit.requires)):
            raise RequirementMissing(key=commit.requires.key)

    def _check_bucket(self, record: Record, number: int) -> None:
        if record.space is Space.BUCKET or record.bucket_id == SYSTEM_BUCKET:
            return
        body = self._state.bucket(record.bucket_id)
        if body is None or body.number > number or body.state is BucketState.CLOSING:
            raise StaleBucket(number=0 if body is None else body.number)

    def _check_step(self, step: _Step, commit: Commit) -> None:
        record = step.record
        held = self._state.get(step.name)
        held.check_commit(step.row, record, lifts_fences=commit.lifts_fences)
        if commit.is_unread and record.kind is Kind.TOMBSTONE and not held.shows(record.version_id):
            raise NothingHeld()
        if record.kind is not Kind.VALUE:
            return
        if record.space is Space.BUCKET and commit.generation is not None:
            self._check_closing(record)
        if self._is_full and record.space is not Space.BUCKET:
            raise DriveFull()
        self._check_staged(step)

    def _check_closing(self, record: Record) -> None:
        body = decode_bucket_body(record.body)
        if body.state is not BucketState.CLOSING:
            return
        usage = self._state.usage(body.bucket_id)
        if usage.versions or usage.delete_markers:
            raise BucketHoldsObjects(versions=usage.versions, delete_markers=usage.delete_markers)

    def _check_staged(self, step: _Step) -> None:
        record = step.record
        for part in record.parts if not record.is_inline else ():
            if part.size_bytes == 0:
                continue
            file = self._state.files.get((part.data_id, part.number))
            if file is None or not file.serves(part, record.k, record.m, step.row.shard_index):
                raise ShardMissing(data_id=part.data_id, part_number=part.number)

    def _row_of(self, step: _Step) -> HeldRow:
        row = step.row
        now_ns = self._clock.now_ns()
        return HeldRow(step.record, row.encoded, False, now_ns, row.shard_index, row.payload, row.payload_hash)

    # -- settling

    async def confirm(self, refs: Sequence[VersionRef], *, deadline: Deadline) -> None:
        self._check_reachable(deadline)
        for ref in refs:
            before = self._state.get(ref.name)
            found = before.find(ref.version_id, ref.time)
            if found is None:
                continue
            self._state.put(ref.name, before.confirmed(ref))
            if found.record.space is Space.UPLOAD:
                self._drop_parts(found.record)
            elif found.record.space is Space.BUCKET and found.record.kind is Kind.TOMBSTONE:
                self._drop_bucket(before, found)

    def _drop_parts(self, upload: Record) -> None:
        if upload.kind is Kind.VALUE and decode_upload_body(upload.body).state is UploadState.OPEN:
            return
        _, upload_id = split_upload_key(upload.key)
        for key, _ in self._state.keys_in(Space.PART, upload.bucket_id, part_prefix(upload_id)):
            self._state.put(KeyName(Space.PART, upload.bucket_id, key), HeldKey())

    def _drop_bucket(self, before: HeldKey, tombstone: HeldRow) -> None:
        """The incarnations that the tombstone ends: its own body names one, and so do the rows that it hides."""
        ended = [tombstone, *(row for row in before.rows if row.time < tombstone.time)]
        gone = {decode_bucket_body(row.record.body).bucket_id for row in ended if row.record.body}
        now = newest_bucket_body(self._state.get(name_of(tombstone.record)))
        for bucket_id in gone - ({now.bucket_id} if now is not None else set()):
            self._state.drop_bucket(bucket_id)

    async def fence(self, request: FenceRequest, *, deadline: Deadline) -> FenceAnswer:
        self._check_reachable(deadline)
        ref = request.ref
        held = self._state.get(ref.name)
        if held.find(ref.version_id, ref.time) is not None:
            return FenceAnswer(is_held=True, is_fenced=False)
        if not self._is_authoritative and request.named_generation not in ("", self._generation):
            return FenceAnswer(is_held=False, is_fenced=False)
        fence = HeldFence(ref.version_id, ref.time, request.base, self._clock.now_ns())
        self._state.put(ref.name, held.with_fence(fence))
        self._state.flush()
        return FenceAnswer(is_held=False, is_fenced=True)

    async def roll_back(self, ref: VersionRef, *, deadline: Deadline) -> None:
        self._check_reachable(deadline)
        self._state.put(ref.name, self._state.get(ref.name).rolled_back(ref))
        self._state.flush()

    # -- shards

    async def create_shard(self, ref: ShardRef, *, size_hint: int, deadline: Deadline) -> ShardWriter:
        self._check_reachable(deadline)
        if self._is_full:
            raise DriveFull()
        writer = MemoryShardWriter(ref, self._clock.now_ns, self._is_reachable, self._keep_file, self._writers.remove)
        self._writers.append(writer)
        return writer

    async def open_shard(self, ref: ShardRef, first_block: int, block_count: int, *, deadline: Deadline) -> ShardReader:
        self._check_reachable(deadline)
        return MemoryShardReader(self._file(ref), first_block, block_count, self._is_reachable)

    async def shard_facts(self, ref: ShardRef, *, verify: bool, deadline: Deadline) -> ShardFacts:
        self._check_reachable(deadline)
        file = self._file(ref)
        if verify:
            file.check_blocks()
        return file.facts

    async def collect_garbage(self, *, deadline: Deadline) -> int:
        self._check_reachable(deadline)
        if not self._is_authoritative:
            return 0
        now_ns = self._clock.now_ns()
        for name in self._state.names():
            self._state.put(name, self._state.get(name).expired(now_ns - self._tombstone_ns))
        self._state.flush()
        return self._state.drop_unnamed_files(now_ns - self._grace_ns)

    # -- outbox

    async def outbox(self, older_than_ns: int, limit: int, *, deadline: Deadline) -> Sequence[OutboxRow]:
        self._check_reachable(deadline)
        return [row for row in self._state.outbox if self._is_old(row.queued_ns, older_than_ns)][:limit]

    async def outbox_done(self, numbers: Sequence[int], *, deadline: Deadline) -> None:
        self._check_reachable(deadline)
        done = set(numbers)
        self._state.outbox = [row for row in self._state.outbox if row.number not in done]
        self._state.flush()

    # -- helpers

    def _is_old(self, since_ns: int, older_than_ns: int) -> bool:
        return since_ns < older_than_ns or since_ns > self._clock.now_ns()

    def _check_reachable(self, deadline: Deadline) -> None:
        if self._is_offline:
            raise DriveOffline(drive_id=self._drive_id)
        if deadline.has_passed:
            raise DriveTimeout(drive_id=self._drive_id)

    def _is_reachable(self) -> bool:
        return not self._is_offline

    def _unsettled_rows(self) -> Iterator[HeldRow]:
        return (row for name in self._state.names() for row in self._state.get(name).unsettled)

    def _used_bytes(self) -> int:
        return sum(len(block) for file in self._state.files.values() for block in file.blocks)

    def _keep_file(self, file: ShardFile) -> None:
        self._replace_file(file.facts.ref, file)

    def _replace_file(self, ref: ShardRef, file: ShardFile) -> None:
        self._state.files[ref.data_id, ref.part_number] = file

    def _file(self, ref: ShardRef) -> ShardFile:
        file = self._state.files.get((ref.data_id, ref.part_number))
        if file is None:
            raise ShardMissing(ref=ref)
        if file.facts.ref != ref:
            raise ShardCorrupt("the footer is another shard's", ref=ref, found=file.facts.ref)
        return file


def _is_open_value(held: HeldKey) -> bool:
    head = next(iter(held.visible), None)
    if head is None or head.record.kind is not Kind.VALUE:
        return False
    is_upload = head.record.space is Space.UPLOAD
    return not is_upload or decode_upload_body(head.record.body).state is UploadState.OPEN


def _parts_in_files(record: Record) -> list[PartEntry]:
    return [] if record.is_inline else [part for part in record.parts if part.size_bytes]
