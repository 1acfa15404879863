"""What a drive's troubles do to it, and what they do not do to anybody else."""

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import apsw
import pytest

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_base.ids import Generation
from liteio_contracts.storage import DriveState, DriveStatus, FenceRequest, ShardRef, VersionRef
from liteio_contracts.storage_errors import (
    DriveFull,
    DriveOffline,
    DriveTimeout,
    DriveUnavailable,
    RecordCorrupt,
    ShardCorrupt,
    ShardMissing,
)
from liteio_drives.local_drive import LocalDrive
from liteio_formats.record import PartEntry
from liteio_testkit.contract_bench import Bench, K, M, block_hashes, data_of, shard_blocks
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.polling import until
from liteio_testkit.storage_contract import DriveUnderTest

from .drive_bench import SMALL, format_drive, open_drive
from .faulty_files import BROKEN, NO_SPACE, READ_ONLY, FaultyFiles, FaultyVFS

BIG_BYTES = 6 * 1024 * 1024


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def files() -> FaultyFiles:
    return FaultyFiles()


@pytest.fixture
def vfs(tmp_path: Path) -> Iterator[FaultyVFS]:
    made = FaultyVFS(f"faulty-{tmp_path.name}")
    yield made
    made.unregister()


@pytest.fixture
async def drive(tmp_path: Path, clock: ManualClock, files: FaultyFiles, vfs: FaultyVFS) -> AsyncIterator[LocalDrive]:
    format_drive(tmp_path / "d")
    opened = await open_drive(tmp_path / "d", clock=clock, files=files, vfs=vfs.name, data_threads=2)
    yield opened
    files.faults.clear()
    for gate in files.gates.values():
        gate.set()
    vfs.fails_on.clear()
    await opened.close()


@pytest.fixture
def bench(drive: LocalDrive, clock: ManualClock) -> Bench:
    return bench_of(drive, clock)


def bench_of(drive: LocalDrive, clock: ManualClock) -> Bench:
    async def restart() -> LocalDrive:
        raise AssertionError("not in these tests")

    return Bench(DriveUnderTest(drive, clock, restart, SMALL.orphan_grace_seconds, SMALL.tombstone_keep_seconds))


async def status(bench: Bench) -> DriveStatus:
    return await bench.drive.status(deadline=bench.soon)


def shard_paths(drive_path: Path) -> list[Path]:
    return list((drive_path / "data").glob("*/*"))


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def damage_table(index: Path, table: str) -> None:
    """Overwrite the root page of a table."""
    db = apsw.Connection(str(index))
    page = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = ?", (table,)).get
    db.close()
    content = bytearray(index.read_bytes())
    content[(page - 1) * 4096 : page * 4096] = b"\x55" * 4096
    index.write_bytes(content)


def at_once(seconds: float = 0.2) -> Deadline:
    return Deadline.after(seconds, SystemClock())


# -- syncs


async def test_a_failed_sync_of_the_index_makes_the_drive_read_only_and_no_witness(
    tmp_path: Path, bench: Bench, clock: ManualClock, files: FaultyFiles
) -> None:
    await bench.put(b"before", 5)
    files.faults["sync_data"] = BROKEN
    with pytest.raises(DriveOffline):
        await bench.put(b"lost", 5)
    files.faults.clear()
    with pytest.raises(DriveOffline):
        await bench.put(b"after", 5)
    assert await bench.times(b"before") == {5: False}
    answer = await bench.head(b"before")
    assert not answer.is_authoritative, "it may have lost what it promised"
    told = await status(bench)
    assert (told.state, told.is_authoritative) == (DriveState.READ_ONLY, False)
    assert "sync" in told.reason
    # The next process knows of it, and takes writes again.
    again = await open_drive(tmp_path / "d", clock=clock)
    reopened = bench_of(again, clock)
    told = await status(reopened)
    assert (told.state, told.is_authoritative) == (DriveState.ONLINE, False)
    await reopened.put(b"after", 5)
    await again.close()
    once_more = await open_drive(tmp_path / "d", clock=clock)
    assert not (await status(bench_of(once_more, clock))).is_authoritative, "said durably, not only once"
    await once_more.close()


