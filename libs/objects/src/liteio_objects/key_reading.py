"""Reading a key: which record is its latest, or that of one version, by the read rule over a quorum of drives.

The healthy read is one question to max(K, N-W+1) drives and one comparison of digests: any newer committed record is
on W drives, so at least one of those asked would have shown it. Everything else takes the long way: all drives, whole
registers, and a recommit where the rule asks for one.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final

import msgspec

from liteio_base.deadline import Deadline
from liteio_base.ids import NO_TIME, Generation, HybridTime, VersionId
from liteio_contracts.object_errors import ReadQuorumLost
from liteio_contracts.storage import Entry, KeyAnswer, KeyName, KeyQuery
from liteio_contracts.storage_errors import StorageError
from liteio_erasure.code import CodeParams
from liteio_formats.record import Kind, Record, RecordError, decode_record
from liteio_objects.drive_set import GRACE_SECONDS, Answers, DriveSet, ask_until, errors, values, watch
from liteio_objects.read_rule import Decision, Verdict, Weighed, candidates, count_authoritative, is_witnessed
from liteio_objects.registers import Registers, quorum_lost, read_registers
from liteio_objects.settling import Settler, payload_shards, undecided
from liteio_objects.shard_reading import PayloadShard
from liteio_objects.tasks import OwnedTasks

# A read is answered, with 503 if need be, well within ten seconds, whatever time its caller has.
READ_SECONDS: Final = 8.0
_TOMBSTONE: Final = Kind.TOMBSTONE  # An attribute of an enum costs as much as a call.
_NEVER_REACHED: Final = HybridTime(2**63 - 1)
_EXHAUSTED: Final = HybridTime(-1)
# One round goes one version down on every drive that lags; a key needs many only when as many versions of it were
# removed on some drives and are not yet on others.
_ROUNDS_MAX: Final = 10_000
_READS_TOGETHER: Final = 16  # about what a loop turn under load brings


@cache
def _rotations(width: int) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple((first + step) % width for step in range(width)) for first in range(width))


class Found(msgspec.Struct, frozen=True):
    """A key or version as read. `record` None: surely absent. `decided_time` is the base of a
    conditional write (R6)."""

    record: Record | None
    decided_time: HybridTime
    payloads: Mapping[int, PayloadShard] = {}  # by shard index, not yet verified


class WriteBasis(msgspec.Struct, frozen=True):
    """What a writer learnt before its first commit."""

    newest_seen: HybridTime
    generations: Mapping[int, Generation]  # by slot, of the drives that answered: only these are sent commits
    found: Found | None  # for conditional writes
    is_whole: bool  # all N answered and are authoritative


class KeyReader:
    """Reads keys of any space from their set."""

    def __init__(self, settler: Settler, tasks: OwnedTasks) -> None:
        self._settler, self._tasks = settler, tasks
        self._reads_of_any = 0
        self._unchecked_sets: set[int] = set()  # sets of which some drive was seen unchecked lately

    async def latest(
        self,
        drive_set: DriveSet,
        name: KeyName,
        *,
        payload_order: Sequence[int] | None = None,
        hear: Callable[[Iterable[KeyAnswer]], None] | None = None,
        deadline: Deadline,
    ) -> Found:
        """The newest version that is there: a value or a delete marker. Raises ReadQuorumLost when that can not be
        told.

        `payload_order`: the slots by shard index, when an inline object's payload is wanted, too; None: any drives do.
        `hear`: is told the drives' own answers, those of N-W+1 at least.
        """
        code, deadline = drive_set.code, deadline.sooner(READ_SECONDS)
        wants_payload = payload_order is not None
        query = KeyQuery(name, wants_payload=wants_payload)
        order = self._any_order(len(drive_set.drives)) if payload_order is None else payload_order
        is_wary = drive_set.set_index in self._unchecked_sets
        first, rest = drive_set.first_and_rest(order, max(code.k, code.m + 1 if is_wary else code.read_quorum))
        if not drive_set.paces.is_calm:
            self._probe(drive_set, query, deadline)
        hedge_seconds = drive_set.hedge_seconds(drive_set.paces.reads)
        heads = await self._ask_heads(drive_set, first, query, deadline=deadline, patience_seconds=hedge_seconds)
        known = values(heads)
        found = agreed(known, drive_set) if len(known) == len(first) else None
        if hear is not None:
            hear(known.values())
        if found is None or is_wary:
            self._note_unchecked(drive_set, known.values())
        if found is not None:
            return found
        missing = [slot for slot in first if slot not in known]
        drive_set.paces.reads.hedges += len(missing)
        heads |= await self._ask_heads(drive_set, [*rest, *missing], query, known, deadline=deadline)
        if hear is not None:
            hear(values(heads).values())
        return await self._weigh_heads(drive_set, name, heads, wants_payload=wants_payload, deadline=deadline)

    async def version(
        self,
        drive_set: DriveSet,
        name: KeyName,
        version_id: VersionId,
        *,
        wants_payload: bool = False,
        deadline: Deadline,
    ) -> Found:
        """The record of exactly this version id, None when it was removed or never was."""
        deadline = deadline.sooner(READ_SECONDS)
        registers = await self.registers(drive_set, name, (version_id,), wants_payload=wants_payload, deadline=deadline)
        decision = await self.settled_enough(drive_set, name, registers, version_id, deadline=deadline)
        weighed = decision.weighed if decision.verdict is Verdict.HOLDS else None
        decided_time = weighed.entry.time if weighed is not None else NO_TIME
        if weighed is None or decision.live is None:
            return Found(None, decided_time)
        payloads = payload_shards(registers, weighed.record, weighed.entry.digest) if wants_payload else {}
        return Found(weighed.record, decided_time, payloads)

    async def successor(
        self, drive_set: DriveSet, name: KeyName, version_id: VersionId, time: HybridTime, *, deadline: Deadline
    ) -> Record | None:
        """The record that stands for a version id, a tombstone included, when it is newer than `time`. Raises
        ReadQuorumLost."""
        deadline = deadline.sooner(READ_SECONDS)
        registers = await self.registers(drive_set, name, (version_id,), wants_payload=False, deadline=deadline)
        weighed = registers.decisions[version_id].weighed
        if weighed is None or weighed.entry.time <= time:
            return None
        decision = await self.settled_enough(drive_set, name, registers, version_id, deadline=deadline)
        if decision.verdict is not Verdict.HOLDS or decision.weighed is None or decision.weighed.entry.time <= time:
            return None
        return decision.weighed.record

    async def check_gone(
        self, drive_set: DriveSet, name: KeyName, version_id: VersionId, time: HybridTime, *, deadline: Deadline
    ) -> None:
        """Raises ReadQuorumLost while a record that K drives took may still be committed or rolled forward.

        That a reader skips it says no more than that it was not acknowledged up to now. When W drives answer and none
        holds it, fewer than K can: it was rolled back behind fences, or its holders were emptied.
        """
        deadline = deadline.sooner(READ_SECONDS)
        registers = await self.registers(drive_set, name, (version_id,), wants_payload=False, deadline=deadline)
        views = registers.views[version_id]
        if len(views) < drive_set.code.write_quorum or any(entry.time == time for entry in candidates(views)):
            raise undecided(drive_set, registers.decisions[version_id], list(registers.troubles))

    async def basis(
        self,
        drive_set: DriveSet,
        name: KeyName,
        *,
        version_id: VersionId | None = None,
        is_conditional: bool = False,
        deadline: Deadline,
    ) -> WriteBasis:
        """Read before a write: all drives; N-W+1 authoritative answers are needed, also for a blind write.

        `version_id`: the register that the write will change, when it is not a new version.
        """
        deadline = deadline.sooner(READ_SECONDS)
        basis, heads = await self._basis(drive_set, name, version_id, deadline)
        if not is_conditional:
            return basis
        found = await self._weigh_heads(drive_set, name, heads, wants_payload=False, deadline=deadline)
        return msgspec.structs.replace(basis, found=found)

    async def basis_and_latest(
        self, drive_set: DriveSet, name: KeyName, *, version_id: VersionId | None = None, deadline: Deadline
    ) -> tuple[WriteBasis, Found | ReadQuorumLost]:
        """`basis`, and `latest` by the same answers, with its doubt as a value: for who writes also when what is there
        can not be told."""
        deadline = deadline.sooner(READ_SECONDS)
        basis, heads = await self._basis(drive_set, name, version_id, deadline)
        try:
            return basis, await self._weigh_heads(drive_set, name, heads, wants_payload=False, deadline=deadline)
        except ReadQuorumLost as doubt:
            return basis, doubt

    async def _basis(
        self, drive_set: DriveSet, name: KeyName, version_id: VersionId | None, deadline: Deadline
    ) -> tuple[WriteBasis, Answers[KeyAnswer]]:
        """With the answers that it rests on."""
        query = KeyQuery(name)
        heads = await self._ask_heads(drive_set, drive_set.slots, query, deadline=deadline, grace_seconds=GRACE_SECONDS)
        answers = values(heads)
        newest = newest_time(answers.values())
        if version_id is not None and not _head_shows(answers.values(), version_id):
            registers = await read_registers(drive_set, name, (version_id,), deadline=deadline)
            newest = max(newest, newest_time(registers.answers.values()))
            # A drive whose generation changed between the two answers would be refused by it; keep the earlier one.
        authoritative = count_authoritative(answers.values())
        if not is_witnessed(answers.values(), drive_set.code):
            raise quorum_lost(drive_set, authoritative, errors(heads))
        generations = {slot: answer.generation for slot, answer in answers.items()}
        return WriteBasis(newest, generations, None, is_whole=authoritative == drive_set.code.width), heads

    def _note_unchecked(self, drive_set: DriveSet, answers: Iterable[KeyAnswer]) -> None:
        """For the next read: whether it had better ask more drives at once."""
        if any(answer.is_unchecked for answer in answers):
            self._unchecked_sets.add(drive_set.set_index)
        else:
            self._unchecked_sets.discard(drive_set.set_index)

    def _any_order(self, width: int) -> Sequence[int]:
        """Slots for a read that any drives can answer. Several reads in a row ask the same ones: what is asked of a
        drive in one turn of the loop travels together, and half as many drives are half as many hand-offs.
        """
        self._reads_of_any += 1
        return _rotations(width)[self._reads_of_any // _READS_TOGETHER % width]

    def _probe(self, drive_set: DriveSet, query: KeyQuery, deadline: Deadline) -> None:
        """Now and then a slow drive is asked as well, and nobody waits for it: so it is seen when it is quick again."""
        now = asyncio.get_running_loop().time()
        slot = drive_set.paces.due_for_probe(now)
        if slot is not None:
            asked = asyncio.ensure_future(drive_set.drives[slot].read_key(query, deadline=deadline))
            watch(drive_set.paces.reads, slot, asked, now)
            self._tasks.adopt(asked)

    def _ask_heads(
        self,
        drive_set: DriveSet,
        slots: Iterable[int],
        query: KeyQuery,
        known: Mapping[int, KeyAnswer] | None = None,
        *,
        deadline: Deadline,
        patience_seconds: float | None = None,
        grace_seconds: float = 0.0,
    ) -> Coroutine[Any, Any, Answers[KeyAnswer]]:
        """Ask until these drives and those of `known` are enough for the read rule, or `patience_seconds` are over."""
        witnesses = tuple(known.values()) if known else ()
        return ask_until(
            drive_set,
            slots,
            lambda drive: drive.read_key(query, deadline=deadline),
            drive_set.code.write_quorum - len(witnesses),
            lambda so_far: is_witnessed((*witnesses, *values(so_far).values()), drive_set.code),
            deadline=deadline if patience_seconds is None else deadline.sooner(patience_seconds),
            grace_seconds=grace_seconds,
            adopt=self._tasks.adopt,
            pace=drive_set.paces.reads,
        )

    async def _weigh_heads(
        self,
        drive_set: DriveSet,
        name: KeyName,
        heads: Answers[KeyAnswer],
        *,
        wants_payload: bool,
        deadline: Deadline,
    ) -> Found:
        answers = values(heads)
        if len(answers) >= drive_set.code.write_quorum:
            found = agreed(answers, drive_set)
            if found is not None:
                return found
        if not is_witnessed(answers.values(), drive_set.code) and not any(
            answer.entries for answer in answers.values()
        ):
            raise quorum_lost(drive_set, count_authoritative(answers.values()), errors(heads))
        descent = _Descent(self, drive_set, name, answers, wants_payload, deadline)
        return await descent.find()

    async def settled_enough(
        self,
        drive_set: DriveSet,
        name: KeyName,
        registers: Registers,
        version_id: VersionId,
        *,
        deadline: Deadline,
    ) -> Decision:
        """The register's decision, after the recommit that R5 may ask for. Raises ReadQuorumLost when
        it is undecided."""
        decision = registers.decisions[version_id]
        if decision.verdict is Verdict.RECOMMIT and decision.weighed is not None:
            holders = await self._settler.roll_forward(
                drive_set, name, decision.weighed, registers.views[version_id], deadline=deadline
            )
            if len(holders) >= drive_set.code.write_quorum:
                return Decision(Verdict.HOLDS, decision.weighed)
            # A newer half write may stand in the way on some drives: settled, it does so no more.
            await self._settler.settle(drive_set, name, version_id, deadline=deadline)
            registers = await read_registers(drive_set, name, (version_id,), deadline=deadline)
            decision = registers.decisions[version_id]
        if decision.verdict in (Verdict.HOLDS, Verdict.EMPTY):
            return decision
        raise undecided(drive_set, decision, list(registers.troubles))

    async def registers(
        self,
        drive_set: DriveSet,
        name: KeyName,
        version_ids: Iterable[VersionId],
        *,
        wants_payload: bool,
        deadline: Deadline,
    ) -> Registers:
        """Whole registers, for a reader: it does not wait long for a drive that others can do without."""
        return await read_registers(
            drive_set,
            name,
            version_ids,
            wants_payload=wants_payload,
            deadline=deadline,
            grace_seconds=drive_set.hedge_seconds(drive_set.paces.reads),
            adopt=self._tasks.adopt,
        )


class _Descent:
    """The long way to a key's latest version: from the newest down, deciding each register met, until one is live and
    no
    drive could hold a newer one that was not looked at."""

    def __init__(
        self,
        reader: KeyReader,
        drive_set: DriveSet,
        name: KeyName,
        heads: Mapping[int, KeyAnswer],
        wants_payload: bool,
        deadline: Deadline,
    ) -> None:
        self._reader, self._drive_set, self._name = reader, drive_set, name
        self._wants_payload, self._deadline = wants_payload, deadline
        self._reached = dict.fromkeys(heads, _NEVER_REACHED)
        self._decided: dict[VersionId, Weighed | None] = {}
        self._payloads: dict[bytes, Mapping[int, PayloadShard]] = {}
        self._decided_time = NO_TIME
        self._heads = dict(heads)  # of the drives that were seen down to `_reached`

    async def find(self) -> Found:
        answers: Mapping[int, KeyAnswer] = self._heads
        for _ in range(_ROUNDS_MAX):
            await self._take(answers)
            newest = max(
                (weighed for weighed in self._decided.values() if weighed is not None),
                key=lambda weighed: (weighed.entry.created, weighed.entry.version_id),
                default=None,
            )
            floor = newest.entry.created if newest is not None else _EXHAUSTED
            lagging = {slot: reached for slot, reached in self._reached.items() if reached > floor}
            if not lagging:
                return self._found(newest)
            answers = await self._ask_below(lagging)
        raise quorum_lost(self._drive_set, len(self._heads), ())

    async def _ask_below(self, lagging: Mapping[int, HybridTime]) -> dict[int, KeyAnswer]:
        witnesses = {slot: head for slot, head in self._heads.items() if slot not in lagging}
        given = await ask_until(
            self._drive_set,
            lagging,
            lambda drive: drive.read_key(KeyQuery(self._name, below=lagging[drive.slot]), deadline=self._deadline),
            0,
            lambda so_far: is_witnessed((*witnesses.values(), *values(so_far).values()), self._drive_set.code),
            deadline=self._deadline,
            grace_seconds=GRACE_SECONDS,
            pace=self._drive_set.paces.reads,
        )
        for slot, answer in given.items():
            if isinstance(answer, StorageError):  # What it holds further down is not known: no witness any more.
                self._reached[slot] = _EXHAUSTED
                del self._heads[slot]
        return values(given)

    async def _take(self, answers: Mapping[int, KeyAnswer]) -> None:
        """Decide the registers that these heads show for the first time, and note how far down each drive has come."""
        fresh: set[VersionId] = set()
        for slot, answer in answers.items():
            below = self._reached[slot]
            rows = [entry for entry in answer.entries if not entry.is_tombstone and entry.created < below]
            self._reached[slot] = rows[-1].created if rows and rows[-1].is_settled else _EXHAUSTED
            fresh.update(entry.version_id for entry in answer.entries if entry.version_id not in self._decided)
            # Only of the heads that came before the registers were read. Those asked for what is further down came
            # later: what is newest there may be a rival's, written since, and was not decided on (R6).
            if below == _NEVER_REACHED and all(entry.is_settled for entry in answer.entries):
                self._decided_time = max(self._decided_time, answer.head_time)
        if not fresh:
            return
        registers = await self._reader.registers(
            self._drive_set, self._name, sorted(fresh), wants_payload=self._wants_payload, deadline=self._deadline
        )
        for version_id in fresh:
            decision = await self._reader.settled_enough(
                self._drive_set, self._name, registers, version_id, deadline=self._deadline
            )
            self._decided[version_id] = decision.live
            if decision.weighed is not None and decision.verdict is Verdict.HOLDS:
                self._decided_time = max(self._decided_time, decision.weighed.entry.time)
            if decision.live is not None and self._wants_payload:
                record = decision.live.record
                self._payloads[decision.live.entry.digest] = payload_shards(
                    registers, record, decision.live.entry.digest
                )

    def _found(self, newest: Weighed | None) -> Found:
        code = self._drive_set.code
        holders = newest.holders & self._heads.keys() if newest is not None else frozenset[int]()
        seen = sum(not self._heads[slot].is_unchecked for slot in holders)
        # Something newer that was acknowledged would have been shown by a witness, or by one of K checked holders.
        if seen < code.k and not is_witnessed(self._heads.values(), code):
            raise quorum_lost(self._drive_set, count_authoritative(self._heads.values()), ())
        if newest is None:
            return Found(None, self._decided_time)
        return Found(newest.record, self._decided_time, self._payloads.get(newest.entry.digest, {}))


def agreed(answers: Mapping[int, KeyAnswer], drive_set: DriveSet) -> Found | None:
    """The fast path: what these drives say if they say the same and it is sure; None sends the reader the long way."""
    code = drive_set.code
    newest: list[Entry] = []
    authoritative, unchecked, decided_time = 0, 0, NO_TIME
    for head in answers.values():
        if head.is_authoritative:
            authoritative += 1
            unchecked += head.is_unchecked
            decided_time = max(decided_time, head.head_time)
        for entry in head.entries:
            if entry.kind is _TOMBSTONE:
                return None
        newest += head.entries[:1]
    if authoritative - unchecked < code.read_quorum and authoritative <= code.m:  # `is_witnessed`, in this pass
        return None
    if not newest:
        return Found(None, decided_time)
    if len(newest) < len(answers) or not _is_sure(newest, code):
        return None
    try:
        record = decode_record(newest[0].encoded)
    except RecordError:  # That drive's index is damaged.
        return None
    if record.parts and len(newest) < code.k:
        return None
    payloads = _payloads_of(answers, record) if newest[0].payload is not None else {}
    return Found(record, max(decided_time, record.time), payloads)


def _is_sure(newest: Sequence[Entry], code: CodeParams) -> bool:
    """Whether these are one record that one of them has settled, or that W of them hold."""
    digest, is_settled = newest[0].digest, False
    for entry in newest:
        if entry.digest != digest:
            return False
        is_settled = is_settled or entry.is_settled
    return is_settled or len(newest) >= code.write_quorum


def _payloads_of(answers: Mapping[int, KeyAnswer], record: Record) -> dict[int, PayloadShard]:
    found = {}
    for slot, answer in answers.items():
        entry: Entry = answer.entries[0]
        if entry.payload is not None:
            found[record.shard_index_of(slot)] = PayloadShard(entry.payload, entry.payload_hash)
    return found


def newest_time(answers: Iterable[KeyAnswer]) -> HybridTime:
    """The newest hybrid time seen anywhere: heads, rows, tombstones, settled or not, on whole drives or not."""
    newest = NO_TIME
    for answer in answers:
        newest = max(newest, answer.head_time)
        for entry in answer.entries:
            newest = max(newest, entry.time)
    return newest


def _head_shows(answers: Iterable[KeyAnswer], version_id: VersionId) -> bool:
    """Whether every head begins with this very version, so that nothing newer of its register can be hidden below."""
    return all(not answer.entries or answer.entries[0].version_id == version_id for answer in answers)
