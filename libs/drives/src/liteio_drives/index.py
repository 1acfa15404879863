"""`DriveIndex`: one connection to a drive's index.db and what can be asked of it. docs/formats/index-db.md.

No threads and no locks here: the committer's thread has one of these for writing, the reader's thread another. SQLite
alone opens index.db and -shm: closing a descriptor of one of them would drop SQLite's own POSIX locks.
"""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Final

import apsw

from liteio_base.check import check
from liteio_base.ids import DriveId, Generation
from liteio_contracts.storage import KeyAnswer, KeyName, KeyQuery, StoredTopology
from liteio_contracts.storage_errors import DriveOffline, GenerationChanged, StaleTopology
from liteio_drives.files import FileSystem
from liteio_drives.health import SyncFailed
from liteio_drives.index_changes import Changes, Meta
from liteio_drives.index_digests import DigestWalk
from liteio_drives.index_files import NamedFiles, named_files
from liteio_drives.index_glances import KeyGlances
from liteio_drives.index_pages import PageReads
from liteio_drives.index_reads import KeyReads
from liteio_drives.index_schema import BUSY_MS, CREATION_PRAGMAS, MIGRATIONS, PRAGMAS, SCHEMA_VERSION, TABLES
from liteio_drives.index_sql import Sql
from liteio_drives.record_view import NamedFile
from liteio_drives.sync_state import SyncState

# SQLite before this can corrupt a database when two connections write or checkpoint at once (the WAL-reset bug).
check(tuple(map(int, apsw.sqlite_lib_version().split("."))) >= (3, 51, 3), "SQLite is 3.51.3 or newer")


def _without_memory_statistics() -> None:
    """SQLite counts every allocation under one lock for the whole process: 4 % of a DELETE. This can be changed only
    before anything uses it."""
    if not apsw.connections():
        apsw.shutdown()
        apsw.config(apsw.SQLITE_CONFIG_MEMSTATUS, False)
        apsw.initialize()


_without_memory_statistics()

INDEX_NAME: Final = "index.db"
_LOG: Final = "-wal"
_NEW: Final = ".new"
_CHECKPOINT_BUSY_MS: Final = 200
_META: Final = "SELECT drive_id, generation, authoritative, topology_number FROM meta"
_OPENING: Final = (
    "SELECT drive_id, generation, authoritative, topology_number, (SELECT ifnull(max(id), 0) FROM payloads),"
    " EXISTS (SELECT 1 FROM purges) OR EXISTS (SELECT 1 FROM live_fills) FROM meta"
)
_OPEN_FLAGS: Final = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOMUTEX


