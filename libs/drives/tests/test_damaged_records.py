"""Records whose bytes rotted in an index that SQLite finds in order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import apsw
import pytest

from liteio_contracts.storage import CasScope
from liteio_contracts.storage_errors import Superseded
from liteio_drives.local_drive import LocalDrive
from liteio_formats.record import RecordError, decode_record
from liteio_testkit.contract_bench import Bench

from .drive_bench import bench_of, format_drive, open_drive

INDEX = Path(".liteio.sys", "index.db")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    format_drive(tmp_path / "d")
    return tmp_path / "d"


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[tuple[LocalDrive, Bench]]:
    drive = await open_drive(path)
    yield drive, bench_of(drive)
    await drive.close()


def rot(path: Path, table: str = "records", at: int = -1) -> None:
    """Flip a bit in every record of the table."""
    db = apsw.Connection(str(path / INDEX))
    for rowid, encoded in db.execute(f"SELECT time, encoded FROM {table}").fetchall():
        assert isinstance(encoded, bytes)
        wrong = bytearray(encoded)
        wrong[at] ^= 1
        db.execute(f"UPDATE {table} SET encoded = ? WHERE time = ?", (bytes(wrong), rowid))
    db.close()


async def is_readable(bench: Bench, key: bytes) -> bool:
    try:
        for entry in (await bench.register(key)).entries:
            decode_record(entry.encoded)
    except RecordError:
        return False
    return True


@pytest.mark.parametrize("at", [0, 5, 20, 21, -1], ids=["magic", "digest", "digest end", "body", "body end"])
async def test_a_record_that_rotted_is_mended_when_it_is_committed_again(path: Path, at: int) -> None:
    async with opened(path) as (_, bench):
        record = await bench.put_staged(b"k", 5)
        await bench.confirm(record)
    rot(path, at=at)
    async with opened(path) as (_, bench):
        assert not await is_readable(bench, b"k")
        await bench.commit(record)
        assert await is_readable(bench, b"k")
        assert await bench.times(b"k") == {5: True}


async def test_a_tombstone_that_rotted_is_mended_too(path: Path) -> None:
    async with opened(path) as (_, bench):
        stone = await bench.bury(await bench.put_settled(b"k", 5), 6)
        await bench.confirm(stone)
    rot(path, "tombstones")
    async with opened(path) as (_, bench):
        assert not await is_readable(bench, b"k")
        await bench.commit(stone)
        assert await is_readable(bench, b"k")


async def test_another_record_of_the_same_time_is_no_repair(path: Path) -> None:
    async with opened(path) as (_, bench):
        await bench.put(b"k", 5)
        with pytest.raises(Superseded):
            await bench.commit(bench.record(b"k", 5, size_bytes=7), scope=CasScope.VERSION)


async def test_a_record_that_rotted_is_not_in_the_way_of_the_one_that_replaces_it(path: Path) -> None:
    async with opened(path) as (_, bench):
        await bench.confirm(await bench.put_staged(b"k", 5))
    rot(path)
    async with opened(path) as (_, bench):
        await bench.confirm(await bench.put_staged(b"k", 6))
        assert await bench.times(b"k") == {6: True}
        assert await is_readable(bench, b"k")
