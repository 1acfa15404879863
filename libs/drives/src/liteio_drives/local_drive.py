"""`LocalDrive`: a StorageAPI over one folder of this machine. docs/formats/index-db.md says what is in the folder.

Nothing here touches the disk on the event loop: changes go through the committer's thread, reads of the index through
the reader's, shard files through a few data threads, each with its own deadline, so that a hung drive hangs only them.
"""

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, Final, TypeVar

import apsw

from liteio_base.clock import Clock, Randomness
from liteio_base.deadline import Deadline
from liteio_base.ids import BucketId, DriveId, Generation, VersionId
from liteio_base.limits import MIB
from liteio_contracts.storage import (
    BucketUsage,
    Commit,
    DigestAnswer,
    DigestQuery,
    DriveStatus,
    FenceAnswer,
    FenceRequest,
    KeyAnswer,
    KeyName,
    KeyQuery,
    ListPage,
    ListQuery,
    MissingShards,
    OutboxRow,
    ShardFacts,
    ShardReader,
    ShardRef,
    ShardWriter,
    StoredTopology,
    VersionRef,
)
from liteio_contracts.storage_errors import DriveOffline, GenerationChanged, StorageError
from liteio_drives.ballast import Ballast
from liteio_drives.boot_check import BootCheck
from liteio_drives.claims import CLAIMS_FOLDER, Claims
from liteio_drives.client_calls import ClientCalls
from liteio_drives.collector import Collector
from liteio_drives.committer import Committer
from liteio_drives.drive_format import (
    LOCK_NAME,
    clear_doubt,
    doubt,
    has_index,
    is_doubted,
    make_data_folders,
    read_format,
    renew_index,
    require_slot,
    system_folder,
)
from liteio_drives.drive_threads import Handler, JobThreads
from liteio_drives.files import FileSystem, RealFiles
from liteio_drives.health import DriveHealth, SyncFailed
from liteio_drives.index import DriveIndex, distrust_index, migrate_index
from liteio_drives.index_changes import Meta
from liteio_drives.index_digests import DigestWalk
from liteio_drives.limits import BATCH_JOBS_MAX, DriveSettings
from liteio_drives.reader import Reader
from liteio_drives.record_view import Register, version_bytes, view_commit
from liteio_drives.shard_files import LocalShardReader, LocalShardWriter, ShardIO, open_reader, read_facts, run_data_job
from liteio_drives.shard_folder import ShardFolder
from liteio_formats.checked_json import FormatError
from liteio_formats.format_json import DriveFormat

_log = logging.getLogger(__name__)
_CLOSE_SECONDS: Final = 5.0
_OPEN_SECONDS: Final = 30.0
_BLOCKS_A_CALL: Final = 4  # of a shard that is read: it takes the drive about as long as another call
_DIGEST_SECONDS: Final = 2.0  # an answer that is not whole by then goes out as far as it is
_DIGEST_RESTS: Final = 5  # as long as a step, after one during which a client asked for something
_DIGEST_REST_SECONDS: Final = 0.1
Result = TypeVar("Result")