async def test_a_failed_sync_of_a_shard_is_not_tried_again(bench: Bench, files: FaultyFiles) -> None:
    files.faults["sync_data"] = BROKEN
    with pytest.raises(DriveOffline):
        await bench.stage(300_000)
    files.faults.clear()
    with pytest.raises(DriveOffline):
        await bench.stage(300_000)
    assert (await status(bench)).state is DriveState.READ_ONLY


async def test_another_process_learns_of_a_failed_sync(
    tmp_path: Path, bench: Bench, clock: ManualClock, files: FaultyFiles, drive: LocalDrive
) -> None:
    neighbour = await open_drive(tmp_path / "d", clock=clock, slot=0)
    beside = bench_of(neighbour, clock)
    await beside.put(b"k", 5)
    files.faults["sync_data"] = BROKEN
    with pytest.raises(DriveOffline):
        await bench.stage(300_000)
    files.faults.clear()
    drive._note_doubt()
    clock.advance(2)
    assert (await beside.head(b"k")).is_authoritative is False or not (await status(beside)).is_authoritative
    with pytest.raises(DriveOffline):
        await beside.put(b"k", 6)
    await neighbour.close()


# -- room


async def test_a_full_index_refuses_data_and_still_takes_deletes(
    tmp_path: Path, clock: ManualClock, vfs: FaultyVFS, files: FaultyFiles
) -> None:
    format_drive(tmp_path / "e")
    drive = await open_drive(tmp_path / "e", clock=clock, files=files, vfs=vfs.name, ballast_bytes=1 << 16)
    bench = bench_of(drive, clock)
    ballast = tmp_path / "e" / ".liteio.sys" / "ballast"
    record = await bench.put_settled(b"k", 5)
    assert ballast.stat().st_blocks * 512 >= 1 << 16
    # The disk is full for as long as the ballast lies on it.
    vfs.error = lambda: apsw.FullError("injected")
    files.faults["allocate"] = NO_SPACE
    original = vfs.check

    def full_while_there_is_ballast(kind: str) -> None:
        if kind == "write" and ballast.exists():
            original(kind)

    vfs.check = full_while_there_is_ballast  # type: ignore[method-assign]  # a disk that has room again
    vfs.fails_on.add("write")
    with pytest.raises(DriveFull):
        await bench.put(b"data", 5)
    stone = await bench.bury(record, 6)
    await bench.confirm(stone)
    assert not ballast.exists()
    assert await bench.times(b"k") == {6: True}
    with pytest.raises(DriveFull):
        await bench.put(b"data", 5)
    assert (await status(bench)).state is DriveState.FULL
    vfs.fails_on.clear()
    clock.advance(2)
    await bench.bury(record, 7)  # looks at the room again
    await bench.put(b"data", 5)
    await drive.close()


async def test_below_the_minimum_free_only_data_is_refused(tmp_path: Path, clock: ManualClock) -> None:
    format_drive(tmp_path / "e")
    drive = await open_drive(tmp_path / "e", clock=clock, free_min_bytes=1 << 60)
    bench = bench_of(drive, clock)
    with pytest.raises(DriveFull):
        await bench.put(b"k", 5)
    with pytest.raises(DriveFull):
        await drive.create_shard(ShardRef(bench.new_data_id(), 1, 0), size_hint=0, deadline=bench.soon)
    await bench.bury(bench.record(b"k", 5), 6)
    await bench.new_bucket().open_bucket()
    assert (await status(bench)).state is DriveState.FULL
    await drive.close()


async def test_a_drive_with_room_again_takes_data_without_being_asked_for_anything_else(
    bench: Bench, files: FaultyFiles, clock: ManualClock
) -> None:
    files.faults["pwrite"] = NO_SPACE
    with pytest.raises(DriveFull):
        await bench.stage(300_000)
    files.faults.clear()
    clock.advance(2)
    with pytest.raises(DriveFull):
        await bench.stage(300_000)
    await asyncio.sleep(0.05)
    await bench.stage(300_000)


async def test_a_shard_that_does_not_fit_leaves_nothing_behind(
    tmp_path: Path, bench: Bench, files: FaultyFiles
) -> None:
    files.faults["pwrite"] = NO_SPACE
    with pytest.raises(DriveFull):
        await bench.stage(300_000)
    with pytest.raises(DriveFull):
        await bench.stage(300_000)
    files.faults.clear()
    await bench.fence(bench.record(b"k", 5))
    assert not shard_paths(tmp_path / "d")


