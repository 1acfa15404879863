"""When the log is copied into the database and by whom, and that it starts over."""

import asyncio
import threading
from pathlib import Path

import apsw
import pytest

from liteio_contracts.storage import DriveState
from liteio_contracts.storage_errors import DriveOffline
from liteio_drives.index import DriveIndex
from liteio_testkit.contract_bench import Bench
from liteio_testkit.manual_clock import ManualClock

from .drive_bench import bench_of, format_drive, open_drive

INDEX = Path(".liteio.sys", "index.db")
LOG = Path(".liteio.sys", "index.db-wal")
PAGE_BYTES = 4200  # with its header in the log, rounded up


class Checkpoints:
    """All that are made: which thread made each, whether it insisted, how many pages were to be copied."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.made: list[tuple[str, bool, int]] = []
        self.failure: Exception | None = None
        checkpoint = DriveIndex.checkpoint

        def noted(index: DriveIndex, *, insists: bool) -> bool:
            pages, copied = index.wal_pages()
            self.made.append((threading.current_thread().name, insists, pages - copied))
            if self.failure is not None:
                raise self.failure
            return checkpoint(index, insists=insists)

        monkeypatch.setattr(DriveIndex, "checkpoint", noted)

    def insisting(self) -> int:
        return sum(insists for _, insists, _ in self.made)

    def pages(self, thread: str) -> list[int]:
        return [pages for name, _, pages in self.made if name.startswith(f"liteio-{thread}-")]


@pytest.fixture
def checkpoints(monkeypatch: pytest.MonkeyPatch) -> Checkpoints:
    monkeypatch.setattr("liteio_drives.checkpointer.CHECKPOINT_PAGES", 100)
    monkeypatch.setattr("liteio_drives.checkpointer.CHECKPOINT_REST_PAGES", 40)
    monkeypatch.setattr("liteio_drives.checkpointer.WAL_RESTART_PAGES", 800)
    return Checkpoints(monkeypatch)


async def test_the_log_is_copied_beside_the_writers_and_starts_over(tmp_path: Path, checkpoints: Checkpoints) -> None:
    format_drive(tmp_path)
    clock = ManualClock()
    drive = await open_drive(tmp_path, clock=clock)
    bench = bench_of(drive)
    for number in range(1000):
        await bench.put(b"%04d" % number, 1, tags="x" * 200)
        clock.advance(0.1)
    assert (tmp_path / LOG).stat().st_size < 600 * PAGE_BYTES
    await drive.close()
    assert sum(checkpoints.pages("data")) > 2000
    assert sum(checkpoints.pages("commit")) < sum(checkpoints.pages("data")) / 2
    assert checkpoints.insisting() == 0
    assert apsw.Connection(str(tmp_path / INDEX)).execute("PRAGMA integrity_check").get == "ok"


async def test_without_a_copying_beside_them_writers_bound_the_log_themselves(
    tmp_path: Path, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    format_drive(tmp_path)
    drive = await open_drive(tmp_path, clock=ManualClock())
    monkeypatch.setattr(drive._io.threads, "post", lambda work: False)
    bench = bench_of(drive)
    for number in range(1000):
        await bench.put(b"%04d" % number, 1, tags="x" * 200)
    assert (tmp_path / LOG).stat().st_size < 900 * PAGE_BYTES
    assert checkpoints.insisting() > 1
    assert not checkpoints.pages("data")
    await drive.close()


async def test_a_reader_that_stays_does_not_stop_writers(tmp_path: Path, checkpoints: Checkpoints) -> None:
    format_drive(tmp_path)
    clock = ManualClock()
    drive = await open_drive(tmp_path, clock=clock)
    bench = bench_of(drive)
    await bench.put(b"first", 1)
    reader = apsw.Connection(str(tmp_path / INDEX))
    reader.execute("BEGIN; SELECT * FROM meta")  # and never ends
    for number in range(400):
        await bench.put(b"%04d" % number, 1, tags="x" * 200)
        await asyncio.sleep(0)
    clock.advance(31)
    await bench.put(b"last", 1)
    await drive.close()  # a commit is answered before its checkpoint
    reader.close()
    assert checkpoints.insisting() == 2, "once, and again after half a minute"
    assert 1 <= len(checkpoints.pages("data")) <= 4, "not again and again while it gets nowhere"


async def test_a_copying_that_fails_is_told_and_tried_again(
    tmp_path: Path, checkpoints: Checkpoints, caplog: pytest.LogCaptureFixture
) -> None:
    format_drive(tmp_path)
    clock = ManualClock()
    drive = await open_drive(tmp_path, clock=clock)
    bench = bench_of(drive)
    checkpoints.failure = apsw.IOError("the disk says no")
    number = 0
    while "the disk says no" not in caplog.text:
        await put_if_it_takes_it(bench, b"%04d" % number)
        number += 1
    assert len(checkpoints.pages("data")) == 1
    checkpoints.failure = None
    clock.advance(31)
    while len(checkpoints.pages("data")) < 2:
        await put_if_it_takes_it(bench, b"%04d" % number)
        number += 1
    assert (await drive.status(deadline=bench.soon)).state is DriveState.ONLINE
    await drive.close()


async def put_if_it_takes_it(bench: Bench, key: bytes) -> None:
    try:
        await bench.put(key, 1, tags="x" * 200)
    except DriveOffline:
        await asyncio.sleep(0)
