"""Upkeep of a store: settling what writers left, rebuilding drives, collecting garbage, expiring uploads, scanning.

One process a store runs it at a time (its caller sees to that); a second one would only repeat work, since every step
is
idempotent. Clients come first: each loop pauses between its rounds and heals one key at a time.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from liteio_base.deadline import Deadline
from liteio_base.ids import SYSTEM_BUCKET, BucketId, DriveId, VersionId
from liteio_contracts.object_errors import ObjectError
from liteio_contracts.storage import DriveState, KeyName, ListQuery
from liteio_contracts.storage_errors import StorageError
from liteio_formats.bodies import UploadState, decode_bucket_body, decode_upload_body
from liteio_formats.keys import split_upload_key
from liteio_formats.record import Record, Space
from liteio_objects.drive_set import DriveSet, ask, ask_drives, values
from liteio_objects.layer import Store
from liteio_objects.listing import list_latest
from liteio_objects.settling import Settled

_log = logging.getLogger(__name__)

_PAGE: Final = 1000
_NS: Final = 1_000_000_000
_DAY_SECONDS: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class UpkeepTimes:
    """How often each loop runs and what it leaves alone for how long, in seconds.

    unsettled_seconds: PROTOCOL: rows unsettled for so long are settled by whoever finds them.
    open_upload_seconds: an upload that nobody completed or aborted is aborted after so long.
    completed_upload_seconds: how long a repeated Complete finds what the first one did.
    """

    settle_every: float = 5.0
    unsettled_seconds: float = 30.0
    rebuild_every: float = 5.0
    collect_every: float = 30.0
    expire_every: float = 3600.0
    scan_every: float = 6 * 3600.0
    open_upload_seconds: float = 7 * _DAY_SECONDS
    completed_upload_seconds: float = 7 * _DAY_SECONDS
    call_seconds: float = 30.0


class Upkeep:
    """The loops over one store."""

    def __init__(self, store: Store, times: UpkeepTimes | None = None) -> None:
        self._store, self._engine = store, store.engine
        self._times = times if times is not None else UpkeepTimes()
        self._was_whole: dict[tuple[int, int], bool] = {}

    async def run(self) -> None:
        """All loops, until cancelled."""
        times = self._times
        async with asyncio.TaskGroup() as group:
            group.create_task(self._every(times.settle_every, self.settle_left_over))
            group.create_task(self._every(times.rebuild_every, self.rebuild_drives))
            group.create_task(self._every(times.collect_every, self.collect_garbage))
            group.create_task(self._every(times.expire_every, self.expire_uploads))
            group.create_task(self._every(times.scan_every, self.scan))

    async def settle_left_over(self) -> int:
        """Settle the registers whose rows some drive has held unsettled for too long. Returns how many were settled."""
        settled = 0
        for drive_set in self._engine.store_map.sets:
            answers = await ask_drives(
                drive_set,
                drive_set.slots,
                lambda drive: drive.unsettled(self._long_ago_ns(), _PAGE, deadline=self._deadline()),
            )
            registers = {(KeyName(*ref.name), ref.version_id) for refs in values(answers).values() for ref in refs}
            for name, version_id in sorted(registers):
                settled += await self._settle(drive_set, name, version_id)
        return settled

    async def rebuild_drives(self) -> None:
        """Bring every drive that answers but does not count back to authority; scan a set when a drive
        has come back."""
        for drive_set in self._engine.store_map.sets:
            has_returned = False
            for slot in drive_set.slots:
                status = await ask(drive_set.drives[slot].status(deadline=self._deadline()))
                identity = (drive_set.set_index, slot)
                is_up = not isinstance(status, StorageError) and status.state is not DriveState.OFFLINE
                has_returned = has_returned or (is_up and self._was_whole.get(identity) is False)
                self._was_whole[identity] = is_up
                if is_up and not isinstance(status, StorageError) and not status.is_authoritative:
                    await self._rebuild(drive_set, slot, status.drive_id)
            if has_returned:
                await self._scan_set(drive_set)

    async def collect_garbage(self) -> int:
        """Have every drive remove what nothing names. Returns how many files went."""
        removed = 0
        for drive_set in self._engine.store_map.sets:
            answers = await ask_drives(
                drive_set, drive_set.slots, lambda drive: drive.collect_garbage(deadline=self._deadline())
            )
            removed += sum(values(answers).values())
        return removed

    async def expire_uploads(self) -> int:
        """Remove uploads that ended, or were abandoned, long enough ago. Returns how many."""
        removed = 0
        for bucket_id in await self._bucket_ids():
            try:
                removed += await self._expire_uploads_of(bucket_id)
            except (ObjectError, StorageError) as trouble:
                _log.warning("uploads of bucket %s are not expired: %s; will try again", bucket_id, trouble)
        return removed

    async def scan(self) -> None:
        """Compare what the drives hold, key by key, and heal what differs."""
        for drive_set in self._engine.store_map.sets:
            await self._scan_set(drive_set)

    # --- how

    async def _settle(self, drive_set: DriveSet, name: KeyName, version_id: VersionId) -> bool:
        """Whether the register is settled now. The trouble of one must not keep the others waiting."""
        try:
            outcome = await self._engine.settler.settle(drive_set, name, version_id, deadline=self._deadline())
        except Exception:
            _log.exception("%s, version %s: can not be settled", name, version_id or "null")
            return False
        return outcome in (Settled.WHOLE, Settled.EMPTY)

    async def _rebuild(self, drive_set: DriveSet, slot: int, drive_id: DriveId) -> None:
        _log.info("rebuilding drive %s (slot %s)", drive_id, slot)
        try:
            is_done = await self._store.healer.rebuild_drive(drive_set, slot)
        except (ObjectError, StorageError) as trouble:
            _log.warning("drive %s: %s; will try again", drive_id, trouble)
        else:
            _log.info("drive %s: %s", drive_id, "rebuilt" if is_done else "not whole yet, will go on")

    async def _scan_set(self, drive_set: DriveSet) -> None:
        for name, result in await self._store.healer.scan(drive_set):
            _log.warning("not whole: %s: %s", name, "; ".join(result.problems))

    async def _bucket_ids(self) -> list[BucketId]:
        found: list[BucketId] = []
        after = b""
        while True:
            query = ListQuery(space=Space.BUCKET, bucket_id=SYSTEM_BUCKET, after=after, limit=_PAGE)
            page = await list_latest(
                self._engine.store_map.sets[:1], self._engine.resolver, query, deadline=self._deadline()
            )
            found += [decode_bucket_body(record.body).bucket_id for record in page.records.values()]
            if not page.is_truncated:
                return found
            after = page.last_key

    async def _expire_uploads_of(self, bucket_id: BucketId) -> int:
        removed, after = 0, b""
        while True:
            query = ListQuery(space=Space.UPLOAD, bucket_id=bucket_id, after=after, limit=_PAGE)
            page = await list_latest(
                self._engine.store_map.sets, self._engine.resolver, query, deadline=self._deadline()
            )
            for key, record in page.records.items():
                if self._is_expired(record):
                    await self._remove_upload(bucket_id, key, record)
                    removed += 1
            if not page.is_truncated:
                return removed
            after = page.last_key

    def _is_expired(self, record: Record) -> bool:
        is_open = decode_upload_body(record.body).state is UploadState.OPEN
        kept_seconds = self._times.open_upload_seconds if is_open else self._times.completed_upload_seconds
        since_ns = record.modified_ns if is_open else record.time
        return self._engine.clock.now_ns() - since_ns > kept_seconds * _NS

    async def _remove_upload(self, bucket_id: BucketId, key: bytes, record: Record) -> None:
        place = self._engine.store_map.place(bucket_id, split_upload_key(key)[0])
        await self._engine.remove_record(place.drive_set, record, deadline=self._deadline())

    async def _every(self, seconds: float, work: Callable[[], Awaitable[object]]) -> None:
        """Run `work` again and again, resting as long as it took at least. Trouble is reported and met again in the
        next round; that of one loop does not end the others."""
        clock = self._engine.clock
        while True:
            began = clock.monotonic()
            try:
                await work()
            except (ObjectError, StorageError) as trouble:
                _log.warning("%s: %s; will try again", work.__name__, trouble)
            except Exception:
                _log.exception("%s failed; will try again", work.__name__)
            await clock.sleep(max(seconds, clock.monotonic() - began))

    def _long_ago_ns(self) -> int:
        return self._engine.clock.now_ns() - int(self._times.unsettled_seconds * _NS)

    def _deadline(self) -> Deadline:
        return Deadline.after(self._times.call_seconds, self._engine.clock)