# -- errors of the disk


async def test_an_io_error_takes_the_drive_offline_until_it_answers_again(
    bench: Bench, clock: ManualClock, vfs: FaultyVFS
) -> None:
    await bench.put(b"k", 5)
    vfs.fails_on.add("write")
    with pytest.raises(DriveOffline):
        await bench.put(b"k", 6)
    with pytest.raises(DriveOffline):
        await bench.head(b"k")
    vfs.fails_on.clear()
    with pytest.raises(DriveOffline):
        await bench.head(b"k")
    clock.advance(SMALL.retry_after_seconds + 1)
    await bench.put(b"k", 7)
    assert await bench.times(b"k") == {7: False, 5: False}
    assert (await status(bench)).state is DriveState.ONLINE


async def test_an_index_that_can_not_be_read_is_the_drives_trouble(
    tmp_path: Path, clock: ManualClock, vfs: FaultyVFS
) -> None:
    """SQLite ends the transaction by itself then."""
    format_drive(tmp_path / "e")
    drive = await open_drive(tmp_path / "e", clock=clock, vfs=vfs.name)
    bench = bench_of(drive, clock)
    await bench.put(b"k", 5)
    await drive._reader.call(lambda index: index._db.pragma("shrink_memory"), bench.soon)
    vfs.fails_on.add("read")
    with pytest.raises(DriveOffline):
        await drive.walk(None, 10, deadline=bench.soon)
    vfs.fails_on.clear()
    await drive.close()


async def test_a_disk_that_does_not_tell_its_room_is_the_drives_trouble(bench: Bench, files: FaultyFiles) -> None:
    """Whoever asks many drives for their state must not end by it."""
    files.faults["space"] = BROKEN
    with pytest.raises(DriveOffline):
        await status(bench)


async def test_a_read_only_file_system_goes_on_being_read(bench: Bench, files: FaultyFiles) -> None:
    record = await bench.put_staged(b"k", 5)
    files.faults["open"] = READ_ONLY
    with pytest.raises(DriveUnavailable):
        await bench.stage(300_000)
    files.faults.clear()
    with pytest.raises(DriveOffline):
        await bench.put(b"k", 6)
    assert await bench.times(b"k") == {5: False}
    await bench.drive.shard_facts(data_of(record), verify=True, deadline=bench.soon)
    assert (await status(bench)).state is DriveState.READ_ONLY


async def test_one_unreadable_shard_is_its_own_trouble_many_are_the_drives(bench: Bench, files: FaultyFiles) -> None:
    record = await bench.put_staged(b"k", 5)
    files.faults["pread"] = BROKEN
    for _ in range(8):
        with pytest.raises((ShardCorrupt, DriveOffline)):
            await bench.drive.shard_facts(data_of(record), verify=True, deadline=bench.soon)
    with pytest.raises(DriveOffline):
        await bench.drive.shard_facts(data_of(record), verify=True, deadline=bench.soon)


async def test_a_damaged_index_is_not_believed(tmp_path: Path, clock: ManualClock) -> None:
    path = tmp_path / "e"
    format_drive(path)
    drive = await open_drive(path, clock=clock)
    bench = bench_of(drive, clock)
    for number in range(300):
        await bench.put(b"k%04d" % number, 5, tags="x" * 300)
    await drive.close()
    damage_table(path / ".liteio.sys" / "index.db", "records")
    drive = await open_drive(path, clock=clock)
    bench = bench_of(drive, clock)
    with pytest.raises(RecordCorrupt):
        await bench.head(b"k0001")
    with pytest.raises(DriveOffline) as told:
        await bench.head(b"k0002")
    assert told.value.fields["state"] == DriveState.CORRUPT
    await drive.close()


async def test_a_drive_that_is_emptied_while_it_runs_stops_answering(
    tmp_path: Path, bench: Bench, clock: ManualClock
) -> None:
    await bench.put(b"k", 5)
    shutil.rmtree(tmp_path / "d")
    clock.advance(2)
    with pytest.raises(DriveOffline):
        await bench.put(b"k", 6)
    with pytest.raises(DriveOffline):
        await bench.head(b"k")


# -- slowness


