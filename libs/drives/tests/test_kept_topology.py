"""The topology in a drive's index: what a drive formatted before it makes of it, and that it is on the disk."""

from pathlib import Path

import apsw
import pytest

from liteio_contracts.storage import StoredTopology
from liteio_contracts.storage_errors import StaleTopology

from .drive_bench import bench_of, format_drive, open_drive

INDEX = ".liteio.sys/index.db"
SECOND = StoredTopology(2, b"second", is_active=True)


async def test_an_index_of_the_second_version_is_brought_up_and_takes_a_topology(tmp_path: Path) -> None:
    format_drive(tmp_path)
    drive = await open_drive(tmp_path)
    await bench_of(drive).put_settled(b"old", 5)
    await drive.close()
    db = apsw.Connection(str(tmp_path / INDEX))
    db.execute(
        "ALTER TABLE meta DROP COLUMN topology_number; ALTER TABLE meta DROP COLUMN topology_active;"
        " ALTER TABLE meta DROP COLUMN topology; UPDATE meta SET schema_version = 2"
    )
    db.close()
    drive = await open_drive(tmp_path)
    bench = bench_of(drive)
    assert await drive.read_topology(deadline=bench.soon) == StoredTopology()
    await bench.commit(bench.record(b"new", 6), topology_number=1)
    await drive.write_topology(SECOND, deadline=bench.soon)
    with pytest.raises(StaleTopology):
        await bench.commit(bench.record(b"newer", 7), topology_number=1)
    assert await bench.times(b"old") == {5: True}
    await drive.close()
    drive = await open_drive(tmp_path)
    assert await drive.read_topology(deadline=bench.soon) == SECOND
    await drive.close()
