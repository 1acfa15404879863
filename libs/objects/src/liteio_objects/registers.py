"""Reading the registers of a key from every drive that answers, and deciding them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from liteio_base.deadline import Deadline
from liteio_base.ids import VersionId
from liteio_contracts.object_errors import ReadQuorumLost
from liteio_contracts.storage import KeyAnswer, KeyName, KeyQuery
from liteio_contracts.storage_errors import StorageError
from liteio_objects.drive_set import DriveSet, ask_until, errors, values
from liteio_objects.read_rule import Decision, Standing, View, decide, view_of

# A read that meets a version being trimmed starts again (R4). Trimming is one transaction a drive; more than a few
# rounds mean that drives answer inconsistently, which is for the caller to report.
RETRIES_MAX: Final = 5
RETRY_SECONDS: Final = 0.02
HEDGE_SECONDS: Final = 0.15


@dataclass(frozen=True, slots=True)
class Registers:
    """Some registers of one key as all answering drives hold them, each decided."""

    answers: Mapping[int, KeyAnswer]
    views: Mapping[VersionId, Mapping[int, View]]
    decisions: Mapping[VersionId, Decision]
    troubles: Sequence[StorageError] = field(default=())


async def read_registers(
    drive_set: DriveSet,
    name: KeyName,
    version_ids: Iterable[VersionId],
    *,
    wants_payload: bool = False,
    deadline: Deadline,
) -> Registers:
    """Ask every drive for these registers and decide each by the read rule, reading again while one is
    being trimmed."""
    query = KeyQuery(name, tuple(version_ids), wants_payload=wants_payload)
    for attempt in range(RETRIES_MAX):
        answers = await ask_until(
            drive_set,
            drive_set.slots,
            lambda drive: drive.read_key(query, deadline=deadline),
            lambda so_far: len(values(so_far)) >= drive_set.code.write_quorum,
            deadline=deadline,
            grace_seconds=1.0,
        )
        given = values(answers)
        views = {
            version_id: {slot: view_of(answer, version_id) for slot, answer in given.items()}
            for version_id in query.version_ids or ()
        }
        decisions = {version_id: decide(seen, drive_set.code) for version_id, seen in views.items()}
        if not any(is_being_trimmed(decision) for decision in decisions.values()):
            break
        await deadline.clock.sleep(RETRY_SECONDS * (attempt + 1))
    return Registers(given, views, decisions, errors(answers))


def is_being_trimmed(decision: Decision) -> bool:
    return decision.weighed is not None and decision.weighed.standing is Standing.RETRY


def quorum_lost(drive_set: DriveSet, answered: int, troubles: Sequence[StorageError]) -> ReadQuorumLost:
    return ReadQuorumLost(needed=drive_set.code.read_quorum, got=answered, causes=troubles)
