"""Payloads share pages of the index, come back whole, and older indexes learn it."""

from pathlib import Path

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_base.ids import NULL_VERSION
from liteio_contracts.storage import ListQuery
from liteio_drives.index_payloads import HEAD_BYTES_MAX, payload_head_bytes, whole_payload
from liteio_formats.record import Record, Space
from liteio_testkit.contract_bench import Bench

from .drive_bench import bench_of, format_drive, open_drive

INDEX = Path(".liteio.sys", "index.db")
LIKE_SHARDS = (0, 1, 16, 512, 1024, 1366, 2031, 2032, 2048, 2049, 4057, 4058, 4096, 8192, 30_000)


@pytest.mark.parametrize(("size_bytes", "sharers"), [(4096, 1), (2048, 2), (1366, 3), (1024, 4), (512, 8)])
async def test_payloads_of_round_sizes_share_a_page(tmp_path: Path, size_bytes: int, sharers: int) -> None:
    format_drive(tmp_path)
    drive = await open_drive(tmp_path)
    bench = bench_of(drive)
    for number in range(10 * sharers):
        await store(bench, b"%03d" % number, bytes(size_bytes))
    await drive.close()
    db = apsw.Connection(str(tmp_path / INDEX))
    pages = "SELECT count(*) FROM dbstat WHERE name = 'payloads' AND pagetype = ?"
    assert db.execute(pages, ("leaf",)).get == 10
    assert db.execute(pages, ("overflow",)).get == 0


@pytest.mark.parametrize("size_bytes", LIKE_SHARDS)
async def test_a_payload_of_any_size_comes_back(tmp_path: Path, size_bytes: int) -> None:
    format_drive(tmp_path)
    drive = await open_drive(tmp_path)
    bench = bench_of(drive)
    first, repaired = b"\x01" * size_bytes, b"\x02" * size_bytes
    record = await store(bench, b"key", first)
    assert await payloads(bench, b"key") == [first] * 2
    await bench.commit(record, payload=repaired, payload_hash=b"g" * 32)
    assert await payloads(bench, b"key") == [repaired] * 2
    await drive.close()


@given(st.binary(max_size=9000))
def test_a_head_is_short_and_nothing_is_lost(payload: bytes) -> None:
    head_bytes = payload_head_bytes(len(payload))
    assert 0 <= head_bytes <= HEAD_BYTES_MAX
    assert whole_payload(payload[:head_bytes] or None, payload[head_bytes:]) == payload


async def test_an_index_of_the_first_version_is_brought_up_and_keeps_what_it_has(tmp_path: Path) -> None:
    format_drive(tmp_path)
    drive = await open_drive(tmp_path)
    await store(bench_of(drive), b"old", b"\x01" * 100)
    await drive.close()
    db = apsw.Connection(str(tmp_path / INDEX))
    db.execute(
        "ALTER TABLE records DROP COLUMN payload_head; ALTER TABLE buckets DROP COLUMN has_live_index;"
        " DROP TABLE live_fills; UPDATE records SET live = 1; ALTER TABLE meta DROP COLUMN topology_number;"
        " ALTER TABLE meta DROP COLUMN topology_active; ALTER TABLE meta DROP COLUMN topology;"
        " UPDATE meta SET schema_version = 1"
    )
    db.close()
    drive = await open_drive(tmp_path)
    bench = bench_of(drive)
    await store(bench, b"new", b"\x02" * 2048)
    assert await payloads(bench, b"old") == [b"\x01" * 100] * 2
    assert await payloads(bench, b"new") == [b"\x02" * 2048] * 2
    page = await drive.list_page(ListQuery(space=Space.OBJECT, bucket_id=bench.bucket_id), deadline=bench.soon)
    assert [item.key for item in page.items] == [b"new", b"old"]
    await drive.close()


async def store(bench: Bench, key: bytes, payload: bytes) -> Record:
    record = bench.record(key, 1)
    await bench.commit(record, payload=payload, payload_hash=b"h" * 32)
    await bench.confirm(record)
    return record


async def payloads(bench: Bench, key: bytes) -> list[bytes | None]:
    """What both ways of reading give: at a glance, and by version."""
    found = [await bench.head(key, wants_payload=True)]
    found.append(await bench.head(key, wants_payload=True, version_ids=(NULL_VERSION,)))
    return [entry.payload for answer in found for entry in answer.entries]
