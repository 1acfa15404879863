"""Files that no row names: removes those of dead writers at once, its own that nobody committed after the grace, and
what is in nobody's claims after the grace too. Never those that another living process claims.

All removing is done on the committer's thread under the drive's lock, in this order: no row names the file, it exists,
no living process claims it, the transaction is durable, unlink. A file is claimed before it is made, and one that
exists is replaced only behind a claim that was made under the lock: so what is unlinked was nobody's.
"""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_drives.claims import Claims, DeadClaims
from liteio_drives.drive_threads import JobThreads
from liteio_drives.index import DriveIndex
from liteio_drives.limits import DATA_FOLDERS, GARBAGE_BATCH
from liteio_drives.shard_files import ShardIO
from liteio_drives.shard_folder import name_in

_NS: Final = 1_000_000_000
_LOOKS_A_GRACE: Final = 4
_LOOK_SECONDS_MIN: Final = 1.0


@dataclass(slots=True)
class _Outcome:
    removed: int = 0
    kept: set[str] = field(default_factory=set)  # names that nothing could be decided or done about


class Orphans:
    """Of one drive. `remove` is a round of all three kinds; `watch` sees to this process's own without one."""

    def __init__(self, committer: JobThreads, io: ShardIO, grace_seconds: float, clock: Clock) -> None:
        self._committer = committer
        self._io = io
        self._folder = io.folder
        self._claims: Claims = io.folder.claims
        self._grace_seconds = grace_seconds
        self._clock = clock
        self._timer: asyncio.TimerHandle | None = None
        self._next_folder = 0  # of a scan that did not come to its end
        self._scan_at = clock.monotonic()

    def watch(self) -> None:
        """A file is about to be made here: it must go even if nobody ever asks this process to collect."""
        if self._timer is None:
            self._watch_in(max(_LOOK_SECONDS_MIN, self._grace_seconds / _LOOKS_A_GRACE))

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    async def remove(self, deadline: Deadline) -> int:
        """Returns how many files went."""
        return (
            await self._remove_of_the_dead(deadline)
            + await self._remove_overdue(deadline)
            + await self._remove_old(deadline)
        )

    async def _remove_of_the_dead(self, deadline: Deadline) -> int:
        dead = await self._io.call(lambda _: self._claims.take_dead(), deadline, undo=self._let_go)
        removed = 0
        try:
            for one in dead:
                outcome = await self._remove([self._folder.path_to(name) for name in one.names], deadline)
                removed += outcome.removed
                if not outcome.kept:
                    await self._io.call(lambda _, one=one: self._claims.bury(one), deadline)  # type: ignore[misc]
        finally:
            self._let_go(dead)
        return removed

    def _let_go(self, dead: Sequence[DeadClaims]) -> None:
        if dead and not self._io.threads.post(lambda _: self._claims.let_go(dead)):
            self._claims.let_go(dead)

    async def _remove_overdue(self, deadline: Deadline) -> int:
        names = self._claims.overdue(self._grace_seconds)
        outcome = await self._remove([self._folder.path_to(name) for name in names], deadline, is_overdue=True)
        return outcome.removed

    async def _remove_old(self, deadline: Deadline) -> int:
        """What is in nobody's claims: left by a power cut, by a failed unlink, or by a version that wrote no claims. It
        looks at every file of the drive, so not in every round; one that is cut short goes on where it was.
        """
        removed = 0
        if self._clock.monotonic() < self._scan_at:
            return 0
        for number in range(self._next_folder, DATA_FOLDERS):
            self._next_folder = number
            removed += await self._remove_old_in(self._folder.folder(number), deadline)
        self._next_folder = 0
        self._scan_at = self._clock.monotonic() + self._grace_seconds
        return removed

    async def _remove_old_in(self, folder: str, deadline: Deadline) -> int:
        before_ns = self._clock.now_ns() - round(self._grace_seconds * _NS)
        paths = await self._io.call(lambda _: self._folder.old_files(folder, before_ns), deadline)
        return (await self._remove(paths, deadline)).removed

    async def _remove(self, paths: Sequence[str], deadline: Deadline, *, is_overdue: bool = False) -> _Outcome:
        outcome = _Outcome()
        for start in range(0, len(paths), GARBAGE_BATCH):
            some = paths[start : start + GARBAGE_BATCH]
            await self._committer.call(
                lambda index, some=some: self._judge(index, some, outcome, is_overdue),  # type: ignore[misc]
                deadline,
            )
        return outcome

    def _watch_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._post_overdue)

    def _post_overdue(self) -> None:
        self._timer = None
        names = self._claims.overdue(self._grace_seconds)
        some = [self._folder.path_to(name) for name in names[:GARBAGE_BATCH]]
        if some:
            self._committer.post(lambda index: self._judge(index, some, _Outcome(), True))
        if len(names) > len(some):
            self._watch_in(_LOOK_SECONDS_MIN)
        elif not self._claims.is_empty():
            self.watch()

    # In a transaction of the committer.

    def _judge(self, index: DriveIndex, paths: Sequence[str], outcome: _Outcome, is_overdue: bool) -> None:
        if not index.meta.is_authoritative:  # it knows not all rows
            outcome.kept.update(map(os.path.basename, paths))
            return
        data = index.changes.data
        unnamed = [path for path in paths if (name := name_in(path)) is None or data.is_unknown(name)]
        there = [path for path in unnamed if self._folder.exists(path)]
        claimed = self._claimed(there, is_overdue)
        doomed = [path for path in there if path not in claimed]
        # The rows of the doomed may have gone in a transaction that was never synced, because its process was killed: a
        # sync of all there is comes before what is done after the commit.
        index.after_commit.append(lambda: self._unlink(paths, claimed, doomed, outcome, is_overdue))

    def _claimed(self, paths: Sequence[str], is_overdue: bool) -> set[str]:
        if not paths:
            return set()
        theirs = self._claims.of_others()
        is_ours = self._claims.is_open if is_overdue else self._claims.is_mine
        return {path for path in paths if (name := os.path.basename(path)) in theirs or is_ours(name)}

    def _unlink(
        self, paths: Sequence[str], claimed: set[str], doomed: Sequence[str], outcome: _Outcome, is_overdue: bool
    ) -> None:
        stuck = {path for path in doomed if not self._folder.remove_path(path)}
        outcome.removed += len(doomed) - len(stuck)
        outcome.kept.update(os.path.basename(path) for path in claimed | stuck)
        if is_overdue:
            self._claims.settle([name for path in paths if (name := os.path.basename(path)) not in outcome.kept])
