"""Committing a record to its set: base, hybrid time, generations, quorum; PROTOCOL "Writing", R2, R6 and R8.

A commit is compare-and-set inside each drive's transaction, so two rivals can not both reach W drives. The lock that
callers hold around a write only keeps rivals from wasting each other's work.
"""

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final

import msgspec

from liteio_base.clock import Randomness
from liteio_base.deadline import Deadline
from liteio_base.ids import NO_TIME, NULL_VERSION, HybridTime, VersionId, new_version_id
from liteio_contracts.object_errors import (
    BucketNotEmpty,
    ConditionalConflict,
    ObjectError,
    OperationTimeout,
    StoreFull,
    UploadMissing,
    WriteQuorumLost,
)
from liteio_contracts.storage import CasScope, Commit, KeyName, RowCommit, VersionRef
from liteio_contracts.storage_errors import (
    BucketHoldsObjects,
    CommitRefused,
    DriveFull,
    RequirementMissing,
    ShardMissing,
    StaleBucket,
    StorageError,
    Superseded,
)
from liteio_formats.record import Record, decode_record, encode_record
from liteio_objects.confirming import Confirmer
from liteio_objects.drive_set import Answers, DriveSet, ask_most, count_values, errors
from liteio_objects.hybrid_clock import HybridClock
from liteio_objects.key_reading import Found, KeyReader, WriteBasis
from liteio_objects.shard_reading import PayloadShard
from liteio_objects.tasks import OwnedTasks

_log = logging.getLogger(__name__)

# After a drive's refusal the key is read anew and the write tried again. Under the lock nobody else writes the key, so
# this many rounds are spent only when the lock service fails.
ATTEMPTS_MAX: Final = 8
RETRY_SECONDS: Final = 0.01
# Drives that have not taken a commit by then hang: with too few others the client is told within ten seconds, the read
# before the commit included.
COMMIT_SECONDS: Final = 6.0


class BucketChanged(Exception):
    """The bucket's configuration is newer than the one this write was made for, and nothing was written."""


class VersionWrite(msgspec.Struct, frozen=True):
    """One record to commit. `draft` is the record without its version id, times, base and generations.

    version_id: the register to write; None for a new version of its own.
    scope: KEY for whatever adds to a key or replaces its null version; VERSION for a change of one version.
    keeps_created: the version's creation time, when its tags or metadata change but the version stays what it was.
    check: called with the latest version (KEY) or the register (VERSION) as read; raises to refuse. Makes it
    conditional.
    payloads: an inline object's shards, by shard index.
    staged_slots: where the record's shard files are; None when it has none.
    not_before: a time that the record's must come after, besides all that is seen under the key.
    also: more rows for the same transactions, made from the finished record.
    """

    name: KeyName
    draft: Record
    version_id: VersionId | None = NULL_VERSION
    scope: CasScope = CasScope.KEY
    keeps_created: HybridTime | None = None
    check: Callable[[Record | None], None] | None = None
    payloads: Mapping[int, PayloadShard] = {}
    staged_slots: frozenset[int] | None = None
    bucket_number: int | None = None
    reload_bucket: Callable[[], Awaitable[int]] | None = None
    requires: KeyName | None = None
    not_before: HybridTime = NO_TIME
    also: Callable[[Record], tuple[RowCommit, ...]] | None = None
    event: Callable[[Record], bytes | None] | None = None