async def test_a_hung_drive_hangs_only_itself(
    tmp_path: Path, bench: Bench, files: FaultyFiles, drive: LocalDrive
) -> None:
    await bench.put(b"k", 5)
    format_drive(tmp_path / "other")
    other = await open_drive(tmp_path / "other")
    files.gates["lock"] = threading.Event()
    with pytest.raises(DriveTimeout):
        await drive.fence(_fence(bench), deadline=at_once())
    assert await bench.times(b"k") == {5: False}, "its reader does not wait for its committer"
    await bench_of(other, bench.subject.clock).put(b"k", 5)
    files.gates.pop("lock").set()
    await bench.put(b"k", 6)
    await other.close()


async def test_calls_behind_a_hung_one_fail_at_once(tmp_path: Path, files: FaultyFiles) -> None:
    format_drive(tmp_path / "e")
    drive = await open_drive(tmp_path / "e", files=files, hung_after_seconds=0.1)
    bench = bench_of(drive, ManualClock())
    files.gates["lock"] = threading.Event()
    with pytest.raises(DriveTimeout):
        await drive.fence(_fence(bench), deadline=at_once())
    loop = asyncio.get_running_loop()
    began = loop.time()
    with pytest.raises(DriveTimeout):
        await drive.fence(_fence(bench), deadline=at_once(30))
    assert loop.time() - began < 1
    files.gates.pop("lock").set()
    await asyncio.sleep(0.05)
    await drive.fence(_fence(bench), deadline=at_once(30))
    await drive.close()


async def test_hung_shard_reads_do_not_stop_the_index(bench: Bench, files: FaultyFiles, drive: LocalDrive) -> None:
    record = await bench.put_staged(b"k", 5)
    files.gates["pread"] = threading.Event()
    calls = [drive.shard_facts(data_of(record), verify=False, deadline=at_once()) for _ in range(4)]
    assert all(isinstance(one, DriveTimeout) for one in await asyncio.gather(*calls, return_exceptions=True))
    await bench.put(b"k", 6)
    assert await bench.times(b"k") == {6: False, 5: False}


async def test_a_shard_that_opens_too_late_is_closed_again(bench: Bench, files: FaultyFiles, drive: LocalDrive) -> None:
    record = await bench.put_staged(b"k", 5)
    before = open_descriptors()
    gate = files.gates["pread"] = threading.Event()
    with pytest.raises(DriveTimeout):
        await drive.open_shard(data_of(record), 0, 1, deadline=at_once())
    del files.gates["pread"]
    gate.set()
    await asyncio.sleep(0.1)
    assert open_descriptors() == before


@pytest.mark.parametrize("size_bytes", [4096, BIG_BYTES])
async def test_the_last_read_of_a_shard_closes_its_file(
    bench: Bench, files: FaultyFiles, drive: LocalDrive, size_bytes: int
) -> None:
    record = await bench.put_staged(b"k", 5, size_bytes=size_bytes)
    before, count = open_descriptors(), len(shard_blocks(data_of(record), size_bytes))
    reader = await drive.open_shard(data_of(record), 0, count, deadline=bench.soon)
    assert len(await reader.read(count)) == count
    assert open_descriptors() == before
    closed = files.calls["close"]
    await reader.close()
    await drive.shard_facts(data_of(record), verify=False, deadline=bench.soon)  # opens the same number, and closes it
    await asyncio.sleep(0.05)
    assert files.calls["close"] == closed + 1


async def test_a_reader_closed_while_it_reads_keeps_its_file_until_then(
    bench: Bench, files: FaultyFiles, drive: LocalDrive
) -> None:
    record = await bench.put_staged(b"k", 5, size_bytes=BIG_BYTES)
    before, count = open_descriptors(), len(shard_blocks(data_of(record), BIG_BYTES))
    reader = await drive.open_shard(data_of(record), 0, count, deadline=bench.soon)
    gate = files.gates["pread"] = threading.Event()
    reading = asyncio.ensure_future(reader.read(count))
    await asyncio.sleep(0.05)
    reading.cancel()
    await reader.close()
    await asyncio.sleep(0.05)
    closed = files.calls.get("close", 0)
    assert open_descriptors() == before + 1
    del files.gates["pread"]
    gate.set()
    await asyncio.sleep(0.1)
    assert (open_descriptors(), files.calls["close"]) == (before, closed + 1)


