"""A drive's look at its own files: what is gone, and what is not as long as its row says, is found without reading."""

import os
from pathlib import Path

import pytest

from liteio_contracts.storage import KeyName
from liteio_testkit.contract_bench import Bench

from .drive_bench import bench_of, format_drive, open_drive


async def missing(bench: Bench, limit: int = 1000) -> list[KeyName]:
    found: list[KeyName] = []
    after = None
    while True:
        page = await bench.drive.missing_shards(after, limit, deadline=bench.soon)
        found += page.names
        after = page.reached
        if after is None:
            return found


@pytest.mark.parametrize("limit", [1, 3, 1000])
async def test_files_that_are_gone_or_of_another_length_are_found(tmp_path: Path, limit: int) -> None:
    format_drive(tmp_path)
    drive = await open_drive(tmp_path)
    bench = bench_of(drive)
    try:
        records = [await bench.put_staged(b"k%02d" % number, 5) for number in range(12)]
        await bench.put_staged(b"k05", 6, "0" * 31 + "a")
        assert await missing(bench, limit) == []
        paths = [next((tmp_path / "data").glob(f"*/{record.parts[0].data_id}.1")) for record in records]
        paths[1].unlink()
        os.truncate(paths[4], 0)
        os.truncate(paths[5], paths[5].stat().st_size - 4096)
        with paths[9].open("ab") as file:
            file.write(b"more")
        assert await missing(bench, limit) == [bench.name(b"k%02d" % number) for number in (1, 4, 5, 9)]
    finally:
        await drive.close()