class Committer:
    """Commits records. `on_incomplete` hears of every record acknowledged by fewer than N drives, and
    of keys in doubt."""

    def __init__(
        self,
        reader: KeyReader,
        confirmer: Confirmer,
        hybrid_clock: HybridClock,
        randomness: Randomness,
        tasks: OwnedTasks,
        on_incomplete: Callable[[DriveSet, VersionRef], None],
    ) -> None:
        self._reader, self._confirmer, self._hybrid_clock = reader, confirmer, hybrid_clock
        self._randomness, self._tasks, self._on_incomplete = randomness, tasks, on_incomplete

    async def write(self, drive_set: DriveSet, write: VersionWrite, *, deadline: Deadline) -> Record:
        """Read, decide, commit to W drives at least, and start the confirm. Returns the record as committed.

        Raises what `check` raises, ConditionalConflict, WriteQuorumLost, ReadQuorumLost, StoreFull, BucketChanged.
        """
        for attempt in range(ATTEMPTS_MAX):
            basis, decided = await self._read(drive_set, write, deadline=deadline)
            if write.check is not None:
                write.check(decided.record if decided is not None else None)
            record = self._finished(write, basis, decided, drive_set)
            answers = await self._commit(drive_set, write, record, basis, deadline=deadline)
            taken = count_values(answers)
            if taken >= drive_set.code.write_quorum:
                self._acknowledged(drive_set, write, record, is_whole=taken == drive_set.code.width)
                return record
            self._raise_unless_retriable(drive_set, write, record, answers)
            await deadline.clock.sleep(RETRY_SECONDS * (attempt + 1))
        if write.check is not None:
            raise ConditionalConflict("rival writes won every time")
        raise OperationTimeout("rival writes won every time")

    async def _read(
        self, drive_set: DriveSet, write: VersionWrite, *, deadline: Deadline
    ) -> tuple[WriteBasis, Found | None]:
        is_conditional = write.check is not None
        basis = await self._reader.basis(
            drive_set,
            write.name,
            version_id=write.version_id,
            is_conditional=is_conditional and write.scope is CasScope.KEY,
            deadline=deadline,
        )
        if is_conditional and write.scope is CasScope.VERSION and write.version_id is not None:
            return basis, await self._reader.version(drive_set, write.name, write.version_id, deadline=deadline)
        return basis, basis.found

    def _finished(self, write: VersionWrite, basis: WriteBasis, decided: Found | None, drive_set: DriveSet) -> Record:
        """R6: the base of a blind write is the newest time seen, of a conditional one the time it decided on."""
        base = basis.newest_seen if decided is None else decided.decided_time
        # What was decided on may have been read after the rest, and be newer.
        time = self._hybrid_clock.after(max(basis.newest_seen, base, write.not_before))
        version_id = write.version_id if write.version_id is not None else new_version_id(time, self._randomness)
        return msgspec.structs.replace(
            write.draft,
            version_id=version_id,
            created=write.keeps_created if write.keeps_created is not None else time,
            time=time,
            base=base,
            generations=tuple(basis.generations.get(slot, "") for slot in drive_set.slots),
        )

    async def _commit(
        self, drive_set: DriveSet, write: VersionWrite, record: Record, basis: WriteBasis, *, deadline: Deadline
    ) -> Answers[None]:
        slots = [slot for slot in basis.generations if write.staged_slots is None or slot in write.staged_slots]
        if len(slots) < drive_set.code.write_quorum:  # Not one commit is sent that could not reach its quorum.
            raise WriteQuorumLost(needed=drive_set.code.write_quorum, got=len(slots))
        commits = self._commits(drive_set, write, record, basis, slots)
        answers = await self._send(drive_set, commits, deadline=deadline)
        if 0 < count_values(answers) < drive_set.code.write_quorum and write.reload_bucket is not None:
            answers |= await self._send_again(drive_set, write.reload_bucket, commits, answers, deadline=deadline)
        return answers

    async def _send_again(
        self,
        drive_set: DriveSet,
        reload_bucket: Callable[[], Awaitable[int]],
        commits: Mapping[int, Commit],
        answers: Answers[None],
        *,
        deadline: Deadline,
    ) -> Answers[None]:
        """Some drives took it, so it can not be made anew for a newer configuration: those that know a newer one get it
        under that number."""
        stale = [slot for slot, answer in answers.items() if isinstance(answer, StaleBucket)]
        if not stale:
            return {}
        try:
            number = await reload_bucket()
        except ObjectError as trouble:  # The bucket may be gone. Some drives took the write: it stays in doubt.
            _log.debug("a write met a bucket that can not be read again: %s", trouble)
            return {}
        again = {slot: msgspec.structs.replace(commits[slot], bucket_number=number) for slot in stale}
        return await self._send(drive_set, again, deadline=deadline)

    def _send(
        self, drive_set: DriveSet, commits: Mapping[int, Commit], *, deadline: Deadline
    ) -> Coroutine[Any, Any, Answers[None]]:
        return ask_most(
            drive_set,
            commits,
            lambda drive: drive.commit(commits[drive.slot], deadline=deadline),
            # The calls keep their own: what arrives late is a commit all the same. Only the writer stops waiting.
            deadline=deadline.sooner(COMMIT_SECONDS),
            adopt=self._tasks.adopt,
        )

    def _commits(
        self, drive_set: DriveSet, write: VersionWrite, record: Record, basis: WriteBasis, slots: list[int]
    ) -> dict[int, Commit]:
        encoded = encode_record(record)
        also = write.also(record) if write.also is not None else ()
        event = write.event(record) if write.event is not None else None
        events_left = drive_set.code.m + 1  # so many drives hold the event: one of them survives the loss of M
        commits = {}
        for slot in slots:
            index = record.shard_index_of(slot) if record.order else 0
            row = RowCommit(encoded, write.scope, record.base, index, *write.payloads.get(index, ()))
            commits[slot] = Commit(
                (row, *also),
                generation=basis.generations[slot],  # type: ignore[arg-type]  # as the drive itself gave it
                bucket_number=write.bucket_number,
                requires=write.requires,
                events=(event,) if event is not None and events_left > 0 else (),
            )
            events_left -= 1
        return commits

    def _acknowledged(self, drive_set: DriveSet, write: VersionWrite, record: Record, *, is_whole: bool) -> None:
        """R8: the confirm follows; what is not on N drives is reported for repair."""
        for ref in _refs(write, record):
            self._confirmer.confirm(drive_set, ref)
            if not is_whole:
                self._on_incomplete(drive_set, ref)

    def _raise_unless_retriable(
        self, drive_set: DriveSet, write: VersionWrite, record: Record, answers: Answers[None]
    ) -> None:
        """Once any drive has accepted, or may have, the outcome is unknown: 503. Otherwise say what
        stands in the way."""
        troubles = errors(answers)
        refusals = [trouble for trouble in troubles if isinstance(trouble, CommitRefused | ShardMissing | DriveFull)]
        got = count_values(answers)
        if got or len(refusals) < len(troubles):
            for ref in _refs(write, record):
                self._on_incomplete(drive_set, ref)
            raise WriteQuorumLost(needed=drive_set.code.write_quorum, got=got, causes=troubles)
        if any(isinstance(trouble, Superseded) for trouble in refusals):
            return
        raise refusal_error(drive_set, write, refusals)


def _refs(write: VersionWrite, record: Record) -> list[VersionRef]:
    """The record, and those that were committed in the same transactions."""
    also = [decode_record(row.encoded) for row in write.also(record)] if write.also is not None else []
    return [
        VersionRef(KeyName(each.space, each.bucket_id, each.key), each.version_id, each.time)
        for each in (record, *also)
    ]


def refusal_error(drive_set: DriveSet, write: VersionWrite, refusals: Sequence[StorageError]) -> Exception:
    """Nothing was written anywhere: the error that tells why."""
    kinds = Counter(type(refusal) for refusal in refusals)
    if BucketHoldsObjects in kinds:
        return BucketNotEmpty(write.name.key.decode(errors="replace"))
    if StaleBucket in kinds:
        return BucketChanged()
    # A drive that was emptied lacks the upload too: only more drives than may be lost can tell that it is gone.
    if write.requires is not None and kinds[RequirementMissing] > drive_set.code.m:
        return UploadMissing(write.requires.key[-48:].decode(errors="replace"))
    if DriveFull in kinds:
        return StoreFull("too many drives refuse new data", causes=refusals)
    error: ObjectError = WriteQuorumLost(needed=drive_set.code.write_quorum, got=0, causes=refusals)
    return error
