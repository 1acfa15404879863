"""Rebuilding a drive: giving it everything that the others hold, until it counts again (PROTOCOL R9).

Every register is settled with the drive counted as one that gave no answer, and must be on it afterwards. How far this
came is kept in the set, so that a rebuild goes on after its process ended. That is as sound as never having stopped:
the drive is the same (its generation), the keys passed are on it, and the drives that were whole at the beginning have
been so throughout, which is asked again at the end. What was written since the walk came by was either given to the
drive by its writer or, as on any other drive, is for the repair queue.
"""

import asyncio
import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from liteio_base.deadline import Deadline
from liteio_base.ids import NULL_VERSION, BucketId, DriveId, Generation, VersionId
from liteio_contracts.object_errors import ObjectError
from liteio_contracts.storage import DriveStatus, KeyName
from liteio_contracts.storage_errors import StorageError
from liteio_formats.record import Space
from liteio_objects.drive_set import DriveSet, ask_drives, values
from liteio_objects.engine import Engine
from liteio_objects.pacing import Pacer
from liteio_objects.registers import read_registers
from liteio_objects.settling import Settled
from liteio_objects.system_records import read_system_record, write_system_record
from liteio_objects.walking import FIRST, walk_set

_log = logging.getLogger(__name__)

KEYS_AT_ONCE: Final = 64
SAVE_EVERY_SECONDS: Final = 10.0
RATE_SECONDS: Final = 10.0
KEPT_SECONDS: Final = 7 * 86_400.0  # what was begun longer ago is begun anew: tombstones may have expired meanwhile
_CALL_SECONDS: Final = 30.0
_NS: Final = 1_000_000_000


@dataclass(slots=True)
class RebuildProgress:
    """How far the rebuild of a drive is. Totals are those of another drive of the set; they may grow meanwhile.

    `versions`: objects' versions, delete markers included. `bytes`: of the objects, not of the shards. `rate_*`: a
    second, lately. `eta_seconds`: None while nothing can be said.
    """

    set_index: int
    slot: int
    drive_id: DriveId
    versions_done: int = 0
    versions_total: int = 0
    bytes_done: int = 0
    bytes_total: int = 0
    rate_versions: float = 0.0
    rate_bytes: float = 0.0
    is_resumed: bool = False

    @property
    def eta_seconds(self) -> float | None:
        """By whichever of versions and bytes takes longer."""
        estimates = [
            max(0, total - done) / rate
            for done, total, rate in (
                (self.versions_done, self.versions_total, self.rate_versions),
                (self.bytes_done, self.bytes_total, self.rate_bytes),
            )
            if rate > 0
        ]
        return max(estimates, default=None)


class _Place(msgspec.Struct, frozen=True, array_like=True):
    """How far a rebuild came, as it is kept. New fields go last and have defaults."""

    generation: Generation
    whole: dict[int, Generation]
    space: int
    bucket_id: BucketId
    key: bytes
    versions_done: int
    bytes_done: int
    begun_ns: int


