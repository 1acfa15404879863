"""The confirm of a tombstone does the same whether its drive remembers what the tombstone hid or has to look for it.

`here` and `there` are two processes' views of one drive: only the one that took the tombstone remembers.
"""

import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

import apsw
import pytest

from liteio_base.ids import NULL_VERSION
from liteio_drives.drive_format import system_folder
from liteio_drives.index import INDEX_NAME
from liteio_drives.index_changes import Changes
from liteio_drives.local_drive import LocalDrive
from liteio_formats.record import Record
from liteio_testkit.contract_bench import Bench

from .drive_bench import bench_of, format_drive, open_drive

KEY = b"key"
OLD, STONE, NEWER = 5, 7, 9
VERSION = f"{OLD:016x}{'ab' * 8}"


class Views(NamedTuple):
    here: Bench
    there: Bench


@pytest.fixture
async def drives(tmp_path: Path) -> AsyncIterator[tuple[Views, Views]]:
    """Two drives, on which the same is done."""
    made, opened = [], []
    for name in ("remembered", "searched"):
        format_drive(tmp_path / name)
        opened += [await open_drive(tmp_path / name) for _ in Views._fields]
        made.append(Views(*map(bench_of, opened[-2:])))
    yield made[0], made[1]
    for drive in opened:
        await drive.close()


async def _nothing(views: Views, held: Record, stone: Record) -> None: ...


async def _rolled_back(views: Views, held: Record, stone: Record) -> None:
    await views.there.roll_back(stone)


async def _rolled_back_here(views: Views, held: Record, stone: Record) -> None:
    await views.here.roll_back(stone)


async def _confirmed(views: Views, held: Record, stone: Record) -> None:
    await views.there.confirm(stone)


async def _confirmed_and_its_payload_number_given_again(views: Views, held: Record, stone: Record) -> None:
    await views.there.confirm(stone)
    await views.there.commit(views.there.record(b"other", 3), payload=b"other")


async def _written_again(views: Views, held: Record, stone: Record) -> None:
    await views.there.commit(views.there.record(KEY, NEWER, held.version_id), payload=b"new")


async def _written_again_here(views: Views, held: Record, stone: Record) -> None:
    await views.here.commit(views.here.record(KEY, NEWER, held.version_id), payload=b"new")


async def _repaired(views: Views, held: Record, stone: Record) -> None:
    await views.there.commit(held, payload=b"repaired")


async def _buried_again(views: Views, held: Record, stone: Record) -> None:
    await views.there.bury(held, NEWER)


async def _fenced_here(views: Views, held: Record, stone: Record) -> None:
    await views.here.fence(views.here.record(KEY, 6, held.version_id), base=6)


MEANWHILE = (
    *(_nothing, _rolled_back, _rolled_back_here, _confirmed, _confirmed_and_its_payload_number_given_again),
    *(_written_again, _written_again_here, _repaired, _buried_again, _fenced_here),
)
Meanwhile = Callable[[Views, Record, Record], Awaitable[None]]


@pytest.mark.parametrize("meanwhile", MEANWHILE)
@pytest.mark.parametrize("version", [NULL_VERSION, VERSION])
@pytest.mark.parametrize("is_settled", [True, False])
async def test_a_remembered_removal_ends_as_one_that_is_searched(
    drives: tuple[Views, Views], version: str, is_settled: bool, meanwhile: Meanwhile
) -> None:
    ends = []
    for views, confirming in zip(drives, ("here", "there"), strict=True):
        held = views.here.record(KEY, OLD, version, created=OLD, size_bytes=3)
        await views.here.commit(held, payload=b"old")
        if is_settled:
            await views.here.confirm(held)
        stone = await views.here.bury(held, STONE)
        await meanwhile(views, held, stone)
        await getattr(views, confirming).confirm(stone)
        ends.append(await _end_of(views.there, version))
    assert ends[0] == ends[1]


async def test_it_is_not_searched(drives: tuple[Views, Views], monkeypatch: pytest.MonkeyPatch) -> None:
    """What the others are compared with does take another way."""
    here = drives[0].here
    held = here.record(KEY, OLD)
    await here.commit(held, payload=b"old")
    await here.confirm(held)
    stone = await here.bury(held, STONE)
    searched: list[object] = []
    monkeypatch.setattr(Changes, "_trim", lambda *found: searched.append(found))
    await here.confirm(stone)
    assert not searched
    assert (await here.times(KEY, NULL_VERSION)) == {STONE: True}


async def _end_of(bench: Bench, version: str) -> object:
    """All that can be seen of the drive, and how many payloads and marks it keeps."""
    seen = [await bench.head(key, wants_payload=True) for key in (KEY, b"other")]
    register = await bench.register(KEY, version)
    status = await bench.drive.status(deadline=bench.soon)
    entries = [(head.head_time, head.entries, head.fences) for head in (*seen, register)]
    assert isinstance(bench.drive, LocalDrive)
    index = apsw.Connection(os.path.join(system_folder(bench.drive.path), INDEX_NAME), apsw.SQLITE_OPEN_READONLY)
    kept = [index.execute(f"SELECT count(*) FROM {table}").get for table in ("payloads", "records", "tombstones")]
    index.close()
    return entries, kept, status.unsettled, status.versions, status.stored_bytes
