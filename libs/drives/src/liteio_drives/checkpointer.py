"""Checkpoints: copying the write-ahead log into the database, so that the log can start over.

Most is copied beside the writers, on a thread and a connection of its own. Under the drive's lock it kept all
processes' committers waiting, on all drives at once since their logs grow alike, for a tenth of the time of a load of
small PUTs. What was written meanwhile is little: a committer copies that under the lock, and so the next transaction
finds everything copied and starts the log over.
"""

from collections.abc import Callable
from contextlib import closing
from typing import Final

from liteio_base.clock import Clock
from liteio_drives.index import DriveIndex
from liteio_drives.limits import CHECKPOINT_PAGES, CHECKPOINT_REST_PAGES, WAL_RESTART_PAGES

# A reader that stays, such as somebody's shell, keeps the log from starting over: writers wait for it now and then.
_INSIST_AGAIN_SECONDS: Final = 30.0
_COPY_AGAIN_SECONDS: Final = 1.0  # after a copying that got nowhere


class Checkpointer:
    """`run_aside` runs work on another thread, some time; `on_trouble` hears there of what went wrong."""

    def __init__(
        self,
        open_index: Callable[[], DriveIndex],
        *,
        clock: Clock,
        run_aside: Callable[[Callable[[object], None]], None],
        on_trouble: Callable[[Exception], None],
    ) -> None:
        self._open_index = open_index
        self._clock = clock
        self._run_aside = run_aside
        self._on_trouble = on_trouble
        self._is_copying = False  # set by the committer's thread, cleared by the other
        self._has_copied = False  # the other way round: what is left is little
        self._copy_at = 0.0
        self._insist_at = 0.0

    def may_work(self, index: DriveIndex) -> bool:
        """Whether the next look can take its time."""
        return index.log_pages >= CHECKPOINT_PAGES

    def look(self, index: DriveIndex) -> None:
        """After a transaction, on the committer's thread and under the drive's lock. Raises apsw.Error."""
        if not self.may_work(index):
            self._has_copied = False  # It has started over already.
            return
        pages, copied = index.wal_pages()
        now = self._clock.monotonic()
        if pages >= WAL_RESTART_PAGES and now >= self._insist_at:
            if not index.checkpoint(insists=True):
                self._insist_at = now + _INSIST_AGAIN_SECONDS
        elif self._has_copied:
            self._has_copied = False
            index.checkpoint(insists=False)
        elif pages - copied >= CHECKPOINT_PAGES and now >= self._copy_at and not self._is_copying:
            self._is_copying = True
            self._run_aside(self._copy)

    def _copy(self, _: object) -> None:
        try:
            with closing(self._open_index()) as index:
                while self._copies_more(index):
                    pass
        except Exception as problem:
            self._copy_at = self._clock.monotonic() + _COPY_AGAIN_SECONDS
            self._on_trouble(problem)
        finally:
            self._is_copying = False

    def _copies_more(self, index: DriveIndex) -> bool:
        """One round. Whether another is worth it: this one got further, and may have left more than little."""
        pages, before = index.wal_pages()
        if pages - before <= CHECKPOINT_REST_PAGES:
            self._has_copied = True
            return False
        if index.checkpoint(insists=False) and index.wal_pages()[1] > before:
            return True
        self._copy_at = self._clock.monotonic() + _COPY_AGAIN_SECONDS  # A reader is in the way, or another process.
        return False
