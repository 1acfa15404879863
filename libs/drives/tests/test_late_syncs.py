"""A commit is synced after the drive's lock was given back, so others see it before it is on the disk. Nobody is told
of it before it is: neither its writer nor a reader.

`here` and `there` are two processes' views of one drive, each with file-system calls of its own.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from liteio_contracts.storage import ListMode, ListQuery
from liteio_contracts.storage_errors import DriveOffline
from liteio_drives.files import RealFiles
from liteio_drives.index import DriveIndex
from liteio_drives.sync_state import SYNC_NAME, SyncState
from liteio_formats.record import Space
from liteio_testkit.contract_bench import Bench
from liteio_testkit.polling import until

from .drive_bench import bench_of, format_drive, open_drive
from .faulty_files import BROKEN, FaultyFiles

FOR_EVER = 2**62


@dataclass
class View:
    bench: Bench
    files: FaultyFiles
    gate: threading.Event = field(default_factory=threading.Event)

    @property
    def syncs(self) -> int:
        return self.files.calls.get("sync_data", 0)

    def hold_syncs(self) -> None:
        self.gate.clear()
        self.files.gates["sync_data"] = self.gate

    async def syncing(self, call: Awaitable[object]) -> "asyncio.Future[object]":
        """The call, once it waits for the disk."""
        before, task = self.syncs, asyncio.ensure_future(call)
        await until(lambda: self.syncs > before, 10)
        return task


@pytest.fixture
async def views(tmp_path: Path) -> AsyncIterator[tuple[View, View]]:
    format_drive(tmp_path / "d")
    files = FaultyFiles(), FaultyFiles()
    drives = [await open_drive(tmp_path / "d", files=each) for each in files]
    made = tuple(View(bench_of(drive), each) for drive, each in zip(drives, files, strict=True))
    yield made[0], made[1]
    for view, drive in zip(made, drives, strict=True):
        view.gate.set()
        await drive.close()


async def listed(bench: Bench) -> list[bytes]:
    query = ListQuery(space=Space.OBJECT, bucket_id=bench.bucket_id, mode=ListMode.LATEST)
    page = await bench.drive.list_page(query, deadline=bench.soon)
    return [item.key for item in page.items]


async def keys_unsettled(bench: Bench) -> list[bytes]:
    refs = await bench.drive.unsettled(FOR_EVER, 10, deadline=bench.soon)
    return [ref.name.key for ref in refs]


async def keys_of_events(bench: Bench) -> list[bytes]:
    return [row.payload for row in await bench.drive.outbox(FOR_EVER, 10, deadline=bench.soon)]


async def keys_headed(bench: Bench) -> list[bytes]:
    return [b"k" for _ in (await bench.head(b"k")).entries]


async def keys_in_register(bench: Bench) -> list[bytes]:
    return [b"k" for _ in await bench.times(b"k")]


async def test_others_commit_while_one_syncs(views: tuple[View, View]) -> None:
    here, there = views
    here.hold_syncs()
    putting = await here.syncing(here.bench.put(b"a", 5))
    await there.bench.put(b"b", 5)
    assert not putting.done()
    here.gate.set()
    await putting


@pytest.mark.parametrize("read", [keys_headed, keys_in_register, listed, keys_unsettled, keys_of_events])
async def test_a_reader_tells_of_a_row_only_when_it_is_on_the_disk(
    views: tuple[View, View], read: Callable[[Bench], Awaitable[list[bytes]]]
) -> None:
    here, there = views
    await here.bench.open_bucket()
    here.hold_syncs()
    there.hold_syncs()
    putting = await here.syncing(here.bench.commit(here.bench.record(b"k", 5), events=(b"k",)))
    reading = await there.syncing(read(there.bench))
    await asyncio.sleep(0.05)
    assert not reading.done()
    assert not putting.done()
    there.gate.set()
    assert b"k" in await reading  # type: ignore[operator]  # a list
    here.gate.set()
    await putting


async def test_a_reader_of_confirmed_rows_syncs_nothing(views: tuple[View, View]) -> None:
    here, there = views
    await here.bench.put_settled(b"k", 5)
    before = there.syncs
    assert await there.bench.times(b"k") == {5: True}
    assert [entry.time for entry in (await there.bench.head(b"k")).entries] == [5]
    assert await listed(there.bench) == [b"k"]
    assert there.syncs == before


async def test_a_reader_of_rows_that_are_on_the_disk_syncs_nothing(views: tuple[View, View]) -> None:
    here, there = views
    await here.bench.put(b"k", 5)
    before = there.syncs
    assert await there.bench.times(b"k") == {5: False}
    await here.bench.put_settled(b"l", 5)  # its confirm is not synced, and adds nothing
    assert await keys_unsettled(there.bench) == [b"k"]
    assert there.syncs == before


async def test_what_a_process_left_that_was_killed_while_it_synced_is_synced_by_each_reader(
    views: tuple[View, View],
) -> None:
    here, there = views
    here.hold_syncs()
    putting = await here.syncing(here.bench.put(b"k", 5))  # and never comes back, as far as the others can tell
    for _ in range(2):
        before = there.syncs
        assert await there.bench.times(b"k") == {5: False}
        assert there.syncs == before + 1
    await there.bench.put(b"l", 5)
    before = there.syncs
    assert await there.bench.times(b"k") == {5: False}
    assert there.syncs == before, "the commit's sync was one for all before it"
    here.gate.set()
    await putting


async def test_a_reader_syncs_for_all_and_says_so_for_none(tmp_path: Path) -> None:
    """One that began to commit while a reader synced may have committed after that sync."""
    state, other = SyncState(str(tmp_path), RealFiles()), SyncState(str(tmp_path), RealFiles())
    assert not other.has_unsynced()
    first, second = state.begin(), other.begin()
    state.note_synced(first)
    assert state.has_unsynced()
    other.note_synced(second)
    state.note_synced(first)
    assert not state.has_unsynced()
    # Whatever the file holds after a power cut: the next commit is unsynced until it is said to be synced.
    (tmp_path / SYNC_NAME).write_bytes(bytes(8) + (2**63).to_bytes(8, "little"))
    third = state.begin()
    assert other.has_unsynced()
    state.note_synced(third)
    assert not other.has_unsynced()
    state.close()
    other.close()


async def test_a_reader_whose_sync_fails_tells_nothing_and_is_no_witness_any_more(views: tuple[View, View]) -> None:
    here, there = views
    here.hold_syncs()
    putting = await here.syncing(here.bench.put(b"k", 5))
    there.files.faults["sync_data"] = BROKEN
    with pytest.raises(DriveOffline):
        await there.bench.head(b"k")
    there.files.faults.clear()
    here.gate.set()
    await putting
    answer = await there.bench.head(b"k")
    assert not answer.is_authoritative
    with pytest.raises(DriveOffline):
        await there.bench.put(b"k", 6)


async def test_a_refusal_waits_for_the_disk_as_well(views: tuple[View, View]) -> None:
    """It tells of what is there."""
    here, there = views
    here.hold_syncs()
    there.hold_syncs()
    putting = await here.syncing(here.bench.put(b"k", 5))
    refused = await there.syncing(there.bench.put(b"k", 4))
    await asyncio.sleep(0.05)
    assert not refused.done()
    there.gate.set()
    with pytest.raises(Exception, match="newer"):
        await refused
    here.gate.set()
    await putting


async def test_what_is_done_after_a_commit_is_done_after_its_sync(views: tuple[View, View]) -> None:
    """Files are removed there: power may not bring back a row that names one."""
    here, _ = views
    noted: list[int] = []

    def work(index: DriveIndex) -> None:
        index.after_commit.append(lambda: noted.append(here.syncs))

    before = here.syncs
    committer = here.bench.drive._committer  # type: ignore[attr-defined]  # it is a LocalDrive
    await committer.call(work, here.bench.soon, is_lazy=True)
    assert noted == [before + 1]
