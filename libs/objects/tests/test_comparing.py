"""Comparing the drives of a set by digests: exactly the keys that differ are found, and little is asked for it."""

import random
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_base.ids import NULL_VERSION, BucketId, Generation, HybridTime, VersionId
from liteio_contracts.object_errors import ReadQuorumLost
from liteio_contracts.storage import CasScope, Commit, KeyName, RowCommit, VersionRef
from liteio_contracts.storage_errors import DriveOffline
from liteio_erasure.code import CodeParams
from liteio_formats.record import Kind, Record, Space, encode_record
from liteio_objects import comparing
from liteio_objects.comparing import RANGE_ROWS, Comparison
from liteio_objects.drive_set import DriveSet
from liteio_objects.scanning import Scan
from liteio_testkit.drive_census import take_census
from liteio_testkit.intercepted_drive import Call, InterceptedDrive
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.store_bench import StoreBench

Answer = TypeVar("Answer")
BUCKET = BucketId("b" * 32)
CLOCK = SystemClock()


def soon() -> Deadline:
    return Deadline.after(60, CLOCK)


class CountedDrive(InterceptedDrive):
    """Counts calls, and fails some."""

    def __init__(self, inner: MemoryDrive) -> None:
        super().__init__(inner)
        self.calls: Counter[str] = Counter()
        self.fails: Callable[[str, int], bool] = lambda operation, count: False

    async def intercept(self, operation: str, call: Call[Answer], deadline: Deadline) -> Answer:
        self.calls[operation] += 1
        if self.fails(operation, self.calls[operation]):
            raise DriveOffline()
        answer: Awaitable[Answer] = call(deadline)
        return await answer


def drive_set_of(width: int = 4) -> tuple[DriveSet, list[MemoryDrive], list[CountedDrive]]:
    drives = [MemoryDrive(slot, CLOCK, SeededRandomness(f"drive {slot}")) for slot in range(width)]
    counted = [CountedDrive(drive) for drive in drives]
    return DriveSet(tuple(counted), CodeParams.for_set(width, None), 0), drives, counted


def record(key: bytes, time: int, space: Space = Space.OBJECT, kind: Kind = Kind.VALUE, version: str = "") -> Record:
    return Record(
        space=space,
        bucket_id=BUCKET,
        key=key,
        version_id=VersionId(version),
        kind=kind,
        created=HybridTime(time),
        time=HybridTime(time),
        base=HybridTime(0),
        generations=(Generation(""),) * 4,
    )


async def give(drive: MemoryDrive, *records: Record, settles: bool = True) -> None:
    rows = tuple(RowCommit(encode_record(one), CasScope.VERSION, one.time) for one in records)
    await drive.commit(Commit(rows), deadline=soon())
    if settles:
        refs = [VersionRef(KeyName(one.space, BUCKET, one.key), one.version_id, one.time) for one in records]
        await drive.confirm(refs, deadline=soon())


def key(number: int) -> bytes:
    return b"%06d" % number


async def differing(drive_set: DriveSet, tombstones_after: int = 0) -> tuple[list[KeyName], Comparison]:
    comparison = Comparison(drive_set, soon, HybridTime(tombstones_after))
    names: list[KeyName] = []
    async for batch in comparison.differing((Space.OBJECT, Space.PART)):
        names += batch
    return names, comparison


@pytest.mark.parametrize("seed", range(6))
async def test_exactly_the_keys_that_differ_are_found(seed: int) -> None:
    chance = random.Random(seed)
    drive_set, drives, _ = drive_set_of()
    count = chance.choice((0, 10, 500, 5000))
    spoiled: set[bytes] = set()
    for number in range(count):
        one = record(key(number), 5)
        lacking = chance.randrange(4) if chance.random() < 0.01 else None
        if lacking is not None:
            spoiled.add(one.key)
        for drive in drives:
            if drive.slot != lacking:
                await give(drive, one)
            elif chance.random() < 0.5:  # Instead of lacking it, another record or an unsettled one.
                await give(drive, *([one] if chance.random() < 0.5 else [record(one.key, 4)]), settles=False)
    part = record(b"a part", 5, Space.PART)
    await give(drives[2], part)
    found, comparison = await differing(drive_set)
    expected = [KeyName(Space.OBJECT, BUCKET, each) for each in sorted(spoiled)]
    assert found == [*expected, KeyName(Space.PART, BUCKET, b"a part")]
    assert comparison.seen.keys_differing == len(found)
    assert comparison.seen.slots == {0, 1, 2, 3}


async def test_drives_that_are_alike_are_asked_for_little() -> None:
    drive_set, drives, counted = drive_set_of()
    for number in range(3 * RANGE_ROWS):
        for drive in drives:
            await give(drive, record(key(number), 5))
    found, comparison = await differing(drive_set)
    assert found == []
    assert comparison.seen.rows == 3 * RANGE_ROWS
    assert all(drive.calls.keys() == {"range_digests"} for drive in counted)
    assert sum(drive.calls["range_digests"] for drive in counted) <= 8  # once a drive and space
    drives[3].empty()
    await drives[3].set_authoritative(drives[3].generation, deadline=soon())
    for number in range(3 * RANGE_ROWS):
        if number != 5777:
            await give(drives[3], record(key(number), 5))
    assert await differing_keys(drive_set) == [key(5777)]
    assert sum(drive.calls["range_digests"] for drive in counted) <= 8 + 8 + 12  # a small range, and its keys


