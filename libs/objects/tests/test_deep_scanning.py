"""The deep scan: rot that nobody reads is found and healed, at a set rate, and it goes on where it stopped."""

import asyncio
import time

import pytest

from liteio_base.ids import NULL_VERSION
from liteio_contracts.storage import KeyName
from liteio_formats.record import Space
from liteio_objects import deep_scanning
from liteio_objects.deep_scanning import DeepScan
from liteio_testkit.drive_census import take_census
from liteio_testkit.store_bench import StoreBench

FAST, MONTH = 1e12, 30 * 86_400.0


async def filled_bench(count: int = 20) -> StoreBench:
    bench = StoreBench.of()
    await bench.make_bucket()
    for number in range(count):
        await bench.put(f"k{number:02d}", bytes([number]) * 300_000)
    await bench.settle()
    return bench


def scan_of(bench: StoreBench, bytes_a_second: float = FAST) -> DeepScan:
    [drive_set] = bench.store.engine.store_map.sets
    return DeepScan(bench.store.engine, bench.store.healer, drive_set, bench.store.healer.pacer, bytes_a_second)


async def is_whole(bench: StoreBench, key: bytes) -> bool:
    bucket = await bench.store.bucket("photos", deadline=bench.deadline)
    name = KeyName(Space.OBJECT, bucket.bucket_id, key)
    return (await take_census(bench.drives, name, NULL_VERSION, deadline=bench.deadline)).is_whole


async def test_rot_is_found_and_healed() -> None:
    bench = await filled_bench()
    bucket = await bench.store.bucket("photos", deadline=bench.deadline)
    bench.drives[2].damage_shard(bench.drives[2].shard_files[3])
    bench.drives[0].lose_shard(bench.drives[0].shard_files[7])
    bench.drives[1].damage_key(KeyName(Space.OBJECT, bucket.bucket_id, b"k11"))
    scan = scan_of(bench)
    await scan.run(MONTH)
    assert (scan.is_done, scan.healed, scan.unhealed) == (True, 3, [])
    assert scan.bytes_read == 20 * 4 * 150_000
    assert all([await is_whole(bench, b"k%02d" % number) for number in range(20)])


async def test_what_can_not_be_healed_is_told_and_the_rest_is_still_looked_at() -> None:
    bench = await filled_bench()
    lost = bench.drives[0].shard_files[0]
    for drive in bench.drives[:3]:
        [ref] = [each for each in drive.shard_files if each.data_id == lost.data_id]
        drive.lose_shard(ref)
    scan = scan_of(bench)
    await scan.run(MONTH)
    [(name, result)] = scan.unhealed
    assert (scan.unhealed_count, result.waits_for_drives, scan.keys >= 20) == (1, False, True)
    assert result.problems
    assert not await is_whole(bench, name.key)


async def test_it_keeps_to_its_rate() -> None:
    bench = await filled_bench(5)
    cost = 7 * deep_scanning.KEY_BYTES + 5 * 150_000  # the keys, and the bucket
    scan, began = scan_of(bench, cost / 0.5), time.monotonic()
    await scan.run(MONTH)
    assert time.monotonic() - began > 0.35


async def test_it_goes_on_where_it_stopped_and_rests_when_it_is_done(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deep_scanning, "SAVE_EVERY_SECONDS", 0.0)
    bench = await filled_bench()
    first = scan_of(bench)
    running = asyncio.ensure_future(first.run(MONTH))
    while first.keys < 10:  # noqa: ASYNC110  # at that very key
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    second = scan_of(bench)
    bench.drives[0].lose_shard(bench.drives[0].shard_files[0])
    await second.run(MONTH)
    assert second.is_done
    assert 20 <= second.keys <= 24
    assert second.began_ns == first.began_ns
    third = scan_of(bench)
    await third.run(MONTH)
    assert (third.is_done, third.keys, third.began_ns) == (True, second.keys, first.began_ns)
    fourth = scan_of(bench)
    await fourth.run(0.0)
    assert fourth.began_ns > first.began_ns
    assert all([await is_whole(bench, b"k%02d" % number) for number in range(20)])
