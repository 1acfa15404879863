"""What things cost, counted and not timed: syncs, and steps of SQLite's machine."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from liteio_base.ids import HybridTime
from liteio_contracts.storage import KeyQuery, ListMode
from liteio_drives.index import DriveIndex
from liteio_drives.local_drive import LocalDrive
from liteio_drives.record_view import Register
from liteio_formats.record import Kind
from liteio_testkit.contract_bench import Bench
from liteio_testkit.manual_clock import ManualClock

from .drive_bench import bench_of, format_drive, list_steps, open_drive, put_many, steps_of
from .faulty_files import FaultyFiles, FaultyVFS


async def test_concurrent_commits_share_syncs(tmp_path: Path) -> None:
    format_drive(tmp_path / "d")
    files, vfs = FaultyFiles(), FaultyVFS("counting")
    drive = await open_drive(tmp_path / "d", vfs=vfs.name, files=files, clock=ManualClock(), confirm_delay_seconds=0.01)
    bench = bench_of(drive)

    def syncs() -> int:
        return vfs.syncs + files.calls.get("sync_data", 0)

    await bench.put(b"first", 1)
    before = syncs()
    records = await asyncio.gather(*(bench.put(b"%04d" % number, 1) for number in range(200)))
    assert 0 < syncs() - before <= 10
    before = syncs()
    await asyncio.gather(*(bench.confirm(record) for record in records))
    assert syncs() == before, "a confirm is not synced"
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