async def differing_keys(drive_set: DriveSet) -> list[bytes]:
    return [name.key for name in (await differing(drive_set))[0]]


async def test_a_drive_that_lacks_nearly_everything_is_found_out_in_time() -> None:
    drive_set, drives, _ = drive_set_of()
    for number in range(2 * RANGE_ROWS):
        for drive in drives[1:]:
            await give(drive, record(key(number), 5))
    await give(drives[0], record(key(1), 5))
    assert len(await differing_keys(drive_set)) == 2 * RANGE_ROWS - 1


async def test_a_key_with_more_versions_than_a_range_has_rows_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(comparing, "RANGE_ROWS", 64)
    monkeypatch.setattr(comparing, "SMALL_ROWS", 4)
    drive_set, drives, _ = drive_set_of()
    for number in range(1, 200):
        for drive in drives:
            if (drive.slot, number) != (2, 100):
                await give(drive, record(b"many", number, version=f"{number:016x}{0:016x}"))
    assert await differing_keys(drive_set) == [b"many"]


async def test_a_drive_that_is_not_whole_takes_no_part_and_one_that_fails_is_done_without() -> None:
    drive_set, drives, counted = drive_set_of()
    for number in range(10):
        for drive in drives[:3]:
            await give(drive, record(key(number), 5))
    drives[3].set_not_authoritative()
    assert await differing_keys(drive_set) == []
    await drives[3].set_authoritative(drives[3].generation, deadline=soon())
    assert len(await differing_keys(drive_set)) == 10
    counted[0].fails = lambda operation, _: operation == "range_digests"
    assert len(await differing_keys(drive_set)) == 10
    counted[1].fails = counted[0].fails
    with pytest.raises(ReadQuorumLost):
        await differing(drive_set)


async def test_settled_tombstones_that_drives_forget_in_their_own_times_do_not_differ() -> None:
    drive_set, drives, _ = drive_set_of()
    for drive in drives[:2]:
        await give(drive, record(b"old", 5, kind=Kind.TOMBSTONE), record(b"young", 50, kind=Kind.TOMBSTONE))
    names, _ = await differing(drive_set, tombstones_after=10)
    assert [name.key for name in names] == [b"young"]


async def wounded_bench() -> tuple[StoreBench, DriveSet]:
    """A write that one drive missed, of which nobody was told."""
    bench = StoreBench.of()
    await bench.make_bucket()
    for number in range(50):
        await bench.put(f"k{number}", b"x" * 100)
    await bench.settle()
    bench.drives[2].set_offline()
    await bench.put("missed", b"y" * 200_000)
    await bench.settle()
    bench.drives[2].set_offline(False)
    bench.store.repairs = type(bench.store.repairs)(bench.clock)  # What was reported is dropped.
    [drive_set] = bench.store.engine.store_map.sets
    return bench, drive_set


async def test_a_scan_heals_what_nobody_reported_and_nothing_else() -> None:
    bench, drive_set = await wounded_bench()
    assert await bench.store.healer.scan(drive_set) == []
    scan = bench.store.healer.scans[0]
    assert (scan.is_done, scan.compared.keys_differing, scan.healed) == (True, 1, 1)
    bucket = await bench.store.bucket("photos", deadline=bench.deadline)
    name = KeyName(Space.OBJECT, bucket.bucket_id, b"missed")
    census = await take_census(bench.drives, name, NULL_VERSION, deadline=bench.deadline)
    assert census.is_whole, str(census)


async def test_what_was_only_being_written_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    bench, drive_set = await wounded_bench()
    healer = bench.store.healer
    scan = Scan(bench.store.engine, healer, drive_set, healer.pacer)
    agreed, looked = scan._agreed, []

    async def settled_meanwhile(name: KeyName) -> frozenset[int]:
        looked.append(name.key)
        await healer.heal_key(drive_set, name)
        return await agreed(name)

    monkeypatch.setattr(scan, "_agreed", settled_meanwhile)
    await scan.compare()
    assert b"missed" in looked
    assert scan.healed == 0


async def test_a_scan_heals_files_that_are_gone_though_all_indexes_agree() -> None:
    bench = StoreBench.of()
    await bench.make_bucket()
    for number in range(6):
        await bench.put(f"k{number}", bytes([number]) * 200_000)
    await bench.settle()
    lost = bench.drives[1].shard_files[2]
    bench.drives[1].lose_shard(lost)
    bench.drives[3].tear_shard(bench.drives[3].shard_files[4], 0)
    [drive_set] = bench.store.engine.store_map.sets
    assert await bench.store.healer.scan(drive_set) == []
    scan = bench.store.healer.scans[0]
    assert (scan.compared.keys_differing, scan.files, scan.files_missing, scan.healed) == (0, 24, 2, 2)
    assert lost in bench.drives[1].shard_files
    bucket = await bench.store.bucket("photos", deadline=bench.deadline)
    for number in range(6):
        name = KeyName(Space.OBJECT, bucket.bucket_id, b"k%d" % number)
        census = await take_census(bench.drives, name, NULL_VERSION, deadline=bench.deadline)
        assert census.is_whole, str(census)
