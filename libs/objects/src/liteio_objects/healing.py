"""Healing: bringing a key back to N good shards of every version, and a whole drive back to authority.

A repair is done only when a raw census says so: every drive holds every record, settled, with a shard that verifies.
Nothing is ever removed here: a version with fewer than K good shards is kept and reported.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from typing import Final

from liteio_base.deadline import Deadline
from liteio_base.ids import SYSTEM_BUCKET, BucketId, VersionId
from liteio_contracts.object_layer import HealResult
from liteio_contracts.storage import TAKES_WRITES, CasScope, Commit, DriveStatus, KeyName, RowCommit, ShardRef
from liteio_contracts.storage_errors import ShardCorrupt, ShardMissing, StorageError
from liteio_erasure.bitrot import verify_block
from liteio_formats.bodies import UploadState, decode_upload_body
from liteio_formats.record import Kind, Record, Space
from liteio_objects.drive_set import DriveSet, ask, ask_drives, values
from liteio_objects.engine import Engine
from liteio_objects.read_rule import Verdict, Weighed
from liteio_objects.registers import Registers, read_registers
from liteio_objects.settling import Settled, payload_shards
from liteio_objects.shard_reading import rebuild_inline, rebuild_part

WALK_PAGE: Final = 500
CALL_SECONDS: Final = 30.0
UNHEALED_MAX: Final = 1000  # keys that one scan reports
_KEYS_AT_ONCE: Final = 8


class Healer:
    """Repairs keys and drives of a store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    async def heal_key(self, drive_set: DriveSet, name: KeyName, *, verify: bool = True) -> HealResult:
        """Settle every register of the key, then count and, where it can be done, rewrite shards that are not good.

        `verify`: read and hash every shard; otherwise only that it is there, with the right length.
        """
        deadline = self._deadline()
        held = await ask_drives(drive_set, drive_set.slots, lambda drive: drive.key_versions(name, deadline=deadline))
        problems = [str(answer) for answer in held.values() if isinstance(answer, StorageError)]
        version_ids = sorted({version_id for ids in values(held).values() for version_id in ids})
        total = good = rewritten = 0
        for version_id in version_ids:
            outcome = await self._engine.settler.settle(drive_set, name, version_id, deadline=self._deadline())
            if outcome in (Settled.PARTIAL, Settled.UNDECIDED):
                problems.append(f"version {version_id or 'null'} is {outcome.name.lower()}")
            counted = await self._heal_register(drive_set, name, version_id, verify, problems)
            total, good, rewritten = total + counted[0], good + counted[1], rewritten + counted[2]
        is_whole = not problems and good == total
        return HealResult(
            is_whole=is_whole,
            shards_total=total,
            shards_good=good,
            rewritten=rewritten,
            problems=tuple(problems),
            waits_for_drives=not is_whole and not await self._all_take_writes(drive_set),
        )

    async def rebuild_drive(self, drive_set: DriveSet, slot: int) -> bool:
        """Give a drive that is not authoritative everything that the others hold (R9), buckets first; True when it is
        done and the drive counts again.

        A key that can not be decided now, or a time in which too few of the others answered to tell of every key,
        leaves it for the next attempt.
        """
        drive = drive_set.drives[slot]
        status = await drive.status(deadline=self._deadline())
        cover = _Cover(drive_set, slot, await self._statuses(drive_set))
        is_complete = True
        async for batch in self._walk(drive_set, cover.note):
            results = await asyncio.gather(*(self._give(drive_set, name, slot, cover) for name in batch))
            is_complete = is_complete and all(results)
        is_complete = is_complete and cover.is_complete and cover.was_kept(await self._statuses(drive_set))
        if is_complete and not status.is_authoritative:
            await drive.set_authoritative(status.generation, deadline=self._deadline())
        return is_complete

    async def scan(self, drive_set: DriveSet, *, verify: bool = False) -> list[tuple[KeyName, HealResult]]:
        """Look at every key that any drive holds, and heal those on which the drives that answer differ. Returns what
        is not whole yet, the first of it when it is much."""
        unhealed: list[tuple[KeyName, HealResult]] = []
        async for batch in self._walk(drive_set):
            for name in batch:
                if verify or not await self._is_agreed(drive_set, name):
                    result = await self.heal_key(drive_set, name, verify=verify)
                    if not result.is_whole and len(unhealed) < UNHEALED_MAX:
                        unhealed.append((name, result))
        return unhealed

    # --- how

    async def _all_take_writes(self, drive_set: DriveSet) -> bool:
        statuses = await self._statuses(drive_set)
        return len(statuses) == drive_set.code.width and all(
            status.state in TAKES_WRITES for status in statuses.values()
        )

    async def _statuses(self, drive_set: DriveSet) -> dict[int, DriveStatus]:
        deadline = self._deadline()
        return values(await ask_drives(drive_set, drive_set.slots, lambda drive: drive.status(deadline=deadline)))

    async def _walk(
        self, drive_set: DriveSet, note: Callable[[Collection[int]], None] = lambda slots: None
    ) -> AsyncIterator[list[KeyName]]:
        """Every key that any answering drive holds, in batches; buckets first, so that drives know them. `note` hears
        which drives told of each stretch."""
        buckets_after = KeyName(Space.BUCKET, SYSTEM_BUCKET, b"")
        for start, stop in ((buckets_after, None), (None, buckets_after)):
            after: KeyName | None = start
            while True:
                names, after, is_last = await self._walk_page(drive_set, after, note)
                chosen = [name for name in names if stop is None or name < stop]
                for place in range(0, len(chosen), _KEYS_AT_ONCE):
                    yield chosen[place : place + _KEYS_AT_ONCE]
                if is_last or len(chosen) < len(names):
                    break

    async def _walk_page(
        self, drive_set: DriveSet, after: KeyName | None, note: Callable[[Collection[int]], None]
    ) -> tuple[list[KeyName], KeyName | None, bool]:
        deadline = self._deadline()
        pages = values(
            await ask_drives(drive_set, drive_set.slots, lambda drive: drive.walk(after, WALK_PAGE, deadline=deadline))
        )
        note(pages)
        full = [page[-1] for page in pages.values() if len(page) >= WALK_PAGE]
        end = min((_as_name(last) for last in full), default=None)
        names = sorted({_as_name(name) for page in pages.values() for name in page})
        if end is not None:
            names = [name for name in names if name <= end]
        return names, end, end is None

    async def _give(self, drive_set: DriveSet, name: KeyName, slot: int, cover: "_Cover") -> bool:
        """A settling pass over every register of a key. Whether each was decided, and is on the drive at `slot`."""
        deadline = self._deadline()
        held = values(
            await ask_drives(drive_set, drive_set.slots, lambda drive: drive.key_versions(name, deadline=deadline))
        )
        cover.note(held)
        version_ids: set[VersionId] = {version_id for ids in held.values() for version_id in ids}
        outcomes = [
            await self._engine.settler.settle_on(drive_set, name, version_id, deadline=self._deadline())
            for version_id in sorted(version_ids)
        ]
        return all(
            outcome.settled is Settled.EMPTY or (outcome.settled is not Settled.UNDECIDED and slot in outcome.holders)
            for outcome in outcomes
        )

    async def _is_agreed(self, drive_set: DriveSet, name: KeyName) -> bool:
        """Whether the drives that answer, W at least, hold the same registers with the same settled records. What a
        drive that is away lacks is found when it comes back.

        Not so for the end of an upload or a bucket: confirmed again, it removes parts and objects that were brought
        back by a settler who had seen them before the end.
        """
        deadline = self._deadline()
        held = values(
            await ask_drives(drive_set, drive_set.slots, lambda drive: drive.key_versions(name, deadline=deadline))
        )
        if len(held) < drive_set.code.write_quorum or len({tuple(sorted(ids)) for ids in held.values()}) > 1:
            return False
        version_ids = next(iter(held.values()))
        registers = await read_registers(drive_set, name, version_ids, deadline=deadline)
        if registers.damaged:
            return False
        for version_id in version_ids:
            held_records = {
                tuple((entry.digest, entry.is_settled) for entry in view.entries)
                for view in registers.views[version_id].values()
            }
            if len(held_records) > 1 or any(not is_settled for held in held_records for _, is_settled in held):
                return False
            weighed = registers.decisions[version_id].weighed
            if weighed is not None and _ends_others(weighed.record):
                return False
        return True

    async def _heal_register(
        self, drive_set: DriveSet, name: KeyName, version_id: VersionId, verify: bool, problems: list[str]
    ) -> tuple[int, int, int]:
        """Shards wanted, good, and rewritten of one register's record."""
        registers = await read_registers(drive_set, name, (version_id,), wants_payload=True, deadline=self._deadline())
        decision = registers.decisions[version_id]
        live = decision.live
        if decision.verdict is not Verdict.HOLDS or live is None or not live.record.parts:
            return 0, 0, 0
        bad = await self._bad_indexes(drive_set, registers, live, verify)
        if not bad:
            return drive_set.code.width, drive_set.code.width, 0
        repaired = await self._rewrite(drive_set, name, registers, live, bad)
        again = await self._bad_indexes(
            drive_set,
            await read_registers(drive_set, name, (version_id,), wants_payload=True, deadline=self._deadline()),
            live,
            verify,
        )
        if again:
            problems.append(f"version {version_id or 'null'}: shards {sorted(again)} are not good")
        return drive_set.code.width, drive_set.code.width - len(again), len(repaired - again)

    async def _bad_indexes(
        self, drive_set: DriveSet, registers: Registers, live: Weighed, verify: bool
    ) -> frozenset[int]:
        """The shard indexes of a record that are not good on their drives, or could not be looked at."""
        record = live.record
        if record.is_inline:
            payloads = payload_shards(registers, record, live.entry.digest)
            [part] = record.parts
            return frozenset(
                index
                for index in range(len(record.order))
                if index not in payloads
                or not verify_block(
                    payloads[index].payload, payloads[index].payload_hash, part.data_id, part.number, index, 0
                )
            )
        looked = await asyncio.gather(
            *(self._is_good(drive_set, record, index, verify) for index in range(len(record.order)))
        )
        return frozenset(index for index, is_good in enumerate(looked) if not is_good)

    async def _is_good(self, drive_set: DriveSet, record: Record, index: int, verify: bool) -> bool:
        drive = drive_set.drives[record.order[index]]
        for part in record.parts:
            if not part.size_bytes:
                continue
            ref = ShardRef(part.data_id, part.number, index)
            facts = await ask(drive.shard_facts(ref, verify=verify, deadline=self._deadline()))
            if isinstance(facts, StorageError) or facts.part_size_bytes != part.size_bytes:
                return False
        return True

    async def _rewrite(
        self, drive_set: DriveSet, name: KeyName, registers: Registers, live: Weighed, bad: frozenset[int]
    ) -> frozenset[int]:
        """Make the bad shards again from K good others. Returns the indexes written."""
        record = live.record
        if record.is_inline:
            payloads = payload_shards(registers, record, live.entry.digest)
            rebuilt = rebuild_inline(drive_set.code, record, payloads, bad)
            written = set()
            for index, shard in rebuilt.items():
                row = RowCommit(
                    live.entry.encoded, CasScope.VERSION, record.time, index, shard.payload, shard.payload_hash
                )
                drive = drive_set.drives[record.order[index]]
                if not isinstance(await ask(drive.commit(Commit((row,)), deadline=self._deadline())), StorageError):
                    written.add(index)
            return frozenset(written)
        done = set(bad)
        for part in record.parts:
            if not part.size_bytes:
                continue
            broken = frozenset(
                [index for index in bad if await self._is_part_bad(drive_set, record, part.number, index)]
            )
            done -= broken - await rebuild_part(drive_set, record, part, broken, deadline=self._deadline())
        return frozenset(done)

    async def _is_part_bad(self, drive_set: DriveSet, record: Record, part_number: int, index: int) -> bool:
        [part] = [part for part in record.parts if part.number == part_number]
        ref = ShardRef(part.data_id, part.number, index)
        facts = await ask(
            drive_set.drives[record.order[index]].shard_facts(ref, verify=True, deadline=self._deadline())
        )
        return isinstance(facts, ShardMissing | ShardCorrupt)

    def _deadline(self) -> Deadline:
        return Deadline.after(CALL_SECONDS, self._engine.clock)


