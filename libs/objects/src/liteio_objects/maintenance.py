"""Upkeep of a store: settling what writers left, rebuilding drives, collecting garbage, expiring uploads, scanning.

Each loop of each set is a duty: one process of the store has it at a time. A second one would only repeat work, since
every step is idempotent.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from liteio_base.deadline import Deadline
from liteio_base.ids import DriveId, VersionId
from liteio_contracts.object_errors import ObjectError
from liteio_contracts.storage import TAKES_WRITES, DriveStatus, KeyName
from liteio_contracts.storage_errors import StorageError
from liteio_objects.drive_set import DriveSet, ask, ask_drives, values
from liteio_objects.duties import Duties
from liteio_objects.layer import Store
from liteio_objects.settling import Settled
from liteio_objects.upload_expiry import UploadExpiry

_log = logging.getLogger(__name__)

_PAGE: Final = 1000
_NS: Final = 1_000_000_000
_DAY_SECONDS: Final = 86_400.0
_DEEP_LOOK_SECONDS: Final = 600.0  # how often it is asked whether the next deep scan is due
_NEW_SETS_EVERY_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class UpkeepTimes:
    """How often each loop runs and what it leaves alone for how long, in seconds.

    unsettled_seconds: PROTOCOL: rows unsettled for so long are settled by whoever finds them.
    rescan_seconds: how long after its beginning a scan that failed, or left drives unchecked, is repeated.
    trust_seconds: a drive that no scan could check for so long, since too few others answer or a key can not be
    decided, counts as checked. Long enough for machines that lost their power together to be up again.
    open_upload_seconds: an upload that nobody completed or aborted is aborted after so long.
    completed_upload_seconds: how long a repeated Complete finds what the first one did.
    deep_scan_bytes: a second, of each drive that are read to verify everything; 0: never.
    deep_scan_every: how long after its beginning a deep scan is followed by the next.
    """

    settle_every: float = 5.0
    unsettled_seconds: float = 30.0
    rebuild_every: float = 5.0
    rescan_seconds: float = 30.0
    trust_seconds: float = 180.0
    collect_every: float = 30.0
    expire_every: float = 3600.0
    scan_every: float = 6 * 3600.0
    deep_scan_bytes: float = 0.0
    deep_scan_every: float = 30 * _DAY_SECONDS
    open_upload_seconds: float = 7 * _DAY_SECONDS
    completed_upload_seconds: float = 7 * _DAY_SECONDS
    call_seconds: float = 30.0


class Upkeep:
    """The loops over one store."""

    def __init__(self, store: Store, times: UpkeepTimes | None = None) -> None:
        self.store, self._engine = store, store.engine
        self._times = times if times is not None else UpkeepTimes()
        self._expiry = UploadExpiry(self._engine, self._times.open_upload_seconds, self._times.completed_upload_seconds)
        self._took_writes: dict[int, frozenset[int]] = {}  # by set its drives that did when they were last seen
        self._unchecked: dict[tuple[int, int], _Unchecked] = {}
        self.duties = Duties(self._engine.locks, self._engine.clock, self._engine.randomness)

    async def run(self) -> None:
        """All duties that this process can have, of sets that are added later too; until cancelled."""
        begun = 0
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep("expire", self._times.expire_every, self.expire_uploads))
            while True:
                await self._hear_of_topology()
                sets = self._engine.store_map.sets
                for set_index in range(begun, len(sets)):
                    self._begin_duties(group, set_index)
                begun = len(sets)
                await self._engine.clock.sleep(_NEW_SETS_EVERY_SECONDS)

    def _begin_duties(self, group: asyncio.TaskGroup, set_index: int) -> None:
        times = self._times
        loops: tuple[tuple[str, float, Callable[[int], Awaitable[object]]], ...] = (
            ("settle", times.settle_every, self.settle_set),
            ("collect", times.collect_every, self.collect_set),
            ("scan", times.scan_every, self.scan_set),
        )
        if times.deep_scan_bytes > 0:
            loops += (("deep", _DEEP_LOOK_SECONDS, self.scan_set_deeply),)
        group.create_task(self.duties.keep(f"rebuild {set_index}", partial(self._watch_set, set_index)))
        for name, seconds, work in loops:
            group.create_task(self._keep(f"{name} {set_index}", seconds, partial(work, set_index)))

    # --- all sets, once

    async def settle_left_over(self) -> int:
        """Settle the registers whose rows some drive has held unsettled for too long. Returns how many were settled."""
        return sum([await self.settle_set(set_index) for set_index in self._set_indexes])

    async def rebuild_drives(self) -> None:
        """Bring every drive that answers but does not count back to authority; scan a set when a drive has come back,
        or takes writes again."""
        for set_index in self._set_indexes:
            await self.rebuild_set(set_index)

    async def collect_garbage(self) -> int:
        """Have every drive remove what nothing names. Returns how many files went."""
        return sum([await self.collect_set(set_index) for set_index in self._set_indexes])

    async def expire_uploads(self) -> int:
        """Remove uploads that ended, or were abandoned, long enough ago. Returns how many."""
        return await self._expiry.expire()

    async def scan(self) -> None:
        """Compare what the drives hold, and heal what differs."""
        for set_index in self._set_indexes:
            await self.scan_set(set_index)

    # --- one set, once

    async def settle_set(self, set_index: int) -> int:
        drive_set = self._set(set_index)
        answers = await ask_drives(
            drive_set,
            drive_set.slots,
            lambda drive: drive.unsettled(self._long_ago_ns(), _PAGE, deadline=self._deadline()),
        )
        registers = {(KeyName(*ref.name), ref.version_id) for refs in values(answers).values() for ref in refs}
        return sum([await self._settle(drive_set, name, version_id) for name, version_id in sorted(registers)])

    async def rebuild_set(self, set_index: int) -> None:
        has_returned, to_rebuild = await self._look_at(set_index)
        for slot, drive_id in to_rebuild.items():
            await self._rebuild(self._set(set_index), slot, drive_id)
        if has_returned or self._has_unchecked(set_index):
            await self._scan_set(self._set(set_index))

    async def collect_set(self, set_index: int) -> int:
        drive_set = self._set(set_index)
        answers = await ask_drives(
            drive_set, drive_set.slots, lambda drive: drive.collect_garbage(deadline=self._deadline())
        )
        return sum(values(answers).values())

    async def scan_set(self, set_index: int) -> None:
        await self._scan_set(self._set(set_index))

    async def scan_set_deeply(self, set_index: int) -> None:
        await self.store.healer.scan_deeply(
            self._set(set_index),
            bytes_a_second=self._times.deep_scan_bytes,
            every_seconds=self._times.deep_scan_every,
        )

    # --- how

    @property
    def _set_indexes(self) -> range:
        return range(len(self._engine.store_map.sets))

    def _set(self, set_index: int) -> DriveSet:
        return self._engine.store_map.sets[set_index]

    async def _hear_of_topology(self) -> None:
        """This process asks for no buckets, which would tell it."""
        try:
            await self._engine.maps.refresh(deadline=self._deadline())
        except ObjectError as trouble:
            _log.warning("the topology is not known for sure: %s; will try again", trouble)

    async def _watch_set(self, set_index: int) -> None:
        """Rebuild and scan when drives need it, without losing sight of the others meanwhile. A scan that failed is
        repeated: what it was to find nobody else may know. Whoever has the duty anew meets all drives for the first
        time: which were away while he had it not, he does not know."""
        watch, clock = _Watch(), self._engine.clock
        self._took_writes.pop(set_index, None)
        async with asyncio.TaskGroup() as group:
            while True:
                await self._once(f"watch {set_index}", partial(self._see_to, set_index, watch, group))
                await clock.sleep(self._times.rebuild_every)

    async def _see_to(self, set_index: int, watch: "_Watch", group: asyncio.TaskGroup) -> None:
        has_returned, to_rebuild = await self._look_at(set_index)
        drive_set, now = self._set(set_index), self._engine.clock.monotonic()
        for slot, drive_id in to_rebuild.items():
            if (rebuild := watch.rebuilds.get(slot)) is None or rebuild.done():
                work = partial(self._rebuild, drive_set, slot, drive_id)
                watch.rebuilds[slot] = group.create_task(self._once(f"rebuild {set_index}", work))
        if watch.scan is not None and watch.scan.done():
            watch.wants_scan |= not watch.scan.result()
            watch.scan = None
        watch.wants_scan |= has_returned or self._has_unchecked(set_index)
        if watch.wants_scan and watch.scan is None and (has_returned or now >= watch.scan_at):
            watch.wants_scan, watch.scan_at = False, now + self._times.rescan_seconds
            work = partial(self._scan_set, drive_set)
            watch.scan = group.create_task(self._once(f"scan {set_index}", work))

    async def _look_at(self, set_index: int) -> tuple[bool, dict[int, DriveId]]:
        """Whether a drive of the set has come back or takes writes again, and which are to be rebuilt, by slot.

        A drive that is met for the first time counts as come back: whoever looked after it before may have ended while
        it was away."""
        drive_set = self._set(set_index)
        answers = await ask_drives(drive_set, drive_set.slots, lambda drive: drive.status(deadline=self._deadline()))
        statuses = values(answers)
        for slot, status in statuses.items():
            self._note_unchecked(set_index, slot, status)
        takes_writes = frozenset(slot for slot, status in statuses.items() if status.state in TAKES_WRITES)
        has_returned = not takes_writes <= self._took_writes.get(set_index, frozenset())
        self._took_writes[set_index] = takes_writes
        # Some were away while the topology changed, or are other drives now.
        give = partial(self._engine.maps.give_to, deadline=self._deadline())
        await ask_drives(drive_set, takes_writes, give)
        to_rebuild = (slot for slot in sorted(takes_writes) if not statuses[slot].is_authoritative)
        return has_returned, {slot: statuses[slot].drive_id for slot in to_rebuild}

    # --- drives whose machines have restarted

    def _note_unchecked(self, set_index: int, slot: int, status: DriveStatus) -> None:
        place = set_index, slot
        if not status.is_unchecked:
            self._unchecked.pop(place, None)
        elif (known := self._unchecked.get(place)) is None or known.boot != status.unchecked_boot:
            self._unchecked[place] = _Unchecked(status.unchecked_boot, self._engine.clock.monotonic())

    def _has_unchecked(self, set_index: int) -> bool:
        return any(place[0] == set_index for place in self._unchecked)

    async def _trust_what_waits(self, drive_set: DriveSet) -> None:
        """After a scan: it could not check the drives that are unchecked still."""
        now, patience = self._engine.clock.monotonic(), self._times.trust_seconds
        for slot, drive in enumerate(drive_set.drives):
            known = self._unchecked.get((drive_set.set_index, slot))
            if known is None or now - known.since < patience:
                continue
            status = await ask(drive.status(deadline=self._deadline()))
            if not isinstance(status, StorageError) and status.unchecked_boot == known.boot:
                _log.warning("drive %s can not be compared with enough others: it is trusted as it is", drive.drive_id)
                await ask(drive.set_checked(known.boot, deadline=self._deadline()))

    async def _settle(self, drive_set: DriveSet, name: KeyName, version_id: VersionId) -> bool:
        """Whether the register is settled now. The trouble of one must not keep the others waiting."""
        try:
            async with self.store.healer.pacer.turn():
                outcome = await self._engine.settler.settle(drive_set, name, version_id, deadline=self._deadline())
        except Exception:
            _log.exception("%s, version %s: can not be settled", name, version_id or "null")
            return False
        return outcome in (Settled.WHOLE, Settled.EMPTY)

    async def _rebuild(self, drive_set: DriveSet, slot: int, drive_id: DriveId) -> None:
        _log.info("rebuilding drive %s (slot %s)", drive_id, slot)
        try:
            is_done = await self.store.healer.rebuild_drive(drive_set, slot)
        except (ObjectError, StorageError) as trouble:
            _log.warning("drive %s: %s; will try again", drive_id, trouble)
        else:
            _log.info("drive %s: %s", drive_id, "rebuilt" if is_done else "not whole yet, will go on")

    async def _scan_set(self, drive_set: DriveSet) -> None:
        try:
            unhealed = await self.store.healer.scan(drive_set)
        except (ObjectError, StorageError):
            await self._trust_what_waits(drive_set)
            raise
        await self._trust_what_waits(drive_set)
        for name, result in unhealed:
            _log.warning("not whole: %s: %s", name, "; ".join(result.problems))

    async def _keep(self, name: str, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
        await self.duties.keep(name, partial(self._every, name, seconds, work))

    async def _every(self, name: str, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
        """Run `work` again and again, resting as long as it took at least. Trouble is reported and met again in the
        next round; that of one loop does not end the others."""
        clock = self._engine.clock
        while True:
            began = clock.monotonic()
            await self._once(name, work)
            await clock.sleep(max(seconds, clock.monotonic() - began))

    async def _once(self, name: str, work: Callable[[], Awaitable[object]]) -> bool:
        """Whether it went well."""
        try:
            await work()
        except (ObjectError, StorageError) as trouble:
            _log.warning("%s: %s; will try again", name, trouble)
        except Exception:
            _log.exception("%s failed; will try again", name)
        else:
            return True
        return False

    def _long_ago_ns(self) -> int:
        return self._engine.clock.now_ns() - int(self._times.unsettled_seconds * _NS)

    def _deadline(self) -> Deadline:
        return Deadline.after(self._times.call_seconds, self._engine.clock)


@dataclass(frozen=True, slots=True)
class _Unchecked:
    """Since which start of its machine a drive is unchecked, and when this process first saw it so."""

    boot: str
    since: float


@dataclass(slots=True)
class _Watch:
    """What is under way for a set, and what is still to be done."""

    rebuilds: dict[int, asyncio.Task[bool]] = field(default_factory=dict)
    scan: asyncio.Task[bool] | None = None
    wants_scan: bool = False
    scan_at: float = 0.0
