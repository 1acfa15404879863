"""What things cost, counted and not timed: syncs, and steps of SQLite's machine."""

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from liteio_base.ids import HybridTime
from liteio_contracts.storage import KeyQuery, ListMode, ListQuery
from liteio_drives.index import DriveIndex
from liteio_drives.index_rows import Register
from liteio_drives.local_drive import LocalDrive
from liteio_formats.record import Kind, Space
from liteio_testkit.contract_bench import Bench
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.storage_contract import DriveUnderTest

from .drive_bench import SMALL, format_drive, open_drive
from .faulty_files import FaultyVFS


@pytest.fixture
async def drive(tmp_path: Path) -> AsyncIterator[LocalDrive]:
    format_drive(tmp_path)
    opened = await open_drive(tmp_path, clock=ManualClock())
    yield opened
    await opened.close()


@pytest.fixture
def bench(drive: LocalDrive) -> Bench:
    return bench_of(drive)


def bench_of(drive: LocalDrive) -> Bench:
    async def restart() -> LocalDrive:
        raise AssertionError("not in these tests")

    return Bench(DriveUnderTest(drive, ManualClock(), restart, 0, SMALL.tombstone_keep_seconds))


async def steps_of(drive: LocalDrive, bench: Bench, work: Callable[[DriveIndex], object]) -> int:
    """Steps of SQLite's virtual machine: what a call costs, on any machine the same."""

    def counted(index: DriveIndex) -> int:
        db, steps = index._db, 0

        def count() -> bool:
            nonlocal steps
            steps += 1
            return False

        db.set_progress_handler(count, 1)
        try:
            work(index)
        finally:
            db.set_progress_handler(None)
        return steps

    return await drive._reader.call(counted, bench.soon)


async def list_steps(drive: LocalDrive, bench: Bench, **fields: object) -> int:
    query = ListQuery(space=Space.OBJECT, bucket_id=bench.bucket_id, **fields)  # type: ignore[arg-type]  # its fields
    return await steps_of(drive, bench, lambda index: index.pages.list_page(query, index.meta))


async def put_many(bench: Bench, keys: list[bytes], time: int, **more: object) -> None:
    records = await asyncio.gather(*(bench.put(key, time, **more) for key in keys))  # type: ignore[arg-type]
    await bench.confirm(*records)


async def test_concurrent_commits_share_syncs(tmp_path: Path) -> None:
    format_drive(tmp_path / "d")
    vfs = FaultyVFS("counting")
    drive = await open_drive(tmp_path / "d", vfs=vfs.name, clock=ManualClock(), confirm_delay_seconds=0.01)
    bench = bench_of(drive)
    await bench.put(b"first", 1)
    before = vfs.syncs
    records = await asyncio.gather(*(bench.put(b"%04d" % number, 1) for number in range(200)))
    assert vfs.syncs - before <= 10
    before = vfs.syncs
    await asyncio.gather(*(bench.confirm(record) for record in records))
    assert vfs.syncs == before, "a confirm is not synced"
    await drive.close()
    vfs.unregister()


async def test_a_listing_does_not_pay_for_the_dead(drive: LocalDrive, bench: Bench) -> None:
    await put_many(bench, [b"a", b"z"], 1)
    cheap = await list_steps(drive, bench)
    dead = [b"m%05d" % number for number in range(1500)]
    await put_many(bench, dead[:700], 5, kind=Kind.DELETE_MARKER)
    stones = await asyncio.gather(*(bench.bury(bench.record(key, 1), 2) for key in dead[700:]))
    await bench.confirm(*stones)
    assert await list_steps(drive, bench) <= cheap + 50
    assert await list_steps(drive, bench, delimiter=b"/") <= cheap + 100
    assert await list_steps(drive, bench, limit=1, after=b"a") <= cheap + 50


async def test_a_common_prefix_costs_one_seek_however_much_is_under_it(drive: LocalDrive, bench: Bench) -> None:
    await put_many(bench, [b"a/1", b"b/1"], 1)
    cheap = await list_steps(drive, bench, delimiter=b"/")
    await put_many(bench, [b"a/%05d" % number for number in range(2, 1500)], 1)
    for mode in ListMode:
        assert await list_steps(drive, bench, delimiter=b"/", mode=mode) <= cheap + 100


async def test_a_key_with_many_versions_is_read_by_seeks(drive: LocalDrive, bench: Bench) -> None:
    await put_many(bench, [b"k"], 1)
    for start in range(2, 1000, 200):
        made = await asyncio.gather(*(bench.put(b"k", at, f"{at:016x}{at:016x}") for at in range(start, start + 200)))
        await bench.confirm(*made)

    def reads(query: KeyQuery) -> Callable[[DriveIndex], object]:
        return lambda index: index.keys.read_key(query, index.meta)

    name = bench.name(b"k")
    old, null = f"{5:016x}{5:016x}", ""
    assert await steps_of(drive, bench, reads(KeyQuery(name))) < 120
    assert await steps_of(drive, bench, lambda index: index.glance([KeyQuery(name)])) < 200
    register = Register(name.bucket_id, name.space, name.key, bytes.fromhex(old))
    assert await steps_of(drive, bench, lambda index: index.changes.rows.outlook(register)) < 400
    assert await steps_of(drive, bench, reads(KeyQuery(name, (old,)))) < 200  # type: ignore[arg-type]  # version ids
    assert await steps_of(drive, bench, reads(KeyQuery(name, (null,)))) < 200  # type: ignore[arg-type]
    assert await steps_of(drive, bench, reads(KeyQuery(name, below=HybridTime(900)))) > 200, "the counter counts"
