"""Settling a register: rolling forward what was or may have been acknowledged, rolling back behind fences what was not.

docs/protocols/commit.md, "Settling": R1, R7, R8. Any gateway, and the healer, may settle any key at any time.
"""

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum, auto
from typing import NamedTuple

from liteio_base.deadline import Deadline
from liteio_base.ids import VersionId
from liteio_contracts.object_errors import ReadQuorumLost
from liteio_contracts.storage import (
    CasScope,
    Commit,
    FenceRequest,
    KeyName,
    RowCommit,
    VersionRef,
)
from liteio_contracts.storage_errors import StorageError
from liteio_formats.bodies import UploadState, decode_upload_body
from liteio_formats.keys import split_upload_key
from liteio_formats.record import Kind, Record, Space, decode_record
from liteio_objects.confirming import Confirmer
from liteio_objects.drive_set import DriveSet, ask_drives, ask_most, values
from liteio_objects.read_rule import (
    Decision,
    Standing,
    View,
    Weighed,
    candidates,
    is_witnessed,
    named_generation,
    weigh,
)
from liteio_objects.registers import Registers, read_registers
from liteio_objects.shard_reading import PayloadShard, rebuild_inline, rebuild_part


class Settled(Enum):
    """How a settling pass of one register ended."""

    WHOLE = auto()  # its newest record is on all N drives and confirmed
    PARTIAL = auto()  # committed and confirmed, but some drives could not be given it
    EMPTY = auto()  # surely nothing is held
    UNDECIDED = auto()  # too few answers; try again later


class Outcome(NamedTuple):
    """What a settling pass came to; `holders`: the slots that surely hold the register's newest record now.
    `is_version`: it is a value or a delete marker; `size_bytes`: of the object; `given`: drives that had lacked it, by
    slot."""

    settled: Settled
    holders: frozenset[int] = frozenset()
    is_version: bool = False
    size_bytes: int = 0
    given: frozenset[int] = frozenset()


class _How(NamedTuple):
    """Of one pass: slots of drives that can not read what they hold, what is known already, whether confirms wait."""

    damaged: frozenset[int]
    known: Registers | None
    confirms_later: bool