class _Cover:
    """Whether the other drives together told of everything that was acknowledged, while one is rebuilt: all of them
    did, or N-W+1 whole ones, of which each write quorum has one even without the drive that is rebuilt."""

    def __init__(self, drive_set: DriveSet, slot: int, statuses: Mapping[int, DriveStatus]) -> None:
        self._code, self._slot = drive_set.code, slot
        self._whole = {slot: status.generation for slot, status in statuses.items() if status.is_authoritative}
        self.is_complete = True

    def note(self, answered: Collection[int]) -> None:
        others = set(answered) - {self._slot}
        is_told = len(others) == self._code.width - 1 or len(others & self._whole.keys()) >= self._code.read_quorum
        self.is_complete = self.is_complete and is_told

    def was_kept(self, statuses: Mapping[int, DriveStatus]) -> bool:
        """Whether no drive that was whole at the beginning has ceased to be, as far as the drives tell."""
        return all(
            statuses[slot].is_authoritative and statuses[slot].generation == before
            for slot, before in self._whole.items()
            if slot in statuses
        )


def _ends_others(record: Record) -> bool:
    """Whether drives drop other rows when this record is confirmed."""
    if record.space is Space.UPLOAD:
        return record.kind is Kind.TOMBSTONE or decode_upload_body(record.body).state is not UploadState.OPEN
    return record.space is Space.BUCKET and record.kind is Kind.TOMBSTONE


def _as_name(name: KeyName) -> KeyName:
    """Names compare as tuples; what came over the wire may be a plain one."""
    return KeyName(Space(name[0]), BucketId(name[1]), name[2])
