"""The reader: one thread a drive. The reads of one loop turn are one batch, read from one moment of the index."""

from collections.abc import Callable
from typing import Final

import apsw

from liteio_base.clock import Clock
from liteio_contracts.storage_errors import StorageError
from liteio_drives.drive_threads import Answer, Job
from liteio_drives.health import DriveHealth, SyncFailed
from liteio_drives.index import DriveIndex

_LOOK_SECONDS: Final = 1.0


class Reader:
    """What the thread does with a batch. Never waits for writers: SQLite's log lets readers see the last commit. When
    that may not be on the disk yet, the reader syncs it before it tells (DriveIndex.reading).
    """

    def __init__(
        self,
        open_index: Callable[[], DriveIndex],
        *,
        health: DriveHealth,
        clock: Clock,
        look: Callable[[], None],
        on_lost_sync: Callable[[], None],
    ) -> None:
        self._open_index = open_index
        self._health = health
        self._clock = clock
        self._look = look
        self._on_lost_sync = on_lost_sync
        self._index: DriveIndex | None = None
        self._look_at = 0.0

    def handle(self, jobs: list[Job], _: Answer) -> bool:
        try:
            index = self._ready()
            longer = self._glance(index, jobs)
            if longer:
                with index.reading():
                    for job in longer:
                        self._run(index, job)
            self._health.worked()
        except Exception as problem:
            error = self._explain(problem)
            for job in jobs:
                if job.error is None:
                    job.error = error
        return False

    def end(self) -> None:
        self._close_index()

    def _glance(self, index: DriveIndex, jobs: list[Job]) -> list[Job]:
        """Answer what can be answered at a glance. Returns the others."""
        asked = [(job, query) for job in jobs for query in job.topics or ()]
        if asked:
            for (job, _), answer in zip(asked, index.glance([query for _, query in asked]), strict=True):
                job.result = answer
        return [job for job in jobs if job.result is None]

    def _run(self, index: DriveIndex, job: Job) -> None:
        try:
            job.result = job.work(index)
        except StorageError as refusal:
            job.error = refusal
        except (apsw.Error, OSError):
            raise
        except Exception as bug:
            job.error = bug

    def _ready(self) -> DriveIndex:
        if self._index is None:
            self._index = self._open_index()
        now = self._clock.monotonic()
        if now >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._index.require_in_place()
            self._look()
        return self._index

    def _explain(self, problem: Exception) -> BaseException:
        self._close_index()
        try:
            error: BaseException = self._health.explain(problem, "reading the index")
        except Exception as unexpected:
            error = unexpected
        if isinstance(problem, SyncFailed):
            self._on_lost_sync()
        return error

    def _close_index(self) -> None:
        index, self._index = self._index, None
        if index is not None:
            try:
                index.close()
            except apsw.Error:
                pass  # it is given up because of its errors