async def test_a_shard_that_can_not_be_read_is_closed(
    bench: Bench, drive: LocalDrive, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = await bench.put_staged(b"k", 5, size_bytes=BIG_BYTES)
    before = open_descriptors()

    def read_blocks(*_: object) -> list[bytes]:
        raise ShardCorrupt("the shard can not be read")

    monkeypatch.setattr("liteio_drives.shard_files.LocalShardReader._read_blocks", read_blocks)
    with pytest.raises(ShardCorrupt):
        await drive.open_shard(data_of(record), 0, 1, deadline=bench.soon)
    assert open_descriptors() == before


async def test_two_repairs_of_one_shard_do_not_mix(tmp_path: Path, bench: Bench) -> None:
    record = await bench.put_staged(b"k", 5, size_bytes=BIG_BYTES)
    ref = data_of(record)
    blocks = shard_blocks(ref, BIG_BYTES)
    writers = [await bench.drive.create_shard(ref, size_hint=BIG_BYTES, deadline=bench.soon) for _ in range(3)]
    for number, block in enumerate(blocks):
        for writer in writers:
            await writer.write([block], block_hashes(ref, blocks)[number : number + 1])
    await writers[0].close(K, M, BIG_BYTES)
    await writers[1].abort()
    await writers[2].close(K, M, BIG_BYTES)
    await bench.stage(300_000)
    await bench.drive.shard_facts(ref, verify=True, deadline=bench.soon)
    await until(lambda: len(shard_paths(tmp_path / "d")) == 2)  # what was given up goes when a thread is free


async def test_a_commit_that_nobody_waits_for_any_more_is_not_begun(
    bench: Bench, files: FaultyFiles, drive: LocalDrive
) -> None:
    gate = files.gates["lock"] = threading.Event()
    first = asyncio.ensure_future(bench.put(b"first", 5))
    await asyncio.sleep(0.05)
    late = asyncio.ensure_future(bench.put(b"late", 5))
    await asyncio.sleep(0.05)
    late.cancel()
    with pytest.raises(asyncio.CancelledError):
        await late
    del files.gates["lock"]
    gate.set()
    await first
    assert await bench.times(b"late") == {}


# -- shard files


async def test_a_file_system_without_direct_io_is_written_through_the_cache(bench: Bench, files: FaultyFiles) -> None:
    real_open = files.open

    def refuses_direct(path: str, flags: int, mode: int = 0o640) -> int:
        if flags & 0o40000:  # O_DIRECT
            raise OSError(22, "Invalid argument")
        return int(real_open(path, flags, mode))

    files.open = refuses_direct  # type: ignore[method-assign]  # tmpfs of older kernels
    record = await bench.put_staged(b"k", 5, size_bytes=BIG_BYTES)
    await bench.drive.shard_facts(data_of(record), verify=True, deadline=bench.soon)


async def test_direct_writes_of_any_length_are_whole(disk_path: Path, clock: ManualClock) -> None:
    format_drive(disk_path / "d")
    drive = await open_drive(disk_path / "d", clock=clock)
    bench = bench_of(drive, clock)
    for size_bytes in (2_000_000, 2 * BIG_BYTES, 5_000_001, 4_194_304):
        record = await bench.put_staged(b"k%d" % size_bytes, 5, size_bytes=size_bytes)
        await drive.shard_facts(data_of(record), verify=True, deadline=bench.soon)
    await drive.close()


async def test_a_torn_file_is_noticed_and_repaired_in_place(tmp_path: Path, bench: Bench) -> None:
    record = await bench.put_staged(b"k", 5, size_bytes=BIG_BYTES)
    (path,) = shard_paths(tmp_path / "d")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ShardCorrupt):
        await bench.drive.open_shard(data_of(record), 0, 1, deadline=bench.soon)
    await bench.stage(BIG_BYTES, record.parts[0].data_id)
    await bench.drive.shard_facts(data_of(record), verify=True, deadline=bench.soon)
    assert path.read_bytes() == whole
    assert len(shard_paths(tmp_path / "d")) == 1


async def test_a_flipped_bit_is_found_by_verifying(tmp_path: Path, bench: Bench) -> None:
    record = await bench.put_staged(b"k", 5, size_bytes=BIG_BYTES)
    (path,) = shard_paths(tmp_path / "d")
    content = bytearray(path.read_bytes())
    content[1_500_000] ^= 4
    path.write_bytes(content)
    with pytest.raises(ShardCorrupt) as found:
        await bench.drive.shard_facts(data_of(record), verify=True, deadline=bench.soon)
    assert found.value.fields["block"] == 1_500_000 // (1024 * 1024 // K)


