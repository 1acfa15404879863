"""A raw census: which drives hold what of a version, looked up without the object layer and judged by hash.

The oracle of simulations and of chaos tests: after an acknowledged write at least W drives must hold the row, after
settling all of them, each with a shard that verifies.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from liteio_base.deadline import Deadline
from liteio_base.ids import DriveId, HybridTime, VersionId
from liteio_contracts.storage import Entry, KeyName, KeyQuery, ShardRef, StorageAPI
from liteio_contracts.storage_errors import DriveUnavailable, RecordCorrupt, ShardCorrupt, ShardMissing
from liteio_erasure.bitrot import verify_block
from liteio_formats.record import Kind, PartEntry, Record, decode_record


class ShardState(StrEnum):
    """A drive's shards of a version, all parts together; the worst part counts."""

    NONE_NEEDED = "none needed"  # a marker, a tombstone, an empty object
    VALID = "valid"
    MISSING = "missing"
    CORRUPT = "corrupt"
    UNKNOWN = "unknown"  # the drive did not answer, or holds no row that says what to look for


@dataclass(frozen=True, slots=True)
class DriveFinding:
    """What one drive holds. entry None: no row or tombstone of the version (at the time asked for), or no answer."""

    drive_id: DriveId
    slot: int
    is_reachable: bool
    is_authoritative: bool
    entry: Entry | None
    shards: ShardState
    is_index_corrupt: bool = False

    @property
    def holds(self) -> bool:
        return self.entry is not None

    @property
    def is_settled(self) -> bool:
        return self.entry is not None and self.entry.is_settled

    @property
    def has_data(self) -> bool:
        """Row and shards are here and sound."""
        return self.holds and self.shards in (ShardState.VALID, ShardState.NONE_NEEDED)

    def __str__(self) -> str:
        if not self.is_reachable:
            return f"slot {self.slot}: no answer"
        witness = "" if self.is_authoritative else " (not authoritative)"
        if self.entry is None:
            damage = "index corrupt" if self.is_index_corrupt else "nothing"
            return f"slot {self.slot}: {damage}{witness}"
        mark = "settled" if self.entry.is_settled else "unsettled"
        return f"slot {self.slot}: {self.entry.kind.name} at {self.entry.time} {mark}, shards {self.shards}{witness}"


@dataclass(frozen=True, slots=True)
class Census:
    """The findings in slot order. `str` of it goes into a failed assertion."""

    name: KeyName
    version_id: VersionId
    findings: tuple[DriveFinding, ...]

    @property
    def holders(self) -> int:
        """Drives that hold the row, whatever became of their shards."""
        return sum(finding.holds for finding in self.findings)

    @property
    def settled(self) -> int:
        return sum(finding.is_settled for finding in self.findings)

    @property
    def with_data(self) -> int:
        """Drives whose row and shards are sound: K of them give the object back."""
        return sum(finding.has_data for finding in self.findings)

    @property
    def digests(self) -> set[bytes]:
        """More than one: the drives hold different records."""
        return {finding.entry.digest for finding in self.findings if finding.entry is not None}

    @property
    def is_whole(self) -> bool:
        """Every drive holds one and the same settled record with sound shards."""
        return len(self.digests) == 1 and all(finding.is_settled and finding.has_data for finding in self.findings)

    def __str__(self) -> str:
        lines = (f"{self.name.key!r} version {self.version_id!r}", *map(str, self.findings))
        return "\n  ".join(lines)


async def take_census(
    drives: Iterable[StorageAPI],
    name: KeyName,
    version_id: VersionId,
    *,
    deadline: Deadline,
    time: HybridTime | None = None,
) -> Census:
    """Look at every drive, reading and hashing all shards. `time`: the record committed then; None: each drive's newest
    record of the version. Drives that do not answer, and damage, are findings; nothing is raised for them.
    """
    findings = [await _look_at(drive, name, version_id, time, deadline) for drive in drives]
    return Census(name, version_id, tuple(sorted(findings, key=lambda finding: finding.slot)))


async def _look_at(
    drive: StorageAPI, name: KeyName, version_id: VersionId, time: HybridTime | None, deadline: Deadline
) -> DriveFinding:
    try:
        status = await drive.status(deadline=deadline)
        query = KeyQuery(name, (version_id,), wants_payload=True)
        try:
            answer = await drive.read_key(query, deadline=deadline)
        except RecordCorrupt:
            seen = (True, status.is_authoritative, None, ShardState.UNKNOWN, True)
            return DriveFinding(drive.drive_id, drive.slot, *seen)
        entry = _newest(answer.entries, time)
        shards = ShardState.UNKNOWN if entry is None else await _judge(drive, entry, deadline)
        return DriveFinding(drive.drive_id, drive.slot, True, answer.is_authoritative, entry, shards)
    except DriveUnavailable:
        return DriveFinding(drive.drive_id, drive.slot, False, False, None, ShardState.UNKNOWN)


def _newest(entries: Sequence[Entry], time: HybridTime | None) -> Entry | None:
    asked = [entry for entry in entries if time is None or entry.time == time]
    return max(asked, key=lambda entry: entry.time, default=None)


async def _judge(drive: StorageAPI, entry: Entry, deadline: Deadline) -> ShardState:
    record = decode_record(entry.encoded)
    parts = [part for part in record.parts if part.size_bytes]
    if record.kind is not Kind.VALUE or not parts:
        return ShardState.NONE_NEEDED
    if record.is_inline:
        return _judge_payload(entry, record, parts[0], drive.slot)
    states = [await _judge_file(drive, record, part, deadline) for part in parts]
    worst_first = (ShardState.CORRUPT, ShardState.MISSING, ShardState.VALID)
    return next(state for state in worst_first if state in states)


def _judge_payload(entry: Entry, record: Record, part: PartEntry, slot: int) -> ShardState:
    if entry.payload is None:
        return ShardState.MISSING
    address = (part.data_id, part.number, record.shard_index_of(slot), 0)
    return ShardState.VALID if verify_block(entry.payload, entry.payload_hash, *address) else ShardState.CORRUPT


async def _judge_file(drive: StorageAPI, record: Record, part: PartEntry, deadline: Deadline) -> ShardState:
    ref = ShardRef(part.data_id, part.number, record.shard_index_of(drive.slot))
    try:
        facts = await drive.shard_facts(ref, verify=True, deadline=deadline)
    except ShardMissing:
        return ShardState.MISSING
    except ShardCorrupt:
        return ShardState.CORRUPT
    is_this_part = (facts.k, facts.m, facts.part_size_bytes) == (record.k, record.m, part.size_bytes)
    return ShardState.VALID if is_this_part else ShardState.CORRUPT
