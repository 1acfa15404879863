"""Committing a record to its set: base, hybrid time, generations, quorum; PROTOCOL "Writing", R2, R6 and R8.

A commit is compare-and-set inside each drive's transaction, so two rivals can not both reach W drives. The lock that
callers hold around a write only keeps rivals from wasting each other's work.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from liteio_base.clock import Randomness
from liteio_base.deadline import Deadline
from liteio_base.ids import NO_TIME, NULL_VERSION, BucketId, HybridTime, VersionId, new_version_id
from liteio_contracts.locks import Lease
from liteio_contracts.object_errors import (
    BucketNotEmpty,
    ConditionalConflict,
    ObjectError,
    OperationTimeout,
    StoreFull,
    UploadMissing,
    WriteQuorumLost,
)
from liteio_contracts.storage import CasScope, Commit, KeyName, RowCommit, StorageAPI, VersionRef
from liteio_contracts.storage_errors import (
    BucketHoldsObjects,
    CommitRefused,
    DriveFull,
    RequirementMissing,
    ShardMissing,
    StaleBucket,
    StaleTopology,
    StorageError,
    Superseded,
)
from liteio_formats.record import Kind, Record, Space, decode_record, encode_record
from liteio_objects.company import Company
from liteio_objects.confirming import Confirmer
from liteio_objects.drive_set import GRACE_SECONDS, Answers, DriveSet, ask, ask_until, count_values, errors
from liteio_objects.guesses import Guesses
from liteio_objects.hybrid_clock import HybridClock
from liteio_objects.key_reading import Found, KeyReader, WriteBasis
from liteio_objects.shard_reading import PayloadShard
from liteio_objects.tasks import OwnedTasks

_log = logging.getLogger(__name__)
_REFUSALS: Final = (CommitRefused, ShardMissing, DriveFull)  # The drive has surely not taken the commit.

# After a drive's refusal the key is read anew and the write tried again. Under the lock nobody else writes the key, so
# this many rounds are spent only when the lock service fails.
ATTEMPTS_MAX: Final = 8
RETRY_SECONDS: Final = 0.01
# Drives that have not taken a commit by then hang: with too few others the client is told within ten seconds, the read
# before the commit included.
COMMIT_SECONDS: Final = 6.0


class BucketChanged(Exception):
    """The bucket's configuration is newer than the one this write was made for, and nothing was written. `number`: of
    the newest that a drive told of."""

    def __init__(self, number: int = 0) -> None:
        super().__init__(number)
        self.number = number


class TopologyChanged(Exception):
    """The store has a newer topology than the one by which this write looked for its key, and nothing was written."""


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
    topology_number: by which the key was looked for; None when that is not to be checked, since only what is known to
    be there is changed.
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
    topology_number: int | None = None


Reading = tuple[WriteBasis, Found | None]
"""What a writer has read: its basis, and what a conditional one decides on."""

MayStay = Callable[[DriveSet, KeyName, Deadline], Awaitable[int | None]]
"""The number of the newest topology, when by it too a key that was written in this set lives there; else None."""


async def _never(drive_set: DriveSet, name: KeyName, deadline: Deadline) -> int | None:
    return None


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
        self._guesses = Guesses()
        self.may_stay: MayStay = _never

    def early_read(
        self, drive_set: DriveSet, write: VersionWrite, *, deadline: Deadline
    ) -> Callable[[], Coroutine[Any, Any, Reading]] | None:
        """The reading that `write` will begin with, for who can begin it sooner; None when it will likely read nothing,
        since the key is likely new."""
        if _may_make_a_key(write) and self._guesses.new_key(drive_set, write.name.bucket_id) is not None:
            return None
        return lambda: self.read(drive_set, write, deadline=deadline)

    async def write(
        self,
        drive_set: DriveSet,
        write: VersionWrite,
        *,
        lease: Lease | None = None,
        company: Company | None = None,
        read: Reading | None = None,
        deadline: Deadline,
    ) -> Record:
        """Read, decide, commit to W drives at least, and start the confirm. Returns the record as committed.

        A key that is likely new is committed first and read only when that was refused.
        lease: the key's lock: once it is lost no commit is begun. company: those who hold it together to write the key
        blindly. read: what was read already, for the first attempt.
        Raises what `check` raises, ConditionalConflict, WriteQuorumLost, ReadQuorumLost, StoreFull, BucketChanged,
        TopologyChanged.
        """
        guess = None
        if read is None and _may_make_a_key(write):
            guess = self._guesses.new_key(drive_set, write.name.bucket_id)
        if guess is None:
            return await self._write_read(drive_set, write, lease=lease, company=company, read=read, deadline=deadline)
        record, answers = await self._attempt(drive_set, write, guess, None, is_unread=True, deadline=deadline)
        # A drive that holds something of the key may hold something newer: a writer that reads comes after it.
        if not _is_superseded(answers) and self._acknowledge(drive_set, write, record, answers):
            return record
        self._guesses.forget(drive_set, write.name.bucket_id)
        if count_values(answers) + _count_refusals(answers) < drive_set.code.write_quorum:
            self._raise_unless_retriable(drive_set, write, record, answers)
        return await self._write_read(drive_set, write, _Sent(record, answers), lease=lease, deadline=deadline)

    def may_remove_unread(self, drive_set: DriveSet, bucket_id: BucketId) -> bool:
        """Whether `remove_unread` is worth trying."""
        return self._guesses.held_key(drive_set, bucket_id) is not None

    async def remove_unread(
        self, drive_set: DriveSet, write: VersionWrite, *, lease: Lease | None = None, deadline: Deadline
    ) -> Record | None:
        """Commit the tombstone of a key that is likely there, without reading it: a drive takes it where something is
        to be removed that is older. None when no drive did: then read. Raises as `write` does."""
        guess = self._guesses.held_key(drive_set, write.name.bucket_id)
        if guess is None:
            return None
        record, answers = await self._attempt(drive_set, write, guess, None, is_unread=True, deadline=deadline)
        return await self._end_removal(drive_set, write, _Sent(record, answers), lease=lease, deadline=deadline)

    async def remove_all_unread(
        self, drive_set: DriveSet, writes: Sequence[VersionWrite], *, lease: Lease | None = None, deadline: Deadline
    ) -> list[Record | Exception | None]:
        """The tombstones of several keys of one bucket, sent together. Each ends as `remove_unread` does, with what
        that raises in its place."""
        guess = self._guesses.held_key(drive_set, writes[0].name.bucket_id)
        if guess is None:
            return [None for _ in writes]
        prepared = [self._prepare(drive_set, write, guess, None, is_unread=True) for write in writes]
        answers = await self._send_all(drive_set, [commits for _, commits in prepared], deadline=deadline)
        ended: list[Record | Exception | None] = []
        for at, (write, (record, commits)) in enumerate(zip(writes, prepared, strict=True)):
            told: Answers[None] = {
                slot: answer if isinstance(answer, StorageError) else answer[at] for slot, answer in answers.items()
            }
            try:
                if _is_half_done(drive_set, told):
                    told |= await self._send_again(drive_set, write, commits, told, deadline=deadline)
                sent = _Sent(record, told)
                ended.append(await self._end_removal(drive_set, write, sent, lease=lease, deadline=deadline))
            except (ObjectError, BucketChanged, TopologyChanged) as trouble:
                ended.append(trouble)
        return ended

    async def _end_removal(
        self, drive_set: DriveSet, write: VersionWrite, sent: "_Sent", *, lease: Lease | None, deadline: Deadline
    ) -> Record | None:
        """After an unread tombstone was sent."""
        record, answers = sent
        if _count_refusals(answers) == len(answers):
            return None
        if not _is_superseded(answers) and self._acknowledge(drive_set, write, record, answers):
            return record
        self._guesses.forget(drive_set, write.name.bucket_id)
        if count_values(answers) < drive_set.code.write_quorum:
            # A record without shards rolls forward from one holder, also over what would be written after it.
            raise self._in_doubt(drive_set, write, record, answers)
        return await self._write_read(drive_set, write, sent, lease=lease, deadline=deadline)

    def learn_of_removal(self, drive_set: DriveSet, bucket_id: BucketId, basis: WriteBasis, *, was_there: bool) -> None:
        """What the remover of a key has read, for the next one."""
        self._guesses.learn(drive_set, basis)
        self._guesses.learn_of_removal(bucket_id, was_there=was_there)

    async def _write_read(
        self,
        drive_set: DriveSet,
        write: VersionWrite,
        guessed: "_Sent | None" = None,
        *,
        lease: Lease | None = None,
        company: Company | None = None,
        read: Reading | None = None,
        deadline: Deadline,
    ) -> Record:
        """Read before each attempt. `guessed`: what was committed unread before."""
        may_be_new = _may_make_a_key(write)
        is_in_doubt, unread = False, None  # what some drives may hold, and somebody may have read
        if guessed is not None:
            is_in_doubt = guessed.holders_max > 0
            unread = guessed if guessed.holders_max >= drive_set.code.k else None
            write = msgspec.structs.replace(write, not_before=guessed.record.time)
        for attempt in range(ATTEMPTS_MAX):
            basis, decided = read or await self.read(drive_set, write, deadline=deadline)
            read = None
            if unread is not None and (successor := await self._successor(drive_set, write, unread.record, deadline)):
                if successor.base == unread.record.time:
                    return unread.record
                raise self._in_doubt(drive_set, write, *unread)
            if may_be_new:
                self._guesses.learn_of_write(drive_set, write.name.bucket_id, basis)
            if write.check is not None:
                write.check(decided.record if decided is not None else None)
            if lease is not None and not lease.is_held:  # Others may write the key by now.
                if guessed is not None and is_in_doubt:
                    raise self._in_doubt(drive_set, write, *guessed)
                raise OperationTimeout("the lock was lost before the commit")
            record, answers = await self._attempt(drive_set, write, basis, decided, company=company, deadline=deadline)
            if self._acknowledge(drive_set, write, record, answers):
                return record
            self._raise_unless_retriable(drive_set, write, record, answers, is_in_doubt=is_in_doubt)
            await deadline.clock.sleep(RETRY_SECONDS * (attempt + 1))
        if is_in_doubt:
            raise self._in_doubt(drive_set, write, record, answers)
        if write.check is not None:
            raise ConditionalConflict("rival writes won every time")
        raise OperationTimeout("rival writes won every time")

    async def _successor(
        self, drive_set: DriveSet, write: VersionWrite, guessed: Record, deadline: Deadline
    ) -> Record | None:
        """What stands now where an unread commit that some drives took may have stood until a writer that knew of it
        came. Somebody may have read it before that: written once more, it would take effect twice.

        Its writer knew of it when its base is the commit's own time, which is known from nowhere else. A later base may
        come from further writers, or from before the commit, by a clock that is ahead. Asked after the basis of the
        next attempt was read: a successor that comes later is refused by it, or refuses.
        """
        successor = await self._reader.successor(
            drive_set, write.name, guessed.version_id, guessed.time, deadline=deadline
        )
        return successor if successor is not None and successor.base >= guessed.time else None

    async def read(self, drive_set: DriveSet, write: VersionWrite, *, deadline: Deadline) -> Reading:
        """What `write` begins with."""
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

    def _finished(
        self,
        write: VersionWrite,
        basis: WriteBasis,
        decided: Found | None,
        drive_set: DriveSet,
        company: Company | None,
    ) -> Record:
        """R6: the base of a blind write is the newest time seen, its company's own included; of a conditional one the
        time it decided on."""
        base = basis.newest_seen if decided is None else decided.decided_time
        if company is not None:
            base = max(base, company.newest)
        # What was decided on may have been read after the rest, and be newer.
        time = self._hybrid_clock.after(max(basis.newest_seen, base, write.not_before))
        if company is not None:
            company.newest = time
        version_id = write.version_id if write.version_id is not None else new_version_id(time, self._randomness)
        return msgspec.structs.replace(
            write.draft,
            version_id=version_id,
            created=write.keeps_created if write.keeps_created is not None else time,
            time=time,
            base=base,
            generations=tuple(basis.generations.get(slot, "") for slot in drive_set.slots),
        )

    async def _attempt(
        self,
        drive_set: DriveSet,
        write: VersionWrite,
        basis: WriteBasis,
        decided: Found | None,
        *,
        company: Company | None = None,
        is_unread: bool = False,
        deadline: Deadline,
    ) -> tuple[Record, Answers[None]]:
        """One commit to the drives of the basis, and what they say."""
        record, commits = self._prepare(drive_set, write, basis, decided, company=company, is_unread=is_unread)
        answers = await self._send(drive_set, commits, is_unread=is_unread, deadline=deadline)
        if _is_half_done(drive_set, answers):
            answers |= await self._send_again(drive_set, write, commits, answers, deadline=deadline)
        return record, answers

    def _prepare(
        self,
        drive_set: DriveSet,
        write: VersionWrite,
        basis: WriteBasis,
        decided: Found | None,
        *,
        company: Company | None = None,
        is_unread: bool = False,
    ) -> tuple[Record, dict[int, Commit]]:
        """The record and what is to be sent, by slot. Raises WriteQuorumLost."""
        record = self._finished(write, basis, decided, drive_set, company)
        if is_unread and record.kind is Kind.TOMBSTONE:  # It goes over whatever is older.
            record = msgspec.structs.replace(record, base=HybridTime(record.time - 1))
        slots = [slot for slot in basis.generations if write.staged_slots is None or slot in write.staged_slots]
        if len(slots) < drive_set.code.write_quorum:  # Not one commit is sent that could not reach its quorum.
            raise WriteQuorumLost(needed=drive_set.code.write_quorum, got=len(slots))
        return record, self._commits(drive_set, write, record, basis, slots, is_unread=is_unread)

    async def _send_again(
        self,
        drive_set: DriveSet,
        write: VersionWrite,
        commits: Mapping[int, Commit],
        answers: Answers[None],
        *,
        deadline: Deadline,
    ) -> Answers[None]:
        """Some drives took it, so it can not be made anew for a newer configuration or topology: those that know a
        newer one get it under that number."""
        of_bucket = [slot for slot, answer in answers.items() if isinstance(answer, StaleBucket)]
        of_topology = [slot for slot, answer in answers.items() if isinstance(answer, StaleTopology)]
        again: dict[int, Commit] = {}
        try:
            if of_bucket and write.reload_bucket is not None:
                number = await write.reload_bucket()
                again |= {slot: msgspec.structs.replace(commits[slot], bucket_number=number) for slot in of_bucket}
            # What a condition allowed here could be allowed elsewhere, too, by the newer topology.
            if of_topology and write.check is None and (may := await self.may_stay(drive_set, write.name, deadline)):
                again |= {slot: msgspec.structs.replace(commits[slot], topology_number=may) for slot in of_topology}
        except ObjectError as trouble:  # The bucket may be gone. Some drives took the write: it stays in doubt.
            _log.debug("a write met a bucket or a topology that can not be read again: %s", trouble)
            return {}
        return await self._send(drive_set, again, deadline=deadline) if again else {}

    def _send(
        self, drive_set: DriveSet, commits: Mapping[int, Commit], *, is_unread: bool = False, deadline: Deadline
    ) -> Coroutine[Any, Any, Answers[None]]:
        """A drive that hangs is waited for no longer than the grace once W others have taken the commit; an unread one
        can be read and sent anew, so there it is enough that W have said something."""
        return ask_until(
            drive_set,
            commits,
            lambda drive: drive.commit(commits[drive.slot], deadline=deadline),
            drive_set.code.write_quorum,
            # The calls keep their own: what arrives late is a commit all the same. Only the writer stops waiting.
            deadline=deadline.sooner(COMMIT_SECONDS),
            grace_seconds=GRACE_SECONDS,
            adopt=self._tasks.adopt,
            telling_errors=_REFUSALS if is_unread else (),
            pace=drive_set.paces.commits,
        )

    def _send_all(
        self, drive_set: DriveSet, commits: Sequence[Mapping[int, Commit]], *, deadline: Deadline
    ) -> Coroutine[Any, Any, Answers[list[StorageError | None]]]:
        """Several unread commits to the same drives: what each says of each. As `_send`."""
        return ask_until(
            drive_set,
            commits[0],
            lambda drive: _commit_all(drive, [each[drive.slot] for each in commits], deadline),
            drive_set.code.write_quorum,
            deadline=deadline.sooner(COMMIT_SECONDS),
            grace_seconds=GRACE_SECONDS,
            adopt=self._tasks.adopt,
            pace=drive_set.paces.commits,
        )

    def _commits(
        self,
        drive_set: DriveSet,
        write: VersionWrite,
        record: Record,
        basis: WriteBasis,
        slots: list[int],
        *,
        is_unread: bool,
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
                generation=basis.generations[slot],
                bucket_number=write.bucket_number,
                requires=write.requires,
                events=(event,) if event is not None and events_left > 0 else (),
                is_unread=is_unread,
                topology_number=write.topology_number,
            )
            events_left -= 1
        return commits

    def _acknowledge(self, drive_set: DriveSet, write: VersionWrite, record: Record, answers: Answers[None]) -> bool:
        """R2, R8: when W drives took it start the confirm, and report what is not on N for repair. False when fewer."""
        taken = count_values(answers)
        is_whole = taken == drive_set.code.width
        if not is_whole:
            self._guesses.forget(drive_set, write.name.bucket_id)
        if taken < drive_set.code.write_quorum:
            return False
        for ref in _refs(write, record):
            self._confirmer.confirm(drive_set, ref)
            if not is_whole:
                self._on_incomplete(drive_set, ref)
        return True

    def _raise_unless_retriable(
        self,
        drive_set: DriveSet,
        write: VersionWrite,
        record: Record,
        answers: Answers[None],
        *,
        is_in_doubt: bool = False,
    ) -> None:
        """Once any drive has accepted, or may have, the outcome is unknown: 503. Otherwise say what stands in the way.

        is_in_doubt: so it is of the commit before, sent on a guess.
        """
        troubles = errors(answers)
        refusals = [trouble for trouble in troubles if isinstance(trouble, _REFUSALS)]
        is_superseded = _is_superseded(answers)
        if count_values(answers) or len(refusals) < len(troubles) or (is_in_doubt and not is_superseded):
            raise self._in_doubt(drive_set, write, record, answers)
        if is_superseded:
            return
        raise refusal_error(drive_set, write, refusals)

    def _in_doubt(
        self, drive_set: DriveSet, write: VersionWrite, record: Record, answers: Answers[None]
    ) -> WriteQuorumLost:
        """The 503 of a write that some drives may hold, after reporting it for repair."""
        for ref in _refs(write, record):
            self._on_incomplete(drive_set, ref)
        return WriteQuorumLost(needed=drive_set.code.write_quorum, got=count_values(answers), causes=errors(answers))


class _Sent(NamedTuple):
    """A commit, and what the drives said of it."""

    record: Record
    answers: Answers[None]

    @property
    def holders_max(self) -> int:
        """How many drives have taken it, or may have."""
        return len(self.answers) - _count_refusals(self.answers)


async def _commit_all(drive: StorageAPI, commits: Sequence[Commit], deadline: Deadline) -> list[StorageError | None]:
    """What becomes of each: None, or its error. Raises the drive's trouble where none met with anything else."""
    calls = [asyncio.ensure_future(drive.commit(commit, deadline=deadline)) for commit in commits]
    answers = [await ask(call) for call in calls]
    troubles = [answer for answer in answers if answer is not None and not isinstance(answer, _REFUSALS)]
    if len(troubles) == len(answers):
        raise troubles[0]
    return answers