@pytest.mark.parametrize("damage", ["cut", "zeroed", "other"])
async def test_a_row_is_not_committed_on_a_damaged_file(
    tmp_path: Path, clock: ManualClock, bench: Bench, damage: str
) -> None:
    part = await bench.stage(300_000)
    (path,) = shard_paths(tmp_path / "d")
    whole = path.read_bytes()
    path.write_bytes({"cut": whole[:4096], "zeroed": bytes(len(whole)), "other": whole}[damage])
    # Another process has not seen the file being written and goes by what is on the disk.
    second = await open_drive(tmp_path / "d", clock=clock)
    named = PartEntry(1, 300_001 if damage == "other" else 300_000, part.data_id, "etag")
    with pytest.raises(ShardMissing):
        await bench_of(second, clock).put(b"k", 5, size_bytes=named.size_bytes, parts=(named,))
    await second.close()


async def test_an_aborted_writer_leaves_no_file_and_no_descriptor(tmp_path: Path, bench: Bench) -> None:
    before = open_descriptors()
    for _ in range(3):
        ref = ShardRef(bench.new_data_id(), 1, 0)
        writer = await bench.drive.create_shard(ref, size_hint=BIG_BYTES, deadline=bench.soon)
        blocks = shard_blocks(ref, BIG_BYTES)
        await writer.write(blocks, block_hashes(ref, blocks))
        await writer.abort()
        await writer.abort()
        with pytest.raises(DriveOffline):
            await writer.close(K, M, BIG_BYTES)
    await bench.stage(300_000)  # behind the clean-up in the threads' queue
    await asyncio.sleep(0.1)
    assert len(shard_paths(tmp_path / "d")) == 1
    assert open_descriptors() <= before + 1


async def test_dropped_files_go_by_themselves(tmp_path: Path) -> None:
    format_drive(tmp_path / "e")
    clock = SystemClock()
    drive = await open_drive(tmp_path / "e", clock=clock, unlink_delay_seconds=0.05)
    bench = bench_of(drive, ManualClock())
    await bench.put_staged(b"k", 5)
    await bench.confirm(await bench.put_staged(b"k", 6))
    for _ in range(100):
        if len(shard_paths(tmp_path / "e")) == 1:
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail("the replaced file is still there")
    await drive.close()


async def test_what_was_dropped_before_the_clock_was_stepped_back_goes(tmp_path: Path) -> None:
    format_drive(tmp_path / "e")
    clock = ManualClock()
    drive = await open_drive(tmp_path / "e", clock=clock, unlink_delay_seconds=60.0)
    bench = bench_of(drive, clock)
    clock.step_wall(3600)
    await bench.put_staged(b"k", 5)
    await bench.confirm(await bench.put_staged(b"k", 6))
    clock.advance(1)
    await drive.collect_garbage(deadline=bench.soon)
    assert len(shard_paths(tmp_path / "e")) == 2
    clock.step_wall(-3600)
    assert await drive.collect_garbage(deadline=bench.soon) == 1
    assert len(shard_paths(tmp_path / "e")) == 1
    await drive.close()


async def test_a_long_purge_ends_without_further_traffic(bench: Bench, drive: LocalDrive) -> None:
    bucket = bench.new_bucket()
    config = await bucket.open_bucket(b"gone")
    records = [bucket.record(b"%05d" % number, 5) for number in range(1300)]
    await asyncio.gather(*(bucket.commit(record) for record in records))
    await asyncio.gather(*(bucket.bury(record, 6) for record in records))
    stone = await bucket.bury(config, 8)
    await bucket.confirm(stone)
    for _ in range(100):
        names = await drive.walk(None, 10_000, deadline=bench.soon)
        if all(name.bucket_id != bucket.bucket_id for name in names):
            break
        await asyncio.sleep(0.02)
    else:
        pytest.fail("the purge stopped")


def _fence(bench: Bench) -> FenceRequest:
    record = bench.record(b"fenced", 5)
    return FenceRequest(VersionRef(bench.name(b"fenced"), record.version_id, record.time), record.base, Generation(""))