class Settler:
    """Brings a register's drives to agreement. Stateless but for the confirmer it hands finished work to."""

    def __init__(self, confirmer: Confirmer) -> None:
        self._confirmer = confirmer

    async def settle(self, drive_set: DriveSet, name: KeyName, version_id: VersionId, *, deadline: Deadline) -> Settled:
        """One pass over a register. Idempotent; rivals may run it at the same time."""
        return (await self.settle_on(drive_set, name, version_id, deadline=deadline)).settled

    async def settle_on(
        self,
        drive_set: DriveSet,
        name: KeyName,
        version_id: VersionId,
        known: Registers | None = None,
        *,
        confirms_later: bool = False,
        deadline: Deadline,
    ) -> Outcome:
        """As `settle`, telling also which drives surely hold the record. `known`: the register as it was just read,
        with payloads. `confirms_later`: the confirm is not waited for and shares a message with others."""
        registers = known or await read_registers(drive_set, name, (version_id,), deadline=deadline)
        how = _How(registers.damaged, known, confirms_later)
        views = registers.views[version_id]
        for entry in candidates(views):
            weighed = weigh(entry, views, drive_set.code)
            if weighed.standing in (Standing.COMMITTED, Standing.FORWARD):
                outcome = await self._finish(drive_set, name, weighed, views, how, deadline=deadline)
                if outcome.settled is not Settled.UNDECIDED:
                    return outcome
            if not await self._is_dead(drive_set, name, weighed, deadline=deadline):
                return Outcome(Settled.UNDECIDED)
            await self._roll_back(drive_set, name, weighed, deadline=deadline)
        return Outcome(Settled.EMPTY if is_witnessed(views.values(), drive_set.code) else Settled.UNDECIDED)

    async def roll_forward(
        self,
        drive_set: DriveSet,
        name: KeyName,
        weighed: Weighed,
        views: Mapping[int, View],
        damaged: frozenset[int] = frozenset(),
        known: Registers | None = None,
        *,
        deadline: Deadline,
    ) -> frozenset[int]:
        """Give the record, with its shards, to the answering drives that lack it: until it is proven only to those that
        it names (R5). Returns the slots that hold it then.

        R7: a version seen on W drives or settled anywhere lifts a fence against it. `damaged`: drives that can not read
        what they hold of the key; one that is given a proven record in its place can again. `known`: the register with
        payloads, if it was read so.
        """
        lacking = [
            slot
            for slot in views
            if slot not in weighed.holders and (weighed.is_proven or named_generation(weighed.record, slot))
        ]
        if weighed.is_proven:
            lacking += sorted(damaged - weighed.holders)
        if not lacking:
            return weighed.holders
        rows = await self._rows_for(drive_set, name, weighed, lacking, known, deadline=deadline)
        results = await ask_drives(
            drive_set,
            rows,
            lambda drive: drive.commit(Commit((rows[drive.slot],), lifts_fences=weighed.is_proven), deadline=deadline),
        )
        return weighed.holders | values(results).keys()

    async def _finish(
        self,
        drive_set: DriveSet,
        name: KeyName,
        weighed: Weighed,
        views: Mapping[int, View],
        how: "_How",
        *,
        deadline: Deadline,
    ) -> Outcome:
        if _is_finished(weighed, views, drive_set):
            return _outcome(Settled.WHOLE, weighed.holders, weighed.record)
        had = weighed.holders
        given = (how.damaged, how.known)
        holders = await self.roll_forward(drive_set, name, weighed, views, *given, deadline=deadline)
        if len(holders) < drive_set.code.write_quorum:
            return Outcome(Settled.UNDECIDED)
        if not weighed.is_proven:  # It is now.
            weighed = replace(weighed, standing=Standing.COMMITTED, holders=holders)
            holders = await self.roll_forward(drive_set, name, weighed, views, *given, deadline=deadline)
        ref = VersionRef(name, weighed.entry.version_id, weighed.entry.time)
        if how.confirms_later:
            self._confirmer.confirm(drive_set, ref)
        else:
            await self._confirmer.confirm_now(drive_set, ref, deadline=deadline)
        settled = Settled.WHOLE if len(holders) == drive_set.code.width else Settled.PARTIAL
        return _outcome(settled, holders, weighed.record, given=holders - had)

    async def _is_dead(self, drive_set: DriveSet, name: KeyName, weighed: Weighed, *, deadline: Deadline) -> bool:
        """R1: whether the record can not come to W drives any more, because of fences that are asked for if need be."""
        if weighed.standing is Standing.DEAD:
            return True
        if weighed.standing is Standing.UNKNOWN or weighed.is_proven:
            return False
        if not await self._is_object_gone(drive_set, name, weighed, deadline=deadline):
            return False
        return await self._fence(drive_set, name, weighed, deadline=deadline)

    async def _is_object_gone(
        self, drive_set: DriveSet, name: KeyName, weighed: Weighed, *, deadline: Deadline
    ) -> bool:
        """The end of an upload is rolled back only after the object of the same commit. Who then reads the upload
        as open may abort it, or complete it once more, and nothing of the first Complete comes to light after that."""
        record = weighed.record
        if record.space is not Space.UPLOAD or record.kind is not Kind.VALUE:
            return True
        body = decode_upload_body(record.body)
        if body.state is UploadState.OPEN:
            return True
        object_name = KeyName(Space.OBJECT, name.bucket_id, split_upload_key(name.key)[0])
        version_id = body.object_version_id
        await self.settle(drive_set, object_name, version_id, deadline=deadline)
        registers = await read_registers(drive_set, object_name, (version_id,), deadline=deadline)
        views = registers.views[version_id]
        if len(views) < drive_set.code.write_quorum:
            return False
        for entry in candidates(views):
            if entry.time == record.time:
                return False
            # Somebody wrote over the object, who may have read it: then the upload ended.
            if weighed.standing is Standing.FORWARD and decode_record(entry.encoded).base >= record.time:
                return False
        return True

    async def _fence(self, drive_set: DriveSet, name: KeyName, weighed: Weighed, *, deadline: Deadline) -> bool:
        """R1: ask every drive to refuse the record from now on. True when N-W+1 vouching drives are seen to do so."""
        entry, record = weighed.entry, weighed.record
        ref = VersionRef(name, entry.version_id, entry.time)
        await ask_most(
            drive_set,
            drive_set.slots,
            lambda drive: drive.fence(
                FenceRequest(ref, record.base, named_generation(record, drive.slot)),
                deadline=deadline,
            ),
            deadline=deadline,
        )
        # Not the answers count: a drive that was emptied since has forgotten its promise.
        registers = await read_registers(drive_set, name, (entry.version_id,), deadline=deadline)
        return weigh(entry, registers.views[entry.version_id], drive_set.code).standing is Standing.DEAD

    async def _roll_back(self, drive_set: DriveSet, name: KeyName, weighed: Weighed, *, deadline: Deadline) -> None:
        ref = VersionRef(name, weighed.entry.version_id, weighed.entry.time)
        await ask_most(
            drive_set, drive_set.slots, lambda drive: drive.roll_back(ref, deadline=deadline), deadline=deadline
        )

    async def _rows_for(
        self,
        drive_set: DriveSet,
        name: KeyName,
        weighed: Weighed,
        lacking: list[int],
        known: Registers | None,
        *,
        deadline: Deadline,
    ) -> dict[int, RowCommit]:
        """The row for each lacking drive, its shards staged there first. Drives that can not be given
        one are left out."""
        record, encoded = weighed.record, weighed.entry.encoded

        def row(slot: int, payload: PayloadShard | None = None) -> RowCommit:
            shard_index = record.shard_index_of(slot) if record.order else 0
            plain = RowCommit(encoded, CasScope.VERSION, record.time, shard_index)
            if payload is None:
                return plain
            return RowCommit(encoded, CasScope.VERSION, record.time, shard_index, payload.payload, payload.payload_hash)

        if record.kind is not Kind.VALUE or not record.parts:
            return {slot: row(slot) for slot in lacking}
        indexes = {record.shard_index_of(slot): slot for slot in lacking}
        if record.is_inline:
            holding = known or await read_registers(
                drive_set, name, (record.version_id,), wants_payload=True, deadline=deadline
            )
            shards = payload_shards(holding, record, weighed.entry.digest)
            rebuilt = rebuild_inline(drive_set.code, record, shards, frozenset(indexes))
            return {indexes[index]: row(indexes[index], payload) for index, payload in rebuilt.items()}
        staged = set(indexes)
        for part in record.parts:
            staged &= await rebuild_part(
                drive_set, record, part, frozenset(staged), deadline=deadline, holders=weighed.holders
            )
        return {indexes[index]: row(indexes[index]) for index in staged}


