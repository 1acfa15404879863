"""What a drive removes by itself: files that lost their last name, files that never got one, expired tombstones.

Removing and committing exclude each other: both happen on the committer's thread under the drive's lock, and a commit
looks at its files inside its transaction. A file is removed only when the loss of its name is durable.
"""

import asyncio
from typing import Final

from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_drives.drive_threads import JobThreads
from liteio_drives.index import DriveIndex
from liteio_drives.limits import GARBAGE_BATCH, VACUUM_PAGES, DriveSettings
from liteio_drives.shard_files import ShardIO
from liteio_drives.shard_folder import name_in

_NS: Final = 1_000_000_000


class Collector:
    """Of one drive. `remind` after rows went: their files follow by themselves; `collect` is the thorough round."""

    def __init__(self, committer: JobThreads, io: ShardIO, settings: DriveSettings, clock: Clock) -> None:
        self._committer = committer
        self._io = io
        self._settings = settings
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None

    def remind(self) -> None:
        """Remove dropped files a little later: readers that are about to open them by name are quicker than that."""
        if self._timer is None:
            delay = self._settings.unlink_delay_seconds
            self._timer = asyncio.get_running_loop().call_later(delay, self._post_dropped)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def collect(self, deadline: Deadline) -> int:
        """Everything that is old enough. Returns how many files went; nothing while the drive is not authoritative."""
        if not await self._committer.call(lambda index: index.meta.is_authoritative, deadline):
            return 0
        await self._expire(deadline)
        return await self._remove_dropped(deadline) + await self._remove_orphans(deadline)

    async def _expire(self, deadline: Deadline) -> None:
        before_ns = self._clock.now_ns() - round(self._settings.tombstone_keep_seconds * _NS)
        removed = GARBAGE_BATCH
        while removed >= GARBAGE_BATCH:
            removed = await self._committer.call(lambda index: index.changes.expire(before_ns, GARBAGE_BATCH), deadline)
        await self._committer.call(lambda index: index.give_back_space(VACUUM_PAGES), deadline)

    async def _remove_dropped(self, deadline: Deadline) -> int:
        removed: list[int] = []
        looked_at = GARBAGE_BATCH
        while looked_at >= GARBAGE_BATCH:
            looked_at = await self._committer.call(lambda index: self._drop(index, removed), deadline)
        return sum(removed)

    async def _remove_orphans(self, deadline: Deadline) -> int:
        before_ns = self._clock.now_ns() - round(self._settings.orphan_grace_seconds * _NS)
        removed: list[bool] = []
        for folder in self._io.folder.folders():
            paths = await self._old_files(folder, before_ns, deadline)
            for start in range(0, len(paths), GARBAGE_BATCH):
                some = paths[start : start + GARBAGE_BATCH]
                await self._committer.call(lambda index, some=some: self._orphan(index, some, removed), deadline)  # type: ignore[misc]
        return sum(removed)

    async def _old_files(self, folder: str, before_ns: int, deadline: Deadline) -> list[str]:
        return await self._io.call(lambda _: self._io.folder.old_files(folder, before_ns), deadline)

    def _post_dropped(self) -> None:
        self._timer = None
        removed: list[int] = []

        def drop(index: DriveIndex) -> None:
            if index.meta.is_authoritative and self._drop(index, removed) >= GARBAGE_BATCH:
                self._committer.loop.call_soon_threadsafe(self.remind)

        self._committer.post(drop)

    # In a transaction of the committer.

    def _drop(self, index: DriveIndex, removed: list[int]) -> int:
        before_ns = self._clock.now_ns() - round(self._settings.unlink_delay_seconds * _NS)
        data = index.changes.data
        names = data.garbage(before_ns=before_ns, limit=GARBAGE_BATCH)
        for name in names:
            data.forget_garbage(name)
        index.after_commit.append(lambda: removed.append(self._io.folder.remove(names)))
        return len(names)

    def _orphan(self, index: DriveIndex, paths: list[str], removed: list[bool]) -> None:
        data = index.changes.data
        unnamed = [path for path in paths if (name := name_in(path)) is None or data.is_unknown(name)]
        index.after_commit.append(lambda: removed.extend(self._io.folder.remove_path(path) for path in unnamed))
