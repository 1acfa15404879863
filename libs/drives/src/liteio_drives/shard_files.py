"""Writing and reading one shard file. docs/formats/shard-footer.md draws the file.

A file is written under its final name (data ids are never used twice) and named by rows only when it is whole and
synced. Big ones go by direct I/O through page-aligned buffers: 0.9 ms against 2.8 ms a MiB (docs/architecture.md).
"""

import errno
import os
import threading
from collections.abc import Callable, Sequence
from itertools import count
from mmap import mmap
from queue import Empty, SimpleQueue
from typing import Any, Final, TypeVar

from liteio_base.check import check
from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_base.limits import BLOCK_BYTES
from liteio_contracts.storage import ShardFacts, ShardRef
from liteio_contracts.storage_errors import DriveOffline, ShardCorrupt, ShardMissing, StorageError
from liteio_drives.drive_threads import Answer, Handler, Job, JobThreads
from liteio_drives.files import O_DIRECT, read_all, write_all
from liteio_drives.health import DriveHealth, SyncFailed
from liteio_drives.limits import (
    DIRECT_IO_MIN_BYTES,
    READ_AHEAD_BYTES,
    SPARE_BUFFERS_MAX,
    WRITE_BUFFER_BYTES,
)
from liteio_drives.shard_folder import REPAIR_SUFFIX, ShardFolder, file_name_of, read_footer, require_identity
from liteio_erasure.bitrot import verify_block
from liteio_formats.footer import FooterError, ShardFooter, align_up, encode_footer

_NO_ROOM: Final = frozenset({errno.ENOSPC, errno.EDQUOT})
_CLOSED: Final = -1  # no descriptor
_WRITE_FLAGS: Final = os.O_WRONLY | os.O_CREAT
_repairs: Final = count()
Result = TypeVar("Result")


class Buffers:
    """Page-aligned memory for direct writes, lent to one writer at a time and reused."""

    def __init__(self) -> None:
        self._spare: SimpleQueue[mmap] = SimpleQueue()

    def take(self) -> mmap:
        try:
            return self._spare.get_nowait()
        except Empty:
            return mmap(-1, WRITE_BUFFER_BYTES)

    def give_back(self, buffer: mmap) -> None:
        if self._spare.qsize() < SPARE_BUFFERS_MAX:
            self._spare.put(buffer)


class ShardIO:
    """What writers and readers of one drive share: its folder, its data threads, its health."""

    def __init__(
        self, folder: ShardFolder, health: DriveHealth, clock: Clock, threads: JobThreads, call_seconds: float
    ) -> None:
        self.folder: Final = folder
        self.files: Final = folder.files
        self.health: Final = health
        self.clock: Final = clock
        self.buffers: Final = Buffers()
        self.threads: Final = threads
        self._call_seconds = call_seconds

    async def call(
        self,
        work: Callable[[Any], Result],
        deadline: Deadline | None = None,
        undo: Callable[[Result], object] | None = None,
    ) -> Result:
        """As JobThreads.call; without a deadline, within the drive's own patience."""
        return await self.threads.call(work, deadline or Deadline.after(self._call_seconds, self.clock), undo=undo)


def run_data_job(health: DriveHealth) -> Handler:
    """The data threads' handler: one job, its trouble explained."""

    def handle(jobs: list[Job], _: Answer) -> bool:
        for job in jobs:
            try:
                job.result = job.work(None)
            except StorageError as refusal:
                job.error = refusal
            except (OSError, SyncFailed) as problem:
                job.error = health.explain(problem, "at a shard file")
        return False

    return handle