def _outcome(
    settled: Settled, holders: frozenset[int], record: Record, *, given: frozenset[int] = frozenset()
) -> Outcome:
    is_version = record.kind is not Kind.TOMBSTONE
    return Outcome(settled, holders, is_version, record.size_bytes if is_version else 0, given)


def _is_finished(weighed: Weighed, views: Mapping[int, View], drive_set: DriveSet) -> bool:
    """Whether all N drives hold this record alone, settled, and no fences: a confirm would change nothing. That of an
    upload or a bucket also clears what hangs on it, so it is repeated."""
    if weighed.record.space not in (Space.OBJECT, Space.PART) or len(weighed.holders) < drive_set.code.width:
        return False
    return all(
        len(view.entries) == 1 and view.entries[0].is_settled and not view.fenced_times for view in views.values()
    )


def payload_shards(registers: Registers, record: Record, digest: bytes) -> dict[int, PayloadShard]:
    """The inline shards of one record that came along with an answer, by shard index, not yet verified."""
    found = {}
    for slot, answer in registers.answers.items():
        for entry in answer.entries:
            if entry.digest == digest and entry.payload is not None and slot in record.order:
                found[record.shard_index_of(slot)] = PayloadShard(entry.payload, entry.payload_hash)
    return found


def undecided(drive_set: DriveSet, decision: Decision, troubles: list[StorageError]) -> ReadQuorumLost:
    """The 503 of a register that can not be decided now."""
    held = len(decision.weighed.holders) if decision.weighed is not None else 0
    return ReadQuorumLost(
        "what is stored under the key can not be decided now",
        needed=drive_set.code.write_quorum,
        got=held,
        causes=troubles,
    )
