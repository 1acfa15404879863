"""Healing: bringing a key back to N good shards of every version, and a whole drive back to authority.

A repair is done only when a raw census says so: every drive holds every record, settled, with a shard that verifies.
Nothing is ever removed here: a version with fewer than K good shards is kept and reported.
"""

import asyncio
from typing import Final

from liteio_base.deadline import Deadline
from liteio_base.ids import NULL_VERSION, VersionId
from liteio_contracts.object_layer import HealResult
from liteio_contracts.storage import TAKES_WRITES, CasScope, Commit, DriveStatus, KeyName, RowCommit, ShardRef
from liteio_contracts.storage_errors import ShardCorrupt, ShardMissing, StorageError
from liteio_erasure.bitrot import verify_block
from liteio_formats.record import Record
from liteio_objects.deep_scanning import DeepScan
from liteio_objects.drive_set import DriveSet, ask, ask_drives, values
from liteio_objects.engine import Engine
from liteio_objects.pacing import Pacer
from liteio_objects.read_rule import Verdict, Weighed
from liteio_objects.rebuilding import Rebuild, RebuildProgress
from liteio_objects.registers import Registers, read_registers
from liteio_objects.scanning import Scan
from liteio_objects.settling import Settled, payload_shards
from liteio_objects.shard_reading import rebuild_inline, rebuild_part

CALL_SECONDS: Final = 30.0


class Healer:
    """Repairs keys and drives of a store."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.pacer = Pacer(engine.clock)
        self.rebuilds: dict[tuple[int, int], RebuildProgress] = {}
        """Under way, by set and slot."""
        self.scans: dict[int, Scan] = {}
        """The last of each set, under way or done."""
        self.deep_scans: dict[int, DeepScan] = {}
        """The last of each set, under way or done, in this process."""
        self.objects_healed = self.bytes_healed = 0
        """Objects of which something was made again and that are whole now, and the bytes of shards made again."""

    async def heal_key(self, drive_set: DriveSet, name: KeyName, *, verify: bool = True) -> HealResult:
        """Settle every register of the key, then count and, where it can be done, rewrite shards that are not good.

        `verify`: read and hash every shard; otherwise only that it is there, with the right length.
        """
        deadline = self._deadline()
        # Most keys have the null version alone: it is read in the same round.
        held, null = await asyncio.gather(
            ask_drives(drive_set, drive_set.slots, lambda drive: drive.key_versions(name, deadline=deadline)),
            read_registers(drive_set, name, (NULL_VERSION,), wants_payload=True, deadline=deadline),
        )
        problems = [str(answer) for answer in held.values() if isinstance(answer, StorageError)]
        version_ids = sorted({version_id for ids in values(held).values() for version_id in ids})
        total = good = rewritten = bytes_read = 0
        shards_given = bytes_given = 0
        holders, given = frozenset(drive_set.slots), frozenset[int]()
        for version_id in version_ids:
            known = null if version_id == NULL_VERSION else None
            settling = await self._engine.settler.settle_on(
                drive_set, name, version_id, known, deadline=self._deadline()
            )
            outcome, shards_given = settling.settled, shards_given + len(settling.given)
            given |= settling.given
            if outcome is not Settled.EMPTY:
                holders &= settling.holders
            bytes_read += _shard_bytes(settling.size_bytes, drive_set) if verify else 0
            bytes_given += len(settling.given) * _shard_bytes(settling.size_bytes, drive_set)
            if outcome in (Settled.PARTIAL, Settled.UNDECIDED):
                problems.append(f"version {version_id or 'null'} is {outcome.name.lower()}")
            counted = await self._heal_register(drive_set, name, version_id, verify, problems)
            total, good, rewritten = total + counted[0], good + counted[1], rewritten + counted[2]
        is_whole = not problems and good == total
        if rewritten or shards_given:
            self.objects_healed += is_whole
            self.bytes_healed += bytes_given
        return HealResult(
            is_whole=is_whole,
            shards_total=total,
            shards_good=good,
            rewritten=rewritten + shards_given,
            problems=tuple(problems),
            bytes_read=bytes_read,
            # What only a drive that gave no answer holds was not looked at.
            holders=holders if len(values(held)) >= drive_set.code.write_quorum else frozenset(),
            given=given,
            waits_for_drives=not is_whole and not await self._all_take_writes(drive_set),
        )

    async def rebuild_drive(self, drive_set: DriveSet, slot: int) -> bool:
        """Give a drive that is not authoritative everything that the others hold (R9), buckets first; True when it is
        done and the drive counts again (liteio_objects.rebuilding)."""
        rebuild = Rebuild(self._engine, drive_set, slot, self.pacer)
        self.rebuilds[drive_set.set_index, slot] = rebuild.progress
        try:
            return await rebuild.run()
        finally:
            self.rebuilds.pop((drive_set.set_index, slot), None)  # Another one may have been begun meanwhile.

    async def scan(self, drive_set: DriveSet, *, verify: bool = False) -> list[tuple[KeyName, HealResult]]:
        """Heal the keys on which the whole drives differ; unchecked ones are checked then (liteio_objects.scanning).
        Returns what is not whole yet, the first of it when it is much. `verify`: look at every key, reading and hashing
        every shard."""
        scan = self.scans[drive_set.set_index] = Scan(self._engine, self, drive_set, self.pacer)
        await (scan.verify() if verify else scan.compare())
        return scan.unhealed

    async def scan_deeply(self, drive_set: DriveSet, *, bytes_a_second: float, every_seconds: float) -> None:
        """Read and verify everything, at so many bytes a second of each drive, going on where this stopped; nothing
        when the last pass began less than `every_seconds` ago (liteio_objects.deep_scanning)."""
        scan = DeepScan(self._engine, self, drive_set, self.pacer, bytes_a_second)
        self.deep_scans[drive_set.set_index] = scan
        await scan.run(every_seconds)

    # --- how

    async def _all_take_writes(self, drive_set: DriveSet) -> bool:
        statuses = await self._statuses(drive_set)
        return len(statuses) == drive_set.code.width and all(
            status.state in TAKES_WRITES for status in statuses.values()
        )

    async def _statuses(self, drive_set: DriveSet) -> dict[int, DriveStatus]:
        deadline = self._deadline()
        return values(await ask_drives(drive_set, drive_set.slots, lambda drive: drive.status(deadline=deadline)))

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
        self.bytes_healed += len(repaired) * _shard_bytes(live.record.size_bytes, drive_set)
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


def _shard_bytes(size_bytes: int, drive_set: DriveSet) -> int:
    """About what one drive holds of an object."""
    return -(-size_bytes // drive_set.code.k)
