"""Rebuilding a drive: progress that adds up, going on where it stopped, and never on less than it began with."""

import asyncio

import pytest

from liteio_base.ids import NULL_VERSION
from liteio_contracts.storage import KeyName
from liteio_formats.record import Space
from liteio_objects import rebuilding, walking
from liteio_objects.drive_set import DriveSet
from liteio_objects.rebuilding import Rebuild, RebuildProgress
from liteio_testkit.drive_census import take_census
from liteio_testkit.store_bench import StoreBench

COUNT = 60


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walking, "WALK_PAGE", 10)
    monkeypatch.setattr(rebuilding, "KEYS_AT_ONCE", 5)
    monkeypatch.setattr(rebuilding, "SAVE_EVERY_SECONDS", 0.0)


async def emptied_bench() -> tuple[StoreBench, DriveSet]:
    bench = StoreBench.of()
    await bench.make_bucket()
    for number in range(COUNT):
        await bench.put(f"k{number:02d}", bytes([number]) * 100)
    await bench.settle()
    bench.drives[1].empty()
    [drive_set] = bench.store.engine.store_map.sets
    return bench, drive_set


def rebuild_of(bench: StoreBench, drive_set: DriveSet, slot: int = 1) -> Rebuild:
    return Rebuild(bench.store.engine, drive_set, slot, bench.store.healer.pacer)


async def stop_midway(rebuild: Rebuild, done: int) -> None:
    """The process ends."""
    running = asyncio.ensure_future(rebuild.run())
    while rebuild.progress.versions_done < done:  # noqa: ASYNC110  # at that very key
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def assert_whole(bench: StoreBench) -> None:
    assert bench.drives[1].is_authoritative
    bucket = await bench.store.bucket("photos", deadline=bench.deadline)
    for number in range(COUNT):
        name = KeyName(Space.OBJECT, bucket.bucket_id, b"k%02d" % number)
        census = await take_census(bench.drives, name, NULL_VERSION, deadline=bench.deadline)
        assert census.is_whole, str(census)


async def test_progress_adds_up() -> None:
    bench, drive_set = await emptied_bench()
    rebuild = rebuild_of(bench, drive_set)
    assert await rebuild.run()
    progress = rebuild.progress
    assert (progress.versions_total, progress.bytes_total) == (COUNT, COUNT * 100)
    # Where it was is a record of the store, too, and is met on the way.
    assert COUNT <= progress.versions_done <= COUNT + 1
    assert progress.bytes_done == COUNT * 100
    assert progress.rate_versions > 0
    await assert_whole(bench)


def test_the_time_that_is_left_is_that_of_whatever_takes_longer() -> None:
    progress = RebuildProgress(0, 1, "d", 50, 100, 10, 1000, rate_versions=10.0, rate_bytes=10.0)  # type: ignore[arg-type]  # any id
    assert progress.eta_seconds == 99.0
    assert RebuildProgress(0, 1, "d").eta_seconds is None  # type: ignore[arg-type]  # any id


async def test_it_goes_on_where_it_stopped() -> None:
    bench, drive_set = await emptied_bench()
    await stop_midway(rebuild_of(bench, drive_set), COUNT // 2)
    again = rebuild_of(bench, drive_set)
    calls = bench.drives[1].__class__.key_versions
    asked: list[bytes] = []

    async def key_versions(name: KeyName, *, deadline: object) -> object:
        asked.append(name.key)
        return await calls(bench.drives[1], name, deadline=deadline)  # type: ignore[arg-type]  # passed on as it came

    bench.drives[1].key_versions = key_versions  # type: ignore[method-assign, assignment]  # to count
    assert await again.run()
    assert again.progress.is_resumed
    assert again.progress.versions_done >= COUNT
    assert b"k00" not in asked
    assert b"k59" in asked
    await assert_whole(bench)


async def test_a_drive_that_was_emptied_again_is_rebuilt_from_the_beginning() -> None:
    bench, drive_set = await emptied_bench()
    await stop_midway(rebuild_of(bench, drive_set), COUNT // 2)
    bench.drives[1].empty()
    again = rebuild_of(bench, drive_set)
    assert await again.run()
    assert not again.progress.is_resumed
    await assert_whole(bench)


async def test_what_was_seen_before_the_stop_counts_only_while_the_others_stayed_whole() -> None:
    bench, drive_set = await emptied_bench()
    await stop_midway(rebuild_of(bench, drive_set), COUNT // 2)
    bench.drives[3].set_not_authoritative()  # It may have told of too little.
    assert not await rebuild_of(bench, drive_set).run()
    assert not bench.drives[1].is_authoritative
    again = rebuild_of(bench, drive_set)
    assert await again.run()
    assert not again.progress.is_resumed
    await assert_whole(bench)