class LocalShardWriter:
    """A ShardWriter. Small files are one hand-off to a thread: nothing is opened before a buffer is full or `close`."""

    def __init__(self, io: ShardIO, ref: ShardRef, size_hint: int) -> None:
        self._io = io
        self._ref = ref
        self._path = io.folder.path_of(file_name_of(ref))
        self._is_big = size_hint >= DIRECT_IO_MIN_BYTES
        self._sizes: list[int] = []  # of the first and the last shard; every one between is as long as the first
        self._data_bytes = 0
        self._hashes: list[bytes] = []
        self._waiting: list[bytes] = []
        self._waiting_bytes = 0
        self._sink: _Sink | None = None
        self._guard = threading.Lock()  # held by a job at work on the sink
        self._is_over = False
        self._is_given_up = False

    async def write(self, shards: Sequence[bytes], hashes: Sequence[bytes]) -> None:
        check(len(shards) == len(hashes), "one hash a block")
        self._require_open()
        for shard in shards:
            self._note_size(len(shard))
        self._hashes.extend(hashes)
        self._waiting.extend(shards)
        if self._waiting_bytes >= WRITE_BUFFER_BYTES:
            self._is_big = True
            await self._io.call(self._work(self._drain(self._take_waiting())))

    async def close(self, facts_k: int, facts_m: int, part_size_bytes: int) -> None:
        self._require_open()
        self._is_over = True
        footer = ShardFooter(
            self._ref.data_id,
            self._ref.part_number,
            self._ref.shard_index,
            facts_k,
            facts_m,
            part_size_bytes,
            BLOCK_BYTES,
            self._sizes[0] if self._sizes else 0,
            self._data_bytes,
            tuple(self._hashes),
        )
        try:
            await self._io.call(self._work(self._finish(self._take_waiting(), footer)))
        except BaseException:
            self._give_up()
            raise

    async def abort(self) -> None:
        if not self._is_over:
            self._is_over = True
            self._give_up()

    def _give_up(self) -> None:
        self._is_given_up = True
        if self._sink is not None or self._guard.locked():
            self._io.threads.post(self._discard)

    def _require_open(self) -> None:
        if self._is_over:
            raise DriveOffline("the shard's writer was closed or gave up", ref=repr(self._ref))

    def _note_size(self, size: int) -> None:
        check(size > 0, "a block's shard is not empty")
        check(not self._sizes or self._sizes[-1] == self._sizes[0] >= size, "only the last shard is shorter")
        self._sizes[1:] = [size] if self._sizes else []
        self._sizes = self._sizes or [size]
        self._data_bytes += size
        self._waiting_bytes += size

    def _take_waiting(self) -> list[bytes]:
        shards, self._waiting, self._waiting_bytes = self._waiting, [], 0
        return shards

    # On a data thread.

    def _work(self, step: Callable[[], None]) -> Callable[[Any], None]:
        def work(_: Any) -> None:
            with self._guard:
                step()
            # Given up while the job ran: `_discard` found the guard held and left the rest to this thread.
            if self._is_given_up:
                self._discard(None)

        return work

    def _drain(self, shards: list[bytes]) -> Callable[[], None]:
        return lambda: self._open_sink().append(shards)

    def _finish(self, shards: list[bytes], footer: ShardFooter) -> Callable[[], None]:
        def finish() -> None:
            sink = self._open_sink()
            sink.append(shards)
            padding = bytes(align_up(footer.data_bytes) - footer.data_bytes)
            sink.finish((padding, encode_footer(footer)), self._io.clock.now_ns())
            self._sink = None
            self._io.folder.remember(footer)

        return finish

    def _open_sink(self) -> "_Sink":
        if self._sink is None:
            self._sink = _Sink(self._io, self._path, is_direct=self._is_big)
        return self._sink

    def _discard(self, _: Any) -> None:
        if not self._guard.acquire(blocking=False):
            return
        try:
            sink, self._sink = self._sink, None
            if sink is not None:
                sink.discard()
        finally:
            self._guard.release()