class Rebuild:
    """One attempt to rebuild the drive at `slot`. `progress` can be looked at meanwhile."""

    def __init__(self, engine: Engine, drive_set: DriveSet, slot: int, pacer: Pacer) -> None:
        self._engine, self._drive_set, self._slot, self._pacer = engine, drive_set, slot, pacer
        self._mark = (0.0, 0, 0)  # when rates were begun to be taken, and what was done by then
        self._has_kept = False  # a place that a later attempt would go on from
        self.progress = RebuildProgress(drive_set.set_index, slot, drive_set.drives[slot].drive_id)

    async def run(self) -> bool:
        """True when the drive has everything and counts again. A key that can not be decided now, or a time in which
        too few of the others answered to tell of every key, leaves it for the next attempt, which goes on before it."""
        drive = self._drive_set.drives[self._slot]
        status = await drive.status(deadline=self._deadline())
        self.progress.drive_id = status.drive_id
        place = await self._kept_place(status)
        cover, after = await self._begin(status, place)
        is_complete = await self._walk(cover, after, status, place)
        await self._engine.confirmer.flush(self._drive_set)
        was_kept = cover.was_kept(await self._statuses())
        is_done = is_complete and cover.is_complete and was_kept
        if is_done and not status.is_authoritative:
            await drive.set_authoritative(status.generation, deadline=self._deadline())
        if self._has_kept and (is_done or not was_kept):
            await self._keep(None)
        return is_done

    async def _begin(self, status: DriveStatus, place: _Place | None) -> tuple["_Cover", KeyName]:
        statuses = await self._statuses()
        others = [each for slot, each in statuses.items() if slot != self._slot and each.is_authoritative]
        self.progress.versions_total = max((each.versions for each in others), default=0)
        self.progress.bytes_total = max((each.stored_bytes for each in others), default=0)
        if place is None:
            whole = {slot: each.generation for slot, each in statuses.items() if each.is_authoritative}
            return _Cover(self._drive_set, self._slot, whole), FIRST
        _log.info("the rebuild of drive %s goes on where it stopped", status.drive_id)
        self.progress.is_resumed = self._has_kept = True
        self.progress.versions_done, self.progress.bytes_done = place.versions_done, place.bytes_done
        after = KeyName(Space(place.space), place.bucket_id, place.key)
        return _Cover(self._drive_set, self._slot, place.whole), after

    async def _walk(self, cover: "_Cover", after: KeyName, status: DriveStatus, place: _Place | None) -> bool:
        clock = self._engine.clock
        begun_ns = place.begun_ns if place is not None else clock.now_ns()
        saved = clock.monotonic()
        self._mark = (saved, self.progress.versions_done, self.progress.bytes_done)
        is_complete = True
        async for stretch in walk_set(self._drive_set, self._deadline, after=after, note=cover.note):
            is_complete = await self._give_all(stretch.names, cover) and is_complete
            self._measure(clock.monotonic())
            is_sound = is_complete and cover.is_complete and not status.is_authoritative
            if is_sound and stretch.reached is not None and clock.monotonic() - saved >= SAVE_EVERY_SECONDS:
                self._has_kept = True
                await self._keep(self._place(status, cover, stretch.reached, begun_ns))
                saved = clock.monotonic()
        return is_complete

    async def _give_all(self, names: Sequence[KeyName], cover: "_Cover") -> bool:
        """Several at a time: they share the drives' syncs. One by one, and with rests, while clients are busy."""
        left, given = iter(names), True

        async def worker() -> None:
            nonlocal given
            for name in left:
                async with self._pacer.turn():
                    given = await self._give(name, cover) and given

        async with asyncio.TaskGroup() as group:
            for _ in range(min(KEYS_AT_ONCE, len(names))):
                group.create_task(worker())
        return given

    def _measure(self, now: float) -> None:
        """Rates over the last seconds: yielding to clients changes them."""
        progress, (then, versions, size_bytes) = self.progress, self._mark
        if now - then >= 1.0 or (now > then and not progress.rate_versions):
            progress.rate_versions = (progress.versions_done - versions) / (now - then)
            progress.rate_bytes = (progress.bytes_done - size_bytes) / (now - then)
        if now - then >= RATE_SECONDS:
            self._mark = (now, progress.versions_done, progress.bytes_done)

    async def _give(self, name: KeyName, cover: "_Cover") -> bool:
        """A settling pass over every register of a key. Whether each was decided, and is on the drive."""
        deadline = self._deadline()
        drive_set = self._drive_set
        # Most keys have the null version alone: it is read in the same round.
        versions, null = await asyncio.gather(
            ask_drives(drive_set, drive_set.slots, lambda drive: drive.key_versions(name, deadline=deadline)),
            read_registers(drive_set, name, (NULL_VERSION,), wants_payload=True, deadline=deadline),
        )
        held = values(versions)
        cover.note(held)
        version_ids: set[VersionId] = {version_id for ids in held.values() for version_id in ids}
        is_given = True
        for version_id in sorted(version_ids):
            known = null if version_id == NULL_VERSION else None
            outcome = await self._engine.settler.settle_on(
                drive_set, name, version_id, known, confirms_later=True, deadline=self._deadline()
            )
            is_on_it = outcome.settled is not Settled.UNDECIDED and self._slot in outcome.holders
            is_given = is_given and (outcome.settled is Settled.EMPTY or is_on_it)
            if name.space is Space.OBJECT and outcome.is_version:
                self.progress.versions_done += 1
                self.progress.bytes_done += outcome.size_bytes
        return is_given

    # --- where it was

    def _place(self, status: DriveStatus, cover: "_Cover", reached: KeyName, begun_ns: int) -> _Place:
        done = (self.progress.versions_done, self.progress.bytes_done)
        return _Place(status.generation, dict(cover.whole), *reached, *done, begun_ns)

    async def _kept_place(self, status: DriveStatus) -> _Place | None:
        """Where an earlier process was with this very drive, if its beginning is not too long ago."""
        if status.is_authoritative:
            return None
        try:
            body = await read_system_record(self._engine, self._drive_set, self._record_key, deadline=self._deadline())
            place = msgspec.msgpack.decode(body, type=_Place) if body else None
        except (ObjectError, StorageError, msgspec.DecodeError) as trouble:
            _log.info("where the rebuild of drive %s was is not known: %s", status.drive_id, trouble)
            return None
        if place is None or place.generation != status.generation:
            return None
        is_young = self._engine.clock.now_ns() - place.begun_ns < KEPT_SECONDS * _NS
        return place if is_young and place.space in set(Space) else None

    async def _keep(self, place: _Place | None) -> None:
        """A convenience: its trouble costs a beginning from the start."""
        body = msgspec.msgpack.encode(place) if place is not None else b""
        try:
            await write_system_record(self._engine, self._drive_set, self._record_key, body, deadline=self._deadline())
        except (ObjectError, StorageError) as trouble:
            _log.info("how far the rebuild of slot %s is can not be kept: %s", self._slot, trouble)

    @property
    def _record_key(self) -> bytes:
        return b"healer/rebuild/%d/%d" % (self._drive_set.set_index, self._slot)

    async def _statuses(self) -> dict[int, DriveStatus]:
        deadline = self._deadline()
        drive_set = self._drive_set
        return values(await ask_drives(drive_set, drive_set.slots, lambda drive: drive.status(deadline=deadline)))

    def _deadline(self) -> Deadline:
        return Deadline.after(_CALL_SECONDS, self._engine.clock)


class _Cover:
    """Whether the other drives together told of everything that was acknowledged, while one is rebuilt: all of them
    did, or N-W+1 whole ones, of which each write quorum has one even without the drive that is rebuilt.

    `whole`: the generations of the drives that were whole at the beginning, by slot."""

    def __init__(self, drive_set: DriveSet, slot: int, whole: Mapping[int, Generation]) -> None:
        self._code, self._slot = drive_set.code, slot
        self.whole = whole
        self.is_complete = True

    def note(self, answered: Collection[int]) -> None:
        others = set(answered) - {self._slot}
        is_told = len(others) == self._code.width - 1 or len(others & self.whole.keys()) >= self._code.read_quorum
        self.is_complete = self.is_complete and is_told

    def was_kept(self, statuses: Mapping[int, DriveStatus]) -> bool:
        """Whether no drive that was whole at the beginning has ceased to be, as far as the drives tell."""
        return all(
            statuses[slot].is_authoritative and statuses[slot].generation == before
            for slot, before in self.whole.items()
            if slot in statuses
        )