def _is_half_done(drive_set: DriveSet, answers: Answers[None]) -> bool:
    return 0 < count_values(answers) < drive_set.code.write_quorum


def _is_superseded(answers: Answers[None]) -> bool:
    return any(isinstance(trouble, Superseded) for trouble in errors(answers))


def _count_refusals(answers: Answers[None]) -> int:
    return sum(isinstance(trouble, _REFUSALS) for trouble in errors(answers))


def _may_make_a_key(write: VersionWrite) -> bool:
    """Whether it can be committed unread when its key is new: a blind write of an object without versions that has
    shards. A record without them rolls forward from one holder, so one that a second attempt has superseded could come
    back; and the second attempt of a new version could not have the same id, which tells when the version was created.
    """
    draft = write.draft
    return (
        draft.space is Space.OBJECT
        and bool(draft.parts)
        and write.version_id == NULL_VERSION
        and write.scope is CasScope.KEY
        and write.check is None
        and write.also is None
        and write.requires is None
    )


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
    if StaleTopology in kinds:
        return TopologyChanged()
    if StaleBucket in kinds:
        return BucketChanged(max(each.fields.get("number", 0) for each in refusals if isinstance(each, StaleBucket)))
    # A drive that was emptied lacks the upload too: only more drives than may be lost can tell that it is gone.
    if write.requires is not None and kinds[RequirementMissing] > drive_set.code.m:
        return UploadMissing(write.requires.key[-48:].decode(errors="replace"))
    if DriveFull in kinds:
        return StoreFull("too many drives refuse new data", causes=refusals)
    error: ObjectError = WriteQuorumLost(needed=drive_set.code.write_quorum, got=0, causes=refusals)
    return error