class _Sink:
    """An open file and what is on its way into it. A file of that name that exists is replaced at the end, at once."""

    def __init__(self, io: ShardIO, path: str, *, is_direct: bool) -> None:
        self._io = io
        self._files = io.files
        self._final_path = path
        self.path = path
        self._claims = io.folder.claims
        self._claimed: list[str] = []
        self._descriptor, self._is_direct = self._open(is_direct)
        self._inode = io.files.stat_open(self._descriptor).inode
        self._offset = 0
        self._buffer = io.buffers.take()
        self._filled = 0

    def append(self, pieces: Sequence[bytes]) -> None:
        for piece in pieces:
            rest = memoryview(piece)
            while len(rest):
                count = min(len(rest), WRITE_BUFFER_BYTES - self._filled)
                self._buffer[self._filled : self._filled + count] = rest[:count]
                self._filled += count
                rest = rest[count:]
                if self._filled == WRITE_BUFFER_BYTES:
                    self._flush()

    def finish(self, pieces: Sequence[bytes], now_ns: int) -> None:
        """The rest of the file, which makes it whole pages; then durable under its final name."""
        self.append(pieces)
        self._flush()
        try:
            self._files.set_modified(self._descriptor, now_ns)
            self._sync(lambda: self._files.sync_data(self._descriptor))
        finally:
            self._files.close(self._descriptor)
            self._descriptor = -1
        if self.path != self._final_path:
            self._claim(self._final_path, self._claims.begin_beside)
            self._files.rename(self.path, self._final_path)
        self._sync(lambda: self._files.sync_folder(os.path.dirname(self._final_path)))
        self._end_claims(self._claims.close)
        self._io.buffers.give_back(self._buffer)

    def discard(self) -> None:
        try:
            # A repair may have put another file in this one's place meanwhile.
            is_ours = self._files.stat(self.path).inode == self._inode
            if self._descriptor >= 0:
                self._files.close(self._descriptor)
            if is_ours:
                self._files.unlink(self.path)
            self._end_claims(self._claims.withdraw)
        except OSError:
            self._end_claims(self._claims.close)  # it is overdue one day, and removed when the drive answers again
        self._io.buffers.give_back(self._buffer)

    def _open(self, is_direct: bool) -> tuple[int, bool]:
        flags = _WRITE_FLAGS | os.O_EXCL
        self._claim(self.path, self._claims.begin)
        try:
            return self._open_as(flags, is_direct)
        except FileExistsError:
            self._end_claims(self._claims.withdraw)
        except BaseException:
            self._end_claims(self._claims.close)
            raise
        # Two repairs of one shard may meet: each has a name of its own, in this process and beside others.
        self.path += f".{os.getpid()}-{next(_repairs)}{REPAIR_SUFFIX}"
        self._claim(self.path, self._claims.begin)
        try:
            return self._open_as(_WRITE_FLAGS | os.O_TRUNC, is_direct)
        except BaseException:
            self._end_claims(self._claims.close)
            raise

    def _claim(self, path: str, begin: Callable[[str], None]) -> None:
        name = os.path.basename(path)
        begin(name)
        self._claimed.append(name)

    def _end_claims(self, end: Callable[[str], None]) -> None:
        names, self._claimed = self._claimed, []
        for name in names:
            end(name)

    def _open_as(self, flags: int, is_direct: bool) -> tuple[int, bool]:
        if is_direct and O_DIRECT:
            try:
                return self._files.open(self.path, flags | O_DIRECT), True
            except OSError as problem:
                if problem.errno != errno.EINVAL:
                    raise
                flags = (flags & ~os.O_EXCL) | os.O_TRUNC  # the refusal may have left the file behind
        return self._files.open(self.path, flags), False

    def _flush(self) -> None:
        content = memoryview(self._buffer)[: self._filled]
        try:
            write_all(self._files, self._descriptor, content, self._offset)
        except OSError as problem:
            if problem.errno != errno.EINVAL or not self._is_direct:
                raise
            self._go_buffered()
            write_all(self._files, self._descriptor, content, self._offset)
        finally:
            content.release()
        self._offset += self._filled
        self._filled = 0

    def _go_buffered(self) -> None:
        """Some file systems take O_DIRECT at open and refuse the write."""
        self._files.close(self._descriptor)
        self._descriptor = -1
        self._descriptor, self._is_direct = self._files.open(self.path, _WRITE_FLAGS), False

    def _sync(self, sync: Callable[[], None]) -> None:
        try:
            sync()
        except OSError as problem:
            if problem.errno in _NO_ROOM:
                raise  # delayed allocation: the file was never promised to anybody
            raise SyncFailed(str(problem)) from problem


