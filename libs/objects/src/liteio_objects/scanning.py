"""Scanning a set: finding keys that nobody reported, and having them healed.

A comparison by digests finds what drives hold differently (liteio_objects.comparing), and each drive tells which of the
files that its rows name are not there. This finds neither bytes that
rotted, since no record is read, nor ends of uploads and buckets that must be confirmed again; buckets and uploads, of
which there are few, are therefore looked at one by one. `verify` reads everything.

A drive that is unchecked since its machine restarted is checked by a comparison in which it took part from end to end
and after which it holds all that was found: then it has nothing left that it lost.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import Final, Protocol

from liteio_base.deadline import Deadline
from liteio_base.ids import HybridTime, VersionId
from liteio_contracts.object_layer import HealResult
from liteio_contracts.storage import KeyName
from liteio_contracts.storage_errors import StorageError
from liteio_formats.bodies import UploadState, decode_upload_body
from liteio_formats.record import Kind, Record, Space
from liteio_objects.comparing import Compared, Comparison
from liteio_objects.drive_set import DriveSet, ask, ask_drives, values
from liteio_objects.engine import Engine
from liteio_objects.pacing import Pacer
from liteio_objects.registers import Registers, read_registers
from liteio_objects.walking import walk_set

_log = logging.getLogger(__name__)

UNHEALED_MAX: Final = 1000  # keys that one scan reports
KEYS_AT_ONCE: Final = 8
FILES_PAGE: Final = 1000
# Drives forget settled tombstones 30 days after they came, each in its own time, and one that was rebuilt later: what
# is about to go is not compared, or it would be brought back from one drive to another for ever.
TOMBSTONES_COMPARED_SECONDS: Final = 29 * 86_400.0
_CALL_SECONDS: Final = 30.0
_NS: Final = 1_000_000_000


class HealsKeys(Protocol):
    async def heal_key(self, drive_set: DriveSet, name: KeyName, *, verify: bool = True) -> HealResult: ...


class Scan:
    """One scan of a set. What it counts can be looked at meanwhile."""

    def __init__(self, engine: Engine, healer: HealsKeys, drive_set: DriveSet, pacer: Pacer) -> None:
        self._engine, self._healer, self._drive_set, self._pacer = engine, healer, drive_set, pacer
        self._began = engine.clock.monotonic()
        self._ended: float | None = None
        self.began_ns = engine.clock.now_ns()
        self.compared = Compared()
        self.healed = self.files = self.files_missing = 0
        self.unhealed: list[tuple[KeyName, HealResult]] = []
        """The first of what is not whole yet."""
        self.unhealed_count = 0
        self._surely_whole = frozenset(drive_set.slots)  # of the drives, as far as was looked
        self._given: Counter[int] = Counter()  # keys of which a drive lacked something, by slot

    @property
    def is_done(self) -> bool:
        return self._ended is not None

    @property
    def seconds(self) -> float:
        """How long it took, or takes already."""
        return (self._engine.clock.monotonic() if self._ended is None else self._ended) - self._began

    async def compare(self) -> None:
        """Heal what the whole drives hold differently. Raises ReadQuorumLost with fewer than W of them."""
        unchecked = await self._unchecked()
        await self._look_at_few((Space.BUCKET, Space.UPLOAD))
        comparison = Comparison(self._drive_set, self._deadline, self._tombstones_after())
        self.compared = comparison.seen
        async for names in comparison.differing((Space.OBJECT, Space.PART)):
            await self._heal_all(names)
        await asyncio.gather(*(self._look_for_files(slot) for slot in sorted(comparison.seen.slots)))
        self._surely_whole -= comparison.seen.failed_slots
        await self._set_checked(unchecked)
        self._ended = self._engine.clock.monotonic()

    async def verify(self) -> None:
        """Read and hash every shard of every key that any answering drive holds, and heal."""
        async for stretch in walk_set(self._drive_set, self._deadline):
            for name in stretch.names:
                await self._heal(name, verify=True)
        self._ended = self._engine.clock.monotonic()

    async def _unchecked(self) -> dict[int, str]:
        """The drives that are to be checked, by slot, with the start of their machine that it is about."""
        drive_set, deadline = self._drive_set, self._deadline()
        statuses = await ask_drives(drive_set, drive_set.slots, lambda drive: drive.status(deadline=deadline))
        return {slot: status.unchecked_boot for slot, status in values(statuses).items() if status.is_unchecked}

    async def _set_checked(self, unchecked: Mapping[int, str]) -> None:
        for slot in sorted(self._surely_whole & unchecked.keys()):
            drive = self._drive_set.drives[slot]
            refused = await ask(drive.set_checked(unchecked[slot], deadline=self._deadline()))
            if isinstance(refused, StorageError):
                _log.info("drive %s could not be told that it is checked: %s", drive.drive_id, refused)
            elif self._given[slot]:
                _log.warning(
                    "drive %s is checked since its machine restarted: it had missed, or lost, something of %s keys",
                    drive.drive_id,
                    self._given[slot],
                )
            else:
                _log.info("drive %s is checked since its machine restarted: it lacked nothing", drive.drive_id)

    async def _look_for_files(self, slot: int) -> None:
        """Heal keys of which a file is missing on this drive, or is too short."""
        drive = self._drive_set.drives[slot]
        after: KeyName | None = None
        while True:
            try:
                found = await drive.missing_shards(after, FILES_PAGE, deadline=self._deadline())
            except StorageError as trouble:
                _log.info("the files of slot %s are not all looked for: %s", slot, trouble)
                return
            self.files += found.looked_at
            self.files_missing += len(found.names)
            for name in found.names:
                async with self._pacer.turn():
                    await self._heal(KeyName(*name), verify=True)
            after = found.reached
            if after is None:
                return

    async def _look_at_few(self, spaces: Sequence[Space]) -> None:
        async for stretch in walk_set(self._drive_set, self._deadline, spaces=spaces, note=self._note_told):
            await self._heal_all(stretch.names)

    def _note_told(self, slots: Collection[int]) -> None:
        is_enough = len(slots) >= self._drive_set.code.write_quorum
        self._surely_whole &= frozenset(slots) if is_enough else frozenset()

    async def _heal_all(self, names: Sequence[KeyName]) -> None:
        for start in range(0, len(names), KEYS_AT_ONCE):
            async with self._pacer.turn():
                await asyncio.gather(*(self._heal_differing(name) for name in names[start : start + KEYS_AT_ONCE]))

    async def _heal_differing(self, name: KeyName) -> None:
        """It may have been in the middle of a write when drives were compared."""
        agreed = await self._agreed(name)
        if agreed:
            self._surely_whole &= agreed
        else:
            await self._heal(name, verify=False)

    async def _heal(self, name: KeyName, *, verify: bool) -> None:
        result = await self._healer.heal_key(self._drive_set, name, verify=verify)
        self._surely_whole &= result.holders
        self._given.update(result.given)
        if result.is_whole:
            self.healed += not verify or result.rewritten > 0
            return
        self.unhealed_count += 1
        if len(self.unhealed) < UNHEALED_MAX:
            self.unhealed.append((name, result))

    async def _agreed(self, name: KeyName) -> frozenset[int]:
        """The drives that answer, W at least, if they hold the same registers with the same settled records; else none.
        What a drive that is away lacks is found when it comes back.

        Not so for the end of an upload or a bucket: confirmed again, it removes parts and objects that were brought
        back by a settler who had seen them before the end.
        """
        drive_set, deadline = self._drive_set, self._deadline()
        held = values(
            await ask_drives(drive_set, drive_set.slots, lambda drive: drive.key_versions(name, deadline=deadline))
        )
        if len(held) < drive_set.code.write_quorum or len({tuple(sorted(ids)) for ids in held.values()}) > 1:
            return frozenset()
        version_ids = next(iter(held.values()))
        registers = await read_registers(drive_set, name, version_ids, wants_payload=True, deadline=deadline)
        if registers.damaged or not all(_is_same(registers, version_id) for version_id in version_ids):
            return frozenset()
        return frozenset(held.keys() & registers.answers.keys())

    def _tombstones_after(self) -> HybridTime:
        return HybridTime(max(0, self._engine.clock.now_ns() - int(TOMBSTONES_COMPARED_SECONDS * _NS)))

    def _deadline(self) -> Deadline:
        return Deadline.after(_CALL_SECONDS, self._engine.clock)


def _is_same(registers: Registers, version_id: VersionId) -> bool:
    views = registers.views[version_id].values()
    held_records = {
        tuple((entry.digest, entry.is_settled, entry.payload is not None) for entry in view.entries) for view in views
    }
    if len(held_records) > 1 or any(not is_settled for held in held_records for _, is_settled, _ in held):
        return False
    weighed = registers.decisions[version_id].weighed
    return weighed is None or not _ends_others(weighed.record)


def _ends_others(record: Record) -> bool:
    """Whether drives drop other rows when this record is confirmed."""
    if record.space is Space.UPLOAD:
        return record.kind is Kind.TOMBSTONE or decode_upload_body(record.body).state is not UploadState.OPEN
    return record.space is Space.BUCKET and record.kind is Kind.TOMBSTONE
