"""Reading the registers of a key from every drive that answers, and deciding them."""

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from liteio_base.deadline import Deadline
from liteio_base.ids import VersionId
from liteio_contracts.object_errors import ReadQuorumLost
from liteio_contracts.storage import KeyAnswer, KeyName, KeyQuery
from liteio_contracts.storage_errors import RecordCorrupt, StorageError
from liteio_formats.record import RecordError, decode_record
from liteio_objects.drive_set import Answers, DriveSet, ask_until, errors, values
from liteio_objects.read_rule import Decision, Standing, View, decide, view_of

# A read that meets a version being trimmed starts again (R4). Trimming is one transaction a drive; more than a few
# rounds mean that drives answer inconsistently, which is for the caller to report.
RETRIES_MAX: Final = 5
RETRY_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True)
class Registers:
    """Some registers of one key as all answering drives hold them, each decided. `damaged`: the slots of drives that
    hold something of the key that can not be read any more."""

    answers: Mapping[int, KeyAnswer]
    views: Mapping[VersionId, Mapping[int, View]]
    decisions: Mapping[VersionId, Decision]
    troubles: Sequence[StorageError] = field(default=())
    damaged: frozenset[int] = frozenset()


async def read_registers(
    drive_set: DriveSet,
    name: KeyName,
    version_ids: Iterable[VersionId],
    *,
    wants_payload: bool = False,
    deadline: Deadline,
    grace_seconds: float = 1.0,
    adopt: "Callable[[asyncio.Future[KeyAnswer]], None] | None" = None,
) -> Registers:
    """Ask every drive for these registers and decide each by the read rule, reading again while one is being trimmed.

    `grace_seconds`: how long the rest is waited for when W have answered; what is still under way then is `adopt`ed.
    """
    query = KeyQuery(name, tuple(version_ids), wants_payload=wants_payload)
    for attempt in range(RETRIES_MAX):
        answers = await ask_until(
            drive_set,
            drive_set.slots,
            lambda drive: drive.read_key(query, deadline=deadline),
            drive_set.code.write_quorum,
            deadline=deadline,
            grace_seconds=grace_seconds,
            adopt=adopt,
            pace=drive_set.paces.reads,
        )
        _set_damaged_aside(answers)
        given = values(answers)
        views = {
            version_id: {slot: view_of(answer, version_id) for slot, answer in given.items()}
            for version_id in query.version_ids or ()
        }
        decisions = {version_id: decide(seen, drive_set.code) for version_id, seen in views.items()}
        if not any(is_being_trimmed(decision) for decision in decisions.values()):
            break
        await deadline.clock.sleep(RETRY_SECONDS * (attempt + 1))
    damaged = frozenset(slot for slot, answer in answers.items() if isinstance(answer, RecordCorrupt))
    return Registers(given, views, decisions, errors(answers), damaged)


def _set_damaged_aside(answers: Answers[KeyAnswer]) -> None:
    """A drive that shows a record which can not be read has a damaged index: that is its failure, not an answer."""
    readable: set[bytes] = set()  # The drives mostly hold the same bytes: each are looked at once.
    for slot, answer in values(answers).items():
        for entry in answer.entries:
            try:
                if entry.encoded not in readable:
                    decode_record(entry.encoded)
                    readable.add(entry.encoded)
            except RecordError as problem:
                answers[slot] = RecordCorrupt(str(problem), slot=slot)
                break


def is_being_trimmed(decision: Decision) -> bool:
    return decision.weighed is not None and decision.weighed.standing is Standing.RETRY


def quorum_lost(drive_set: DriveSet, answered: int, troubles: Sequence[StorageError]) -> ReadQuorumLost:
    return ReadQuorumLost(needed=drive_set.code.read_quorum, got=answered, causes=troubles)