class LocalShardReader:
    """A ShardReader over an open descriptor, which the job that reads the last block closes."""

    def __init__(
        self, io: ShardIO, ref: ShardRef, descriptor: int, footer: ShardFooter, first: int, count: int
    ) -> None:
        self._io = io
        self._ref = ref
        self._descriptor = descriptor
        self._footer = footer
        self._next = first
        self._end = min(first + count, len(footer.hashes))
        self._hashes = footer.hashes[first : first + count]
        self._ahead: list[bytes] = []
        self._guard = threading.Lock()  # held by a job at work on the descriptor
        self._is_closed = False

    @property
    def hashes(self) -> Sequence[bytes]:
        return self._hashes

    @property
    def ahead(self) -> int:
        return len(self._ahead)

    async def read(self, count: int) -> Sequence[bytes]:
        if self._is_closed:
            raise DriveOffline("the shard's reader was closed", ref=repr(self._ref))
        found, self._ahead = self._ahead[:count], self._ahead[count:]
        first = self._next
        wanted = min(count - len(found), self._end - first)
        if wanted > 0:
            self._next = first + wanted
            found += await self._io.call(lambda _: self._take(first, wanted))
        return found

    async def close(self) -> None:
        self.let_go()

    def let_go(self) -> None:
        """Close, some time soon, on a data thread while there are any."""
        if not self._is_closed:
            self._is_closed = True
            if self._descriptor != _CLOSED and not self._io.threads.post(self._close):
                self._close(None)

    # On a data thread.

    def read_ahead(self) -> None:
        """Before anybody has the reader: what a small span needs, without another hand-off."""
        each = max(1, self._footer.shard_block_bytes)
        count = min(self._end - self._next, READ_AHEAD_BYTES // each)
        try:
            self._ahead = self._take(self._next, count)
        except BaseException:
            self._close(None)
            raise
        self._next += count

    def _take(self, first: int, count: int) -> list[bytes]:
        with self._guard:
            if self._is_closed:
                raise DriveOffline("the shard's reader was closed", ref=repr(self._ref))
            found = self._read_blocks(first, count)
        # Closed while the job ran: `_close` found the guard held and left the descriptor to this thread.
        if self._is_closed or first + count == self._end:
            self._close(None)
        return found

    def _close(self, _: Any) -> None:
        if not self._guard.acquire(blocking=False):
            return
        try:
            descriptor, self._descriptor = self._descriptor, _CLOSED
            if descriptor != _CLOSED:
                self._io.files.close(descriptor)
        finally:
            self._guard.release()

    def verify(self) -> None:
        """Hash every block. Raises ShardCorrupt."""
        ref = self._ref
        for number, expected in enumerate(self._footer.hashes):
            (shard,) = self._read_blocks(number, 1)
            if not verify_block(shard, expected, ref.data_id, ref.part_number, ref.shard_index, number):
                raise ShardCorrupt("a block does not match its hash", ref=repr(ref), block=number)

    def _read_blocks(self, first: int, count: int) -> list[bytes]:
        each = self._footer.shard_block_bytes
        found = []
        for number in range(first, first + count):
            length = min(each, self._footer.data_bytes - number * each)
            found.append(self._read(length, number * each))
        return found

    def _read(self, length: int, offset: int) -> bytes:
        try:
            shard = read_all(self._io.files, self._descriptor, length, offset)
        except OSError as problem:
            self._io.health.bad_read(f"{self._ref}: {problem}")
            raise ShardCorrupt("the shard can not be read", ref=repr(self._ref), problem=str(problem)) from problem
        if len(shard) < length:
            raise ShardCorrupt("the shard file is short", ref=repr(self._ref))
        return shard


def open_reader(io: ShardIO, ref: ShardRef, first: int, count: int) -> LocalShardReader:
    """On a data thread. Raises ShardMissing, ShardCorrupt."""
    path = io.folder.path_of(file_name_of(ref))
    try:
        descriptor = io.files.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise ShardMissing("no such shard on this drive", ref=repr(ref)) from None
    try:
        footer = _read_footer(io, descriptor, ref)
        require_identity(footer, ref)
        return LocalShardReader(io, ref, descriptor, footer, first, count)
    except BaseException:
        io.files.close(descriptor)
        raise


def read_facts(io: ShardIO, ref: ShardRef, *, verify: bool) -> ShardFacts:
    """On a data thread. Raises ShardMissing, ShardCorrupt."""
    reader = open_reader(io, ref, 0, 0)
    try:
        if verify:
            reader.verify()
        footer = reader._footer
        return ShardFacts(ref, footer.k, footer.m, footer.part_size_bytes, footer.hashes)
    finally:
        io.files.close(reader._descriptor)


def _read_footer(io: ShardIO, descriptor: int, ref: ShardRef) -> ShardFooter:
    try:
        return read_footer(io.files, descriptor)
    except FooterError as problem:
        raise ShardCorrupt(f"the footer can not be read: {problem}", ref=repr(ref)) from problem
    except OSError as problem:
        io.health.bad_read(f"{ref}: {problem}")
        raise ShardCorrupt("the footer can not be read", ref=repr(ref), problem=str(problem)) from problem
