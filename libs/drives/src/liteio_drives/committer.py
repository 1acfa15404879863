"""The committer: one thread a drive through which every change of its index goes, many in one transaction.

Several processes may open a drive: their committers take turns by `flock` on index.lock, which the kernel frees when a
process dies, instead of by SQLite's polling. Removing files that nobody names must not happen while a row is being
committed: it happens here too, under the same lock.
"""

import os
from collections import Counter
from collections.abc import Callable
from typing import Final

import apsw

from liteio_base.clock import Clock
from liteio_contracts.storage_errors import StorageError
from liteio_drives.ballast import Ballast
from liteio_drives.checkpointer import Checkpointer
from liteio_drives.drive_threads import Answer, Job
from liteio_drives.files import FileSystem
from liteio_drives.health import DriveHealth
from liteio_drives.index import DriveIndex
from liteio_drives.limits import CHORE_ROWS
from liteio_drives.record_view import Register
from liteio_formats.record import Space

_LOOK_SECONDS: Final = 1.0  # how often free space and the index file itself are looked at


class Committer:
    """What the thread does with a batch. `handle` is called on the thread only."""

    def __init__(
        self,
        lock_path: str,
        open_index: Callable[[], DriveIndex],
        *,
        files: FileSystem,
        health: DriveHealth,
        clock: Clock,
        ballast: Ballast,
        look: Callable[[], None],
        on_lost_sync: Callable[[], None],
        run_aside: Callable[[Callable[[object], None]], None],
    ) -> None:
        """`run_aside`: runs work on another thread, some time."""
        self._open_index = open_index
        self._files = files
        self._health = health
        self._clock = clock
        self._ballast = ballast
        self._look = look
        self._on_lost_sync = on_lost_sync
        self._lock_path = lock_path
        self._lock: int | None = None
        self._index: DriveIndex | None = None
        self._look_at = 0.0
        self._checkpointer = Checkpointer(
            open_index, clock=clock, run_aside=run_aside, on_trouble=self._checkpoint_failed
        )
        self._has_chores = True  # there may be some from before: look once

    def handle(self, jobs: list[Job], answer: Answer) -> bool:
        """One transaction for all; each job alone is all or nothing. Every job ends with a result or an error. Returns
        whether there are chores left.
        """
        if not jobs and not self._has_chores:
            return False
        try:
            self._look_around()
            if self._health.is_full:
                jobs = self._refuse_new_data(jobs)
            self._transact(jobs, answer)
        except Exception as problem:
            self._fail(jobs, problem, answer)
            self._has_chores = True  # look again with the next job, but not before
            return False
        return self._has_chores

    def end(self) -> None:
        """On the thread, when it ends."""
        self._close_index()
        if self._lock is not None:
            self._files.close(self._lock)
            self._lock = None

    def _transact(self, jobs: list[Job], answer: Answer) -> None:
        lock = self._take_lock()
        try:
            index = self._index or self._reopen()
            self._apply(index, jobs)
            # Removing files and checkpoints belong under the lock, and follow the sync. Otherwise the next process
            # commits while the disk syncs: readers see the rows then, and sync before they tell (DriveIndex.reading).
            is_locked_sync = bool(index.after_commit) or self._checkpointer.may_work(index)
            if is_locked_sync:
                self._conclude(index, jobs, answer)
            self._checkpoint(index)
        finally:
            self._files.unlock(lock)
        if not is_locked_sync:
            self._conclude(index, jobs, answer)

    def _conclude(self, index: DriveIndex, jobs: list[Job], answer: Answer) -> None:
        """Make the transaction durable and tell. One of nothing but lazy jobs waits for the next one's sync."""
        if index.after_commit or not _are_lazy(jobs):
            index.sync()
        for action in index.after_commit:
            action()
        index.after_commit.clear()
        self._health.worked()
        answer(jobs)

    def _apply(self, index: DriveIndex, jobs: list[Job]) -> None:
        """Savepoints cost a copy of every page that a job touches, and nearly no job fails after it began to write: so
        without them first, and all over with them when one did.
        """
        index.begin()
        try:
            index.changes.look_ahead(_independent(jobs))
            for job in jobs:
                self._run(index, job)
            self._finish(index, jobs)
            return
        except (apsw.Error, OSError):
            index.roll_back()
            raise
        except Exception:
            index.roll_back()
        index.begin()
        try:
            for job in jobs:
                self._run_alone(index, job)
            self._finish(index, jobs)
        except BaseException:
            index.roll_back()
            raise

    def _finish(self, index: DriveIndex, jobs: list[Job]) -> None:
        if self._has_chores or index.changes.has_chores:
            self._has_chores = index.changes.do_chores(CHORE_ROWS, self._clock.now_ns())
        index.commit(is_lazy=_are_lazy(jobs))

    def _run(self, index: DriveIndex, job: Job) -> None:
        """Raises the job's refusal when it had begun to write."""
        job.error = None
        writes = index.writes()
        try:
            job.result = job.work(index)
        except StorageError as refusal:
            if index.writes() != writes:
                raise
            job.error = refusal

    def _run_alone(self, index: DriveIndex, job: Job) -> None:
        job.error = None
        try:
            with index.savepoint():
                job.result = job.work(index)
        except (apsw.Error, OSError):
            raise
        except Exception as problem:  # a refusal, or a bug that must fail nobody but its caller
            job.error = problem

    def _fail(self, jobs: list[Job], problem: Exception, answer: Answer) -> None:
        """The transaction did not come about, or its fate is unknown. Give each job its error, and mark the drive."""
        error = self._explain(problem)
        for job in jobs:
            job.result, job.error = None, error
        freeing = [job for job in jobs if not job.is_new_data]
        if self._health.is_full and freeing and self._ballast.release():
            # Room was made: what makes more of it must not fail with the rest.
            for job in freeing:
                job.error = None
            try:
                self._transact(freeing, answer)
            except Exception as again:
                error = self._explain(again)
                for job in freeing:
                    job.result, job.error = None, error

    def _explain(self, problem: Exception) -> BaseException:
        error = self._mark_drive(problem)
        # Whatever SQLite thinks of the connection now, the next transaction starts with a new one.
        self._close_index()
        return error

    def _mark_drive(self, problem: Exception) -> BaseException:
        try:
            error: BaseException = self._health.explain(problem, "committing")
        except Exception as unexpected:
            error = unexpected
        if self._health.lost_a_sync:
            self._on_lost_sync()
        return error

    def _refuse_new_data(self, jobs: list[Job]) -> list[Job]:
        refused = [job for job in jobs if job.is_new_data]
        for job in refused:
            job.error = self._health.full_error()
        return [job for job in jobs if not job.is_new_data]

    def _look_around(self) -> None:
        """Now and then: is there room, and is the index that is open still the one in the drive's folder?"""
        now = self._clock.monotonic()
        if now < self._look_at:
            return
        self._look_at = now + _LOOK_SECONDS
        self._ballast.look()
        self._look()
        if self._index is not None:
            self._index.require_in_place()

    def _take_lock(self) -> int:
        if self._lock is None:
            self._lock = self._files.open(self._lock_path, os.O_RDWR | os.O_CREAT)
        self._files.lock(self._lock)
        return self._lock

    def _reopen(self) -> DriveIndex:
        self._index = self._open_index()
        return self._index

    def _close_index(self) -> None:
        index, self._index = self._index, None
        if index is not None:
            try:
                index.close()
            except apsw.Error:
                pass  # it is given up because of its errors

    def _checkpoint(self, index: DriveIndex) -> None:
        """Its failure does not concern those whose transaction is over and answered."""
        try:
            self._checkpointer.look(index)
        except Exception as problem:
            self._checkpoint_failed(problem)
            self._close_index()

    def _checkpoint_failed(self, problem: Exception) -> None:
        self._mark_drive(problem)
        if self._health.is_full:
            self._ballast.release()


def _are_lazy(jobs: list[Job]) -> bool:
    return all(job.is_lazy for job in jobs)


def _independent(jobs: list[Job]) -> list[Register]:
    """The registers of which no other job of these can change what there is to know."""
    registers: list[Register] = []
    for job in jobs:
        if job.topics is None:
            return []
        registers += job.topics
    if any(register.space is Space.BUCKET for register in registers):  # It decides about all keys of the bucket.
        return []
    keys = [register[:3] for register in registers]
    if len(set(keys)) == len(keys):
        return registers
    times = Counter(keys)
    return [register for register, key in zip(registers, keys, strict=True) if times[key] == 1]