class DriveIndex:
    """One connection, used by one thread. Errors are apsw's; liteio_drives.health says what they mean for the drive."""

    def __init__(
        self,
        folder: str,
        *,
        cache_kib: int,
        vfs: str,
        files: FileSystem,
        require_file: Callable[[NamedFile], None],
        is_trusted: Callable[[], bool] = lambda: True,
        is_unchecked: Callable[[], bool] = lambda: False,
    ) -> None:
        """Open the index in `folder` (`<drive>/.liteio.sys`). Raises apsw.Error, DriveOffline for another schema."""
        self.path: Final = os.path.join(folder, INDEX_NAME)
        self.inode: Final = files.stat(self.path).inode
        self._files = files
        with ExitStack() as undo:
            self._db: Final = apsw.Connection(self.path, flags=_OPEN_FLAGS, vfs=vfs or None, statementcachesize=400)
            undo.callback(self._db.close, True)
            _configure(self._db, cache_kib)
            # Commits do not sync: `sync` does, once the drive's lock is given back.
            self._db.execute("PRAGMA synchronous = NORMAL").fetchall()
            self._sql: Final = Sql(self._db)
            self._execute: Final = self._sql.execute
            self._check_schema()
            # As long as a connection is open, nobody replaces its log. It carries no locks that closing it would drop.
            self._log: Final = files.open(self.path + _LOG, os.O_RDWR)
            undo.callback(files.close, self._log)
            self._syncs: Final = SyncState(folder, files)
            undo.pop_all()
        self.keys: Final = KeyReads(self._sql)
        self._glances: Final = KeyGlances(self._sql)
        self.pages: Final = PageReads(self._sql, self.keys)
        self.changes: Final = Changes(self._sql, require_file)
        self._is_trusted = is_trusted
        self._is_unchecked = is_unchecked
        self._number = 0  # of this connection's last commit, in SyncState
        self.after_commit: Final[list[Callable[[], None]]] = []  # what to do when the transaction is durable
        self.meta = self._read_meta()
        self.log_pages = 0  # in the write-ahead log when this connection committed last
        self._db.set_wal_hook(self._note_log)

    def close(self) -> None:
        try:
            self._db.close(True)
        finally:
            self._files.close(self._log)
            self._syncs.close()

    def glance(self, queries: Sequence[KeyQuery]) -> list[KeyAnswer | None]:
        """Answer at once what is usual, each from one moment; None for what needs `reading`."""
        return self._glances.glance(queries, is_trusted=self._is_trusted(), is_unchecked=self._is_unchecked())

    def advance_digests(self, walk: DigestWalk) -> None:
        """One step of it, inside `reading`."""
        walk.advance(self._sql)

    def named_files(self, after: KeyName | None, limit: int) -> NamedFiles:
        return named_files(self._sql, after, limit)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """One moment for all that is read inside. `meta` is of that moment. What was seen of writes that are not
        confirmed yet is on the disk when it ends; raises SyncFailed when that can not be had.
        """
        self._execute("BEGIN")
        try:
            self.meta = self._read_meta()
            yield
        finally:
            # After some errors of the disk SQLite has ended the transaction already: theirs is the one to be told.
            if self._db.in_transaction:
                self._execute("COMMIT")
        if self.keys.has_shown_unsettled:
            self.keys.has_shown_unsettled = False
            if self._syncs.has_unsynced():
                self.sync()

    def begin(self) -> None:
        """Begin a write transaction."""
        self._execute("BEGIN IMMEDIATE")
        *meta, payload_number, has_chores = self._execute(_OPENING).fetchone()
        self.changes.begin(payload_number, has_chores=bool(has_chores))
        self.meta = self._meta(*meta)

    def commit(self, *, is_lazy: bool = False) -> None:
        """All connections see it now; it is on the disk after `sync`. `is_lazy`: it adds no row, and no sync follows.
        When this fails the transaction's fate is unknown, and the connection is to be closed.
        """
        self.changes.buckets.flush()
        self._number = 0 if is_lazy else self._syncs.begin()
        self._execute("COMMIT")

    def sync(self) -> None:
        """Put all that was committed up to now on the disk, by whomever. Raises SyncFailed."""
        try:
            self._files.sync_data(self._log)
        except OSError as problem:
            raise SyncFailed(str(problem)) from problem
        if self._number:
            self._syncs.note_synced(self._number)

    def roll_back(self) -> None:
        self.after_commit.clear()
        self.changes.buckets.forget_pending(0)
        self.changes.forget_notes()
        self._sql.forget_waiting()
        if self._db.in_transaction:
            self._execute("ROLLBACK")

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """What is written inside is undone when it raises; the transaction around it goes on."""
        waiting, actions = self.changes.buckets.pending(), len(self.after_commit)
        self._execute("SAVEPOINT one")
        try:
            yield
        except Exception:
            self.changes.buckets.forget_pending(waiting)
            del self.after_commit[actions:]
            # After a full or failing disk SQLite has already undone the whole transaction: nothing is left to undo.
            if self._db.in_transaction:
                self._execute("ROLLBACK TO one")
                self._execute("RELEASE one")
            raise
        self._execute("RELEASE one")

    def writes(self) -> int:
        """A number that differs when something was written since it was asked for."""
        written = self._db.total_changes() + self._sql.left
        return written + self.changes.buckets.pending() + len(self.after_commit)

    def become_authoritative(self, generation: Generation) -> None:
        """Inside a write transaction. Raises GenerationChanged."""
        if generation != self.meta.generation:
            raise GenerationChanged("the drive was emptied meanwhile", generation=self.meta.generation)
        self._execute("UPDATE meta SET authoritative = 1")

    def topology(self) -> StoredTopology:
        number, encoded, is_active = self._execute(
            "SELECT topology_number, topology, topology_active FROM meta"
        ).fetchone()
        return StoredTopology(number, encoded, bool(is_active))

    def keep_topology(self, topology: StoredTopology) -> None:
        """Inside a write transaction. Raises StaleTopology."""
        kept = self.topology()
        if (topology.number, topology.encoded) == (kept.number, kept.encoded):
            self._execute("UPDATE meta SET topology_active = ?", (topology.is_active or kept.is_active,))
            return
        if topology.number <= kept.number:
            raise StaleTopology("the drive keeps another topology that is not older", number=kept.number)
        self._execute(
            "UPDATE meta SET topology_number = ?, topology_active = ?, topology = ?",
            (topology.number, topology.is_active, topology.encoded),
        )
        self.meta = self.meta._replace(topology_number=topology.number)

    def require_in_place(self) -> None:
        """Raises OSError when the files that are open are not the ones in the drive's folder any more: the drive was
        emptied or taken away under a running process, which would otherwise go on in files without a name.
        """
        stat, stat_open = self._files.stat, self._files.stat_open
        is_log = stat(self.path + _LOG).inode == stat_open(self._log).inode
        if not (is_log and stat(self.path).inode == self.inode and self._syncs.is_in_place()):
            raise FileNotFoundError(errno.ENOENT, "the index was replaced under a running process")

    def wal_pages(self) -> tuple[int, int]:
        """Pages in the write-ahead log, and how many of them are in the database already."""
        return self._db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP)

    def checkpoint(self, *, insists: bool) -> bool:
        """Copy the log into the database. `insists`: wait a little for readers, so that the log starts over. Returns
        False when a reader is in the way: the next one gets further.
        """
        mode = apsw.SQLITE_CHECKPOINT_RESTART if insists else apsw.SQLITE_CHECKPOINT_PASSIVE
        self._db.set_busy_timeout(_CHECKPOINT_BUSY_MS)
        try:
            self._db.wal_checkpoint(mode=mode)
        except apsw.BusyError:
            return False
        finally:
            self._db.set_busy_timeout(BUSY_MS)
        return True

    def give_back_space(self, pages: int) -> None:
        """Return up to `pages` free pages to the file system."""
        self._execute(f"PRAGMA incremental_vacuum({pages})").fetchall()

    def _note_log(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        self.log_pages = pages
        return apsw.SQLITE_OK

    def _check_schema(self) -> None:
        found = self._execute("SELECT schema_version FROM meta").get
        if found != SCHEMA_VERSION:
            raise DriveOffline("the index was written by another version", schema=found, known=SCHEMA_VERSION)

    def _read_meta(self) -> Meta:
        return self._meta(*self._execute(_META).fetchall()[0])

    def _meta(self, drive_id: str, generation: str, authoritative: int, topology_number: int) -> Meta:
        is_authoritative = bool(authoritative) and self._is_trusted()
        return Meta(DriveId(drive_id), Generation(generation), is_authoritative, topology_number, self._is_unchecked())


def create_index(folder: str, meta: Meta, files: FileSystem, *, vfs: str = "") -> None:
    """Make an empty index in `folder`, whole or not at all, and durable. Raises apsw.Error, OSError."""
    path = os.path.join(folder, INDEX_NAME)
    for leftover in (path + _NEW, path + _NEW + _LOG, path + _NEW + "-shm", path, path + _LOG, path + "-shm"):
        try:
            files.unlink(leftover)
        except FileNotFoundError:
            pass
    db = apsw.Connection(path + _NEW, flags=_OPEN_FLAGS | apsw.SQLITE_OPEN_CREATE, vfs=vfs or None)
    try:
        for pragma in (*CREATION_PRAGMAS, *PRAGMAS):
            db.execute(pragma).fetchall()
        with db:
            db.execute(TABLES)
            db.execute(
                "INSERT INTO meta(id, schema_version, drive_id, generation, authoritative) VALUES (1, ?, ?, ?, ?)",
                (SCHEMA_VERSION, meta.drive_id, meta.generation, meta.is_authoritative),
            )
        db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    finally:
        db.close(True)
    files.rename(path + _NEW, path)
    files.sync_folder(folder)


def migrate_index(folder: str, *, vfs: str = "") -> None:
    """Bring the tables of an older version up to this one. Raises apsw.Error. A newer one is left as it is."""
    with _mending(folder, vfs) as db:
        for version in range(db.execute("SELECT schema_version FROM meta").get, SCHEMA_VERSION):
            with db:
                db.execute(MIGRATIONS[version])
                db.execute("UPDATE meta SET schema_version = ?", (version + 1,))


def distrust_index(folder: str, *, vfs: str = "") -> None:
    """Say durably that the drive is not authoritative. Raises apsw.Error."""
    with _mending(folder, vfs) as db:
        db.execute("UPDATE meta SET authoritative = 0")


@contextmanager
def _mending(folder: str, vfs: str) -> Iterator[apsw.Connection]:
    db = apsw.Connection(os.path.join(folder, INDEX_NAME), flags=_OPEN_FLAGS, vfs=vfs or None)
    try:
        for pragma in PRAGMAS:
            db.execute(pragma).fetchall()
        yield db
    finally:
        db.close(True)


def _configure(db: apsw.Connection, cache_kib: int) -> None:
    for pragma in PRAGMAS:
        db.execute(pragma).fetchall()
    db.execute(f"PRAGMA cache_size = -{cache_kib}")
    # Without this promise SQLite prepares a statement again whenever a bound value changes, because it might imply the
    # condition of a partial index: 25 µs instead of 3 µs a seek.
    db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
    # A database is as safe as its pages: never trust one whose checks fail, never run what it may contain.
    db.config(apsw.SQLITE_DBCONFIG_DEFENSIVE, 1)
    db.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