class LocalDrive:
    """One open drive of one event loop. Several processes may have the same drive open."""

    def __init__(
        self,
        path: str,
        drive: DriveFormat,
        boot_check: BootCheck,
        settings: DriveSettings,
        clock: Clock,
        randomness: Randomness,
        files: FileSystem,
    ) -> None:
        """Use `open`."""
        self._path = path
        self._format = drive
        self._boot_check = boot_check
        self._settings = settings
        self._clock = clock
        self._files = files
        self._claims = Claims(
            os.path.join(system_folder(path), CLAIMS_FOLDER),
            os.path.join(system_folder(path), LOCK_NAME),
            files=files,
            clock=clock,
            randomness=randomness,
        )
        self._folder = ShardFolder(path, files, self._claims)
        self._calls = ClientCalls(system_folder(path))
        self._health = DriveHealth(clock, settings.retry_after_seconds)
        self._ballast = Ballast(path, system_folder(path), settings, files, self._health)
        self._committer = self._start_committer()
        self._reader = self._start_reader()
        self._io = ShardIO(
            self._folder,
            self._health,
            clock,
            self._threads("data", run_data_job(self._health), count=settings.data_threads),
            settings.shard_call_seconds,
        )
        self._collector = Collector(self._committer, self._io, settings, clock)

    @classmethod
    async def open(
        cls,
        path: str,
        slot: int,
        *,
        clock: Clock,
        randomness: Randomness,
        settings: DriveSettings | None = None,
        files: FileSystem | None = None,
    ) -> "LocalDrive":
        """Open a formatted drive. Raises DriveOffline when it is not formatted, damaged, or another slot's.

        A drive that lost its index gets an empty one with a new generation, and a drive whose last sync failed keeps
        its own: both are not authoritative until they are rebuilt. One whose machine has restarted is unchecked.
        """
        settings, files = settings or DriveSettings(), files or RealFiles()
        drive, boot_check = await asyncio.to_thread(_make_ready, path, slot, settings, randomness, files)
        opened = cls(path, drive, boot_check, settings, clock, randomness, files)
        try:
            await opened.status(deadline=Deadline.after(_OPEN_SECONDS, clock))
        except BaseException:
            await opened.close()
            raise
        return opened

    async def close(self) -> None:
        """Finish what was begun and end the threads. A hung thread is left behind."""
        self._collector.close()
        await asyncio.gather(*(threads.close(_CLOSE_SECONDS) for threads in self._all_threads()))
        if all(threads.has_ended for threads in self._all_threads()):
            await asyncio.to_thread(self._claims.end)

    @property
    def path(self) -> str:
        return self._path

    @property
    def format(self) -> DriveFormat:
        return self._format

    @property
    def drive_id(self) -> DriveId:
        return self._format.drive_id

    @property
    def slot(self) -> int:
        return self._format.slot

    @property
    def is_likely_slow(self) -> bool:
        return self._health.is_likely_slow

    async def status(self, *, deadline: Deadline) -> DriveStatus:
        def measure(index: DriveIndex) -> DriveStatus:
            space = self._files.space(self._path)
            versions, stored_bytes = index.changes.buckets.sums()
            return DriveStatus(
                drive_id=self.drive_id,
                slot=self.slot,
                state=self._health.state,
                reason=self._health.reason,
                generation=index.meta.generation,
                is_authoritative=index.meta.is_authoritative,
                total_bytes=space.total_bytes,
                free_bytes=space.free_bytes,
                unsettled=index.keys.count("unsettled"),
                outbox=index.keys.count("outbox"),
                versions=versions,
                stored_bytes=stored_bytes,
                client_calls=self._calls.total(),
                unchecked_boot=self._boot_check.boot if index.meta.is_unchecked else "",
            )

        return await self._read(measure, deadline)

    # Reading.

    def read_key(self, query: KeyQuery, *, deadline: Deadline) -> Awaitable[KeyAnswer]:
        self._calls.count()
        return self._read(lambda index: index.keys.read_key(query, index.meta), deadline, topics=(query,))

    def list_page(self, query: ListQuery, *, deadline: Deadline) -> Awaitable[ListPage]:
        self._calls.count()
        return self._read(lambda index: index.pages.list_page(query, index.meta), deadline)

    async def walk(self, after: KeyName | None, limit: int, *, deadline: Deadline) -> Sequence[KeyName]:
        return await self._read(lambda index: index.keys.walk(after, limit), deadline)

    async def range_digests(self, query: DigestQuery, *, deadline: Deadline) -> DigestAnswer:
        """Where clients ask for something meanwhile, most of the time is theirs."""
        walk = DigestWalk(query)
        calls = -1

        def step(index: DriveIndex) -> tuple[Meta, bool]:
            nonlocal calls
            index.advance_digests(walk)
            before, calls = calls, self._calls.total()
            return index.meta, 0 <= before < calls

        ends_at = self._clock.monotonic() + _DIGEST_SECONDS
        while True:
            began = self._clock.monotonic()
            meta, has_clients = await self._read(step, deadline)
            now = self._clock.monotonic()
            if walk.has_answer or (walk.ranges and now >= ends_at):
                return DigestAnswer(meta.generation, meta.is_authoritative, tuple(walk.ranges))
            if has_clients:
                await self._clock.sleep(min(_DIGEST_RESTS * (now - began), _DIGEST_REST_SECONDS))

    async def missing_shards(self, after: KeyName | None, limit: int, *, deadline: Deadline) -> MissingShards:
        found = await self._read(lambda index: index.named_files(after, limit), deadline)
        missing: tuple[KeyName, ...] = ()
        if found.files:
            missing = await self._io.call(lambda _: self._folder.missing(found.files), deadline)
        return MissingShards(missing, found.reached, len(found.files))

    async def key_versions(self, name: KeyName, *, deadline: Deadline) -> Sequence[VersionId]:
        return await self._read(lambda index: index.keys.key_versions(name), deadline)

    async def unsettled(self, older_than_ns: int, limit: int, *, deadline: Deadline) -> Sequence[VersionRef]:
        now_ns = self._clock.now_ns()
        return await self._read(lambda index: index.keys.unsettled(older_than_ns, limit, now_ns), deadline)

    async def outbox(self, older_than_ns: int, limit: int, *, deadline: Deadline) -> Sequence[OutboxRow]:
        now_ns = self._clock.now_ns()
        return await self._read(lambda index: index.keys.outbox(older_than_ns, limit, now_ns), deadline)

    async def bucket_usage(self, bucket_id: BucketId, *, deadline: Deadline) -> BucketUsage:
        return await self._read(lambda index: index.changes.buckets.usage(bucket_id), deadline)

    # Changing.

    def commit(self, commit: Commit, *, deadline: Deadline) -> Awaitable[None]:
        self._calls.count()
        try:
            view = view_commit(commit)
        except StorageError as refusal:
            return self._committer.refuse(refusal)
        now_ns = self._clock.now_ns()

        def write(index: DriveIndex) -> None:
            index.changes.commit(view, index.meta, now_ns)
            for row in view.rows:
                if row.files:
                    index.after_commit.append(partial(self._folder.named, row.files))

        return self._change(
            write,
            deadline,
            is_new_data=view.is_new_data,
            topics=[row.register for row in view.rows],
        )

    async def confirm(self, refs: Sequence[VersionRef], *, deadline: Deadline) -> None:
        now_ns = self._clock.now_ns()

        def confirm(index: DriveIndex) -> None:
            for ref in refs:
                index.changes.confirm(ref, now_ns)

        await self._change(confirm, deadline, is_lazy=True, topics=_registers(refs))
        self._collector.remind()

    async def fence(self, request: FenceRequest, *, deadline: Deadline) -> FenceAnswer:
        now_ns = self._clock.now_ns()
        return await self._change(
            lambda index: index.changes.fence(request, index.meta, now_ns),
            deadline,
            topics=_registers((request.ref,)),
        )

    async def roll_back(self, ref: VersionRef, *, deadline: Deadline) -> None:
        now_ns = self._clock.now_ns()
        await self._change(lambda index: index.changes.roll_back(ref, now_ns), deadline, topics=_registers((ref,)))
        self._collector.remind()

    async def outbox_done(self, numbers: Sequence[int], *, deadline: Deadline) -> None:
        await self._change(lambda index: index.changes.forget_events(numbers), deadline, is_lazy=True)

    async def set_authoritative(self, generation: Generation, *, deadline: Deadline) -> None:
        await self._change(lambda index: index.become_authoritative(generation), deadline)

    async def set_checked(self, boot: str, *, deadline: Deadline) -> None:
        def note(index: DriveIndex) -> None:
            if boot != self._boot_check.boot:
                raise GenerationChanged("the machine has restarted meanwhile", generation=index.meta.generation)
            self._boot_check.note()

        await self._change(note, deadline)

    async def collect_garbage(self, *, deadline: Deadline) -> int:
        self._health.require_writable()
        return await self._collector.collect(deadline)

    async def read_topology(self, *, deadline: Deadline) -> StoredTopology:
        def read(index: DriveIndex) -> StoredTopology:
            index.keys.has_shown_unsettled = True  # Who is told of it counts on the disk.
            return index.topology()

        return await self._read(read, deadline)

    async def write_topology(self, topology: StoredTopology, *, deadline: Deadline) -> None:
        await self._change(lambda index: index.keep_topology(topology), deadline)

    # Shard files.

    async def create_shard(self, ref: ShardRef, *, size_hint: int, deadline: Deadline) -> ShardWriter:
        self._require_room()
        self._calls.count(1 + size_hint // MIB)
        self._collector.orphans.watch()
        return LocalShardWriter(self._io, ref, size_hint)

    async def open_shard(self, ref: ShardRef, first_block: int, block_count: int, *, deadline: Deadline) -> ShardReader:
        self._health.require_readable()
        self._calls.count(1 + block_count // _BLOCKS_A_CALL)

        def open_it(_: object) -> LocalShardReader:
            reader = open_reader(self._io, ref, first_block, block_count)
            reader.read_ahead()
            return reader

        return await self._io.call(open_it, deadline, undo=LocalShardReader.let_go)

    async def shard_facts(self, ref: ShardRef, *, verify: bool, deadline: Deadline) -> ShardFacts:
        self._health.require_readable()
        return await self._io.call(lambda _: read_facts(self._io, ref, verify=verify), deadline)

    # Inside.

    def _read(
        self, work: Callable[[DriveIndex], Result], deadline: Deadline, topics: Sequence[Any] = ()
    ) -> "asyncio.Future[Result]":
        try:
            self._health.require_readable()
        except StorageError as refusal:
            return self._reader.refuse(refusal)
        return self._reader.call(work, deadline, topics=topics)

    def _change(
        self,
        work: Callable[[DriveIndex], Result],
        deadline: Deadline,
        *,
        is_lazy: bool = False,
        is_new_data: bool = False,
        topics: Sequence[Any] | None = None,
    ) -> "asyncio.Future[Result]":
        try:
            if is_new_data:
                self._require_room()
            else:
                self._health.require_writable()
        except StorageError as refusal:
            return self._committer.refuse(refusal)
        return self._committer.call(work, deadline, is_lazy=is_lazy, is_new_data=is_new_data, topics=topics)

    def _require_room(self) -> None:
        """Raises DriveFull, DriveOffline. The committer looks again whether there is room: nothing else may come by."""
        if self._health.is_full:
            self._committer.post(lambda _: None)
        self._health.require_room()

    def _start_committer(self) -> JobThreads:
        committer = Committer(
            os.path.join(system_folder(self._path), LOCK_NAME),
            self._open_index,
            files=self._files,
            health=self._health,
            clock=self._clock,
            ballast=self._ballast,
            look=self._look_for_doubt,
            on_lost_sync=self._note_doubt,
            run_aside=self._run_aside,
        )
        lazy_seconds = self._settings.confirm_delay_seconds
        return self._threads(
            "commit",
            committer.handle,
            is_batched=True,
            lazy_seconds=lazy_seconds,
            gather_seconds=self._settings.commit_gather_seconds,
            at_end=committer.end,
        )

    def _start_reader(self) -> JobThreads:
        reader = Reader(
            self._open_index,
            health=self._health,
            clock=self._clock,
            look=self._look_for_doubt,
            on_lost_sync=self._note_doubt,
        )
        return self._threads("read", reader.handle, is_batched=True, at_end=reader.end)

    def _threads(
        self,
        name: str,
        handle: Handler,
        *,
        count: int = 1,
        is_batched: bool = False,
        lazy_seconds: float = 0.0,
        gather_seconds: float = 0.0,
        at_end: Callable[[], None] = lambda: None,
    ) -> JobThreads:
        return JobThreads(
            f"liteio-{name}-{self._format.slot}",
            handle,
            clock=self._clock,
            count=count,
            batch_max=BATCH_JOBS_MAX if is_batched else 1,
            lazy_seconds=lazy_seconds,
            gather_seconds=gather_seconds,
            hung_after=self._settings.hung_after_seconds,
            at_end=at_end,
        )

    def _all_threads(self) -> tuple[JobThreads, ...]:
        return self._committer, self._reader, self._io.threads

    # On the threads.

    def _open_index(self) -> DriveIndex:
        index = DriveIndex(
            system_folder(self._path),
            cache_kib=self._settings.index_cache_kib,
            vfs=self._settings.vfs,
            files=self._files,
            require_file=self._folder.require,
            is_trusted=lambda: not self._health.lost_a_sync,
            is_unchecked=lambda: self._boot_check.is_unchecked,
        )
        if index.meta.drive_id != self.drive_id:
            index.close()
            raise DriveOffline("the index is another drive's", path=self._path, drive_id=index.meta.drive_id)
        return index

    def _run_aside(self, work: Callable[[object], None]) -> None:
        """On a data thread, some time."""
        try:
            self._committer.loop.call_soon_threadsafe(self._io.threads.post, work)
        except RuntimeError:
            pass  # the loop was closed, and with it the drive

    def _note_doubt(self) -> None:
        """A sync failed. Say so beside the index, for the next start and for other processes, if the disk still can."""
        try:
            doubt(self._path, self._files)
        except OSError as problem:
            _log.error("could not note that the drive %s is in doubt: %s", self._path, problem)

    def _look_for_doubt(self) -> None:
        """Once a second. Another process of this machine may have seen a sync fail, or noted that the drive was
        compared."""
        self._calls.flush()
        self._boot_check.look()
        if not self._health.lost_a_sync and is_doubted(self._path, self._files):
            self._health.explain(SyncFailed("seen by another process"), "committing")


def _registers(refs: Sequence[VersionRef]) -> list[Register]:
    versions = [(ref.name, version_bytes(ref.version_id)) for ref in refs]
    return [
        Register(name.bucket_id, name.space, name.key, version) for name, version in versions if version is not None
    ]


def _make_ready(
    path: str, slot: int, settings: DriveSettings, randomness: Randomness, files: FileSystem
) -> tuple[DriveFormat, BootCheck]:
    """Everything that opening does to the disk, on a thread."""
    try:
        drive = require_slot(path, read_format(path, files), slot)
        make_data_folders(path, files)
        lock = files.open(os.path.join(system_folder(path), LOCK_NAME), os.O_RDWR | os.O_CREAT)
        try:
            files.lock(lock)
            _mend_index(path, drive, settings, randomness, files)
        finally:
            files.close(lock)
        boot_check = BootCheck(system_folder(path), files)
    except FormatError as problem:
        raise DriveOffline(f"format.json is damaged: {problem}", path=path) from problem
    except (OSError, apsw.Error) as problem:
        raise DriveOffline(f"the drive can not be opened: {problem}", path=path) from problem
    return drive, boot_check


def _mend_index(
    path: str, drive: DriveFormat, settings: DriveSettings, randomness: Randomness, files: FileSystem
) -> None:
    """Under the drive's lock: another process may be opening it too."""
    if not has_index(path, files):
        _log.error("the drive %s lost its index: it gets an empty one and is to be rebuilt", path)
        renew_index(path, drive, is_authoritative=False, files=files, randomness=randomness, vfs=settings.vfs)
    migrate_index(system_folder(path), vfs=settings.vfs)
    if is_doubted(path, files):
        _log.error("a sync failed when the drive %s was last open: it is to be rebuilt", path)
        distrust_index(system_folder(path), vfs=settings.vfs)
        clear_doubt(path, files)
