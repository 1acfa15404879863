"""What a drive's troubles mean for it: which state they put it in, and which of its operations still go on."""

import errno
import logging
from typing import Final

import apsw

from liteio_base.clock import Clock
from liteio_contracts.storage import DriveState
from liteio_contracts.storage_errors import (
    DriveFull,
    DriveOffline,
    DriveTimeout,
    RecordCorrupt,
    StorageError,
)

_log = logging.getLogger(__name__)

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_SYNC_ERRORS: Final = frozenset({apsw.SQLITE_IOERR_FSYNC, apsw.SQLITE_IOERR_DIR_FSYNC})
_BAD_READS_MAX: Final = 8
_BAD_READS_SECONDS: Final = 60.0

_SEVERITY: Final = {
    DriveState.ONLINE: 0,
    DriveState.FULL: 0,
    DriveState.READ_ONLY: 1,
    DriveState.OFFLINE: 2,
    DriveState.CORRUPT: 3,
}


class SyncFailed(Exception):
    """fsync failed: what was written before it may or may not be on the disk, and asking again would not tell."""


class DriveHealth:
    """One drive's state. Written by its threads and its loop; every field is one assignment, so no lock is needed.

    A failed sync and a damaged index last until the drive is opened again. An I/O error keeps the drive offline for
    `retry_seconds`, then one operation may try.
    """

    def __init__(self, clock: Clock, retry_seconds: float) -> None:
        self._clock = clock
        self._retry_seconds = retry_seconds
        self._fault: DriveState | None = None
        self._retry_at: float | None = None
        self._bad_reads: list[float] = []
        self.is_full = False
        self.reason = ""
        self.lost_a_sync = False

    @property
    def state(self) -> DriveState:
        if self._fault is not None:
            return self._fault
        if self.is_full:
            return DriveState.FULL
        return DriveState.ONLINE

    @property
    def is_likely_slow(self) -> bool:
        """Whether another drive is better asked first. Asked several times a request."""
        return self._fault is not None

    def require_readable(self) -> None:
        """Raises DriveOffline at once when asking the disk is of no use."""
        if self._fault in (None, DriveState.READ_ONLY):
            return
        if self._retry_at is not None and self._clock.monotonic() >= self._retry_at:
            self._retry_at = self._clock.monotonic() + self._retry_seconds
            return
        raise DriveOffline(self.reason, state=str(self._fault))

    def require_writable(self) -> None:
        self.require_readable()
        if self._fault is DriveState.READ_ONLY:
            raise DriveOffline(self.reason, state=str(self._fault))

    def require_room(self) -> None:
        """For new data; deletes and confirms go on when a drive is full. Raises DriveFull, DriveOffline."""
        self.require_writable()
        if self.is_full:
            raise self.full_error()

    def full_error(self) -> DriveFull:
        return DriveFull(self.reason or "the drive is full")

    def worked(self) -> None:
        """An operation went through the disk."""
        if self._retry_at is not None and self._fault is DriveState.OFFLINE:
            _log.warning("the drive answers again after: %s", self.reason)
            self._fault, self._retry_at, self.reason = None, None, ""

    def bad_read(self, reason: str) -> None:
        """A shard could not be read. One bad sector is that shard's trouble; many in a short time are the drive's."""
        now = self._clock.monotonic()
        self._bad_reads = [*(at for at in self._bad_reads if now - at < _BAD_READS_SECONDS), now]
        _log.warning("a shard can not be read: %s", reason)
        if len(self._bad_reads) >= _BAD_READS_MAX:
            self._bad_reads = []
            self.fail(DriveState.OFFLINE, f"too many shards can not be read ({reason})", retries=True)

    def set_full(self, is_full: bool, reason: str = "") -> None:
        if is_full != self.is_full:
            _log.warning("the drive is full: %s" if is_full else "the drive has room again%s", reason)
        self.is_full = is_full
        if self._fault is None:
            self.reason = reason if is_full else ""

    def fail(self, state: DriveState, reason: str, *, retries: bool = False) -> None:
        """Put the drive into a state, unless it is in a worse one already."""
        if self._fault is None or _SEVERITY[state] > _SEVERITY[self._fault]:
            _log.error("the drive is %s: %s", state, reason)
            self._fault, self.reason = state, reason
        self._retry_at = self._clock.monotonic() + self._retry_seconds if retries else self._retry_at
        if not retries and self._fault is state:
            self._retry_at = None

    def explain(self, problem: BaseException, doing: str) -> StorageError:
        """The typed error for what the disk or SQLite raised, after marking the drive. Raises anything else again."""
        if isinstance(problem, StorageError):
            return problem
        if isinstance(problem, SyncFailed):
            return self._sync_failed(f"{doing}: {problem.__cause__ or problem}")
        if isinstance(problem, OSError):
            return self._explain_os(problem, doing)
        if isinstance(problem, apsw.Error):
            return self._explain_index(problem, doing)
        raise problem

    def _sync_failed(self, reason: str) -> StorageError:
        self.lost_a_sync = True
        self.fail(DriveState.READ_ONLY, f"a sync failed; restart to use the drive again ({reason})")
        return DriveOffline(self.reason)

    def _explain_os(self, problem: OSError, doing: str) -> StorageError:
        reason = f"{doing}: {problem.strerror or problem}"
        if problem.errno in _FULL:
            self.set_full(True, reason)
            return DriveFull(reason)
        if problem.errno == errno.EROFS:
            self.fail(DriveState.READ_ONLY, reason)
        else:
            self.fail(DriveState.OFFLINE, reason, retries=True)
        return DriveOffline(reason)

    def _explain_index(self, problem: apsw.Error, doing: str) -> StorageError:
        reason = f"{doing}: {problem}"
        if isinstance(problem, apsw.FullError):
            self.set_full(True, reason)
            return DriveFull(reason)
        if isinstance(problem, apsw.BusyError | apsw.LockedError | apsw.InterruptError):
            return DriveTimeout(reason)
        if isinstance(problem, apsw.CorruptError | apsw.NotADBError):
            self.fail(DriveState.CORRUPT, f"the index is damaged ({reason})")
            return RecordCorrupt(reason)
        if isinstance(problem, apsw.ReadOnlyError):
            self.fail(DriveState.READ_ONLY, reason)
            return DriveOffline(reason)
        if getattr(problem, "extendedresult", 0) in _SYNC_ERRORS:
            return self._sync_failed(reason)
        if isinstance(problem, apsw.IOError | apsw.CantOpenError):
            self.fail(DriveState.OFFLINE, reason, retries=True)
            return DriveOffline(reason)
        raise problem
