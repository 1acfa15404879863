"""What a drive removes by itself: files that lost their last name, expired tombstones; `orphans` has the files that
never got a name.

Removing and committing exclude each other: both happen on the committer's thread under the drive's lock, and a commit
looks at its files inside its transaction. A file is removed only when the loss of its name is durable. It is claimed
before its name is forgotten, so that it is removed even if this process is killed in between.
"""

import asyncio
import logging
from typing import Final

from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_drives.drive_threads import JobThreads
from liteio_drives.index import DriveIndex
from liteio_drives.limits import GARBAGE_BATCH, VACUUM_PAGES, DriveSettings
from liteio_drives.orphans import Orphans
from liteio_drives.shard_files import ShardIO
from liteio_drives.shard_folder import file_name

_log = logging.getLogger(__name__)
_NS: Final = 1_000_000_000


class Collector:
    """Of one drive. `remind` after rows went: their files follow by themselves; `collect` is the thorough round."""

    def __init__(self, committer: JobThreads, io: ShardIO, settings: DriveSettings, clock: Clock) -> None:
        self.orphans: Final = Orphans(committer, io, settings.orphan_grace_seconds, clock)
        self._committer = committer
        self._folder = io.folder
        self._settings = settings
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None

    def remind(self) -> None:
        """Remove dropped files a little later: readers that are about to open them by name are quicker than that."""
        if self._timer is None:
            delay = self._settings.unlink_delay_seconds
            self._timer = asyncio.get_running_loop().call_later(delay, self._post_dropped)

    def close(self) -> None:
        self.orphans.close()
        if self._timer is not None:
            self._timer.cancel()

    async def collect(self, deadline: Deadline) -> int:
        """Everything that is old enough. Returns how many files went; nothing while the drive is not authoritative."""
        if not await self._committer.call(lambda index: index.meta.is_authoritative, deadline):
            return 0
        await self._expire(deadline)
        return await self._remove_dropped(deadline) + await self.orphans.remove(deadline)

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

    def _post_dropped(self) -> None:
        self._timer = None
        removed: list[int] = []

        def drop(index: DriveIndex) -> None:
            if index.meta.is_authoritative and self._drop(index, removed) >= GARBAGE_BATCH:
                self._committer.loop.call_soon_threadsafe(self.remind)

        self._committer.post(drop)

    # In a transaction of the committer.

    def _drop(self, index: DriveIndex, removed: list[int]) -> int:
        now_ns = self._clock.now_ns()
        before_ns = now_ns - round(self._settings.unlink_delay_seconds * _NS)
        data = index.changes.data
        names = data.garbage(before_ns=before_ns, now_ns=now_ns, limit=GARBAGE_BATCH)
        if not names:
            return 0
        try:
            self._folder.claims.note([file_name(name) for name in names])
        except OSError as problem:
            _log.warning("files that are removed are not claimed: %s", problem)  # a full drive must still make room
        for name in names:
            data.forget_garbage(name)
        index.after_commit.append(lambda: removed.append(self._folder.remove(names)))
        return len(names)
