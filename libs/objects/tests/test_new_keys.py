"""A key that is likely new is committed without reading it first: docs/protocols/commit.md, "A new key".

K+M = 2+2, W = 3. `bench_that_guesses` has put a key that was new, so the next write of the bucket goes unread.
"""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from liteio_base.clock import SystemClock
from liteio_base.ids import NO_TIME, BucketId, HybridTime
from liteio_contracts.object_errors import ReadQuorumLost, StoreFull, WriteQuorumLost
from liteio_contracts.object_layer import BucketChange, DeleteObject, ListVersions, PutObject, WriteCondition
from liteio_erasure.code import CodeParams
from liteio_formats.bodies import Versioning
from liteio_objects import committing
from liteio_objects import guesses as guesses_module
from liteio_objects.drive_set import DriveSet
from liteio_objects.guesses import Guesses
from liteio_objects.key_reading import KeyReader, WriteBasis
from liteio_objects.layer import Store
from liteio_objects.store_map import StoreMap
from liteio_testkit.fault_plan import Fault
from liteio_testkit.held_key import HeldRow
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.memory_locks import LyingLocks
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.store_bench import DEPLOYMENT, PlainBody, StoreBench
from liteio_testkit.two_gateways import SteppedClock, TwoGateways
from liteio_testkit.watched_drive import WatchedDrive

HOUR_NS = 3600 * 10**9


class NewKeysBench(TwoGateways):
    def fill(self) -> None:
        for drive in self.drives:
            drive.set_full()

    async def half_write(self, key: str, *slots: int) -> None:
        """A put of another gateway that reaches these drives only."""
        for drive in self.watched:
            if drive.slot not in slots:
                drive.script.add(Fault.TIMEOUT_BEFORE, "commit")
        with pytest.raises(WriteQuorumLost):
            await self.other.put(key, b"half")
        self.wall.wrong_by_ns += 10**6  # Times have a random step of up to a millisecond.

    async def delete(self, key: str, condition: WriteCondition | None = None) -> None:
        request = DeleteObject("photos", key, condition=condition or WriteCondition())
        await self.store.delete(request, deadline=self.deadline)

    async def rows(self, key: str, content: bytes | None = None) -> list[list[HeldRow]]:
        """What each drive holds of the key, of one content if one is named."""
        name = await self.name(key)
        etag = hashlib.md5(content).hexdigest() if content is not None else None
        return [[row for row in drive.held(name).rows if etag in (None, row.record.etag)] for drive in self.drives]

    async def check_ids(self, key: str) -> None:
        """A version's id tells when it was created: listings go on behind it by that."""
        for rows in await self.rows(key):
            assert [row.version_id[:16] for row in rows if row.version_id] == [
                f"{row.created:016x}" for row in rows if row.version_id
            ]

    async def check_one_version(self, key: str, content: bytes) -> None:
        """Settle the key; then every drive holds one row of the version, nothing else is left, and it is served."""
        await self.settle()
        name = await self.name(key)
        await self.other.store.healer.heal_key(self.drive_set, name)
        await self.other.settle()
        held = [drive.held(name) for drive in self.drives]
        assert [[(row.record.etag, row.is_settled) for row in each.records] for each in held] == [
            [(hashlib.md5(content).hexdigest(), True)]
        ] * len(held)
        assert len({row.digest for each in held for row in each.records}) == 1
        assert await self.get(key) == content


async def bench_that_guesses(versioning: Versioning = Versioning.NEVER) -> NewKeysBench:
    clock, randomness = SteppedClock(), SeededRandomness("new keys")
    drives = [MemoryDrive(slot, clock, randomness.fork(f"drive {slot}")) for slot in range(4)]
    watched = [WatchedDrive(drive, clock) for drive in drives]
    drive_set = DriveSet(tuple(watched), CodeParams.for_set(4, None), 0)
    store, other = (
        Store(StoreMap(DEPLOYMENT, [drive_set]), clock, randomness.fork(name), LyingLocks())
        for name in ("store", "other")
    )
    bench = NewKeysBench(store, drives, clock)
    bench.watched, bench.wall, bench.other = watched, clock, StoreBench(other, drives, clock)
    await bench.make_bucket()
    if versioning is not Versioning.NEVER:
        await store.change_bucket("photos", BucketChange(versioning=versioning), deadline=bench.deadline)
    await bench.put("first", b"1")
    await bench.settle()
    assert bench.counts("unread") == [0, 0, 0, 0]
    bench.count_anew()
    return bench


def when_read(monkeypatch: pytest.MonkeyPatch, act: Callable[[], object], **changes: HybridTime) -> None:
    """Let something happen when a writer has read, and change what it has learnt."""
    basis: Any = KeyReader.basis

    async def read_and_act(*arguments: Any, **options: Any) -> WriteBasis:
        found: WriteBasis = await basis(*arguments, **options)
        act()
        return msgspec.structs.replace(found, **changes)

    monkeypatch.setattr(KeyReader, "basis", read_and_act)


async def versions_of(bench: NewKeysBench, key: str) -> list[str]:
    page = await bench.store.list_versions(ListVersions("photos", prefix=key), deadline=bench.deadline)
    return [info.etag for info in page.versions]


# --- guesses that are right -------------------------------------------------------------------------------------------


async def test_the_second_new_key_of_a_bucket_asks_no_drive_to_read() -> None:
    bench = await bench_that_guesses()
    await bench.put("b", b"2")
    await bench.put("c", bytes(300_000))
    assert bench.counts("reads") == [0, 0, 0, 0]
    assert bench.counts("commits") == bench.counts("unread") == [2, 2, 2, 2]
    await bench.check_one_version("b", b"2")
    await bench.check_one_version("c", bytes(300_000))


async def test_another_bucket_is_read_first() -> None:
    bench = await bench_that_guesses()
    await bench.make_bucket("music")
    bench.count_anew()
    await bench.put("b", b"2", bucket="music")
    assert bench.counts("unread") == [0, 0, 0, 0]
    assert min(bench.counts("reads")) > 0


async def test_a_bucket_with_versions_is_always_read_first() -> None:
    bench = await bench_that_guesses(Versioning.ENABLED)
    await bench.put("b", b"2")
    assert bench.counts("unread") == [0, 0, 0, 0]
    await bench.check_one_version("b", b"2")


async def test_an_object_without_shards_is_never_sent_unread() -> None:
    bench = await bench_that_guesses()
    await bench.put("empty", b"")
    assert bench.counts("unread") == [0, 0, 0, 0]


# --- wrong guesses ----------------------------------------------------------------------------------------------------


async def test_an_overwrite_after_a_new_key_leaves_the_newest_alone() -> None:
    bench = await bench_that_guesses()
    await bench.put("first", b"newer")
    assert bench.counts("commits") == [2, 2, 2, 2]
    assert bench.counts("unread") == [1, 1, 1, 1]
    await bench.check_one_version("first", b"newer")
    bench.count_anew()
    await bench.put("first", b"newest")
    assert bench.counts("unread") == [0, 0, 0, 0]
    await bench.check_one_version("first", b"newest")


async def test_a_tombstone_of_the_key_is_respected() -> None:
    bench = await bench_that_guesses()
    await bench.put("b", b"2")
    await bench.store.delete(DeleteObject("photos", "b"), deadline=bench.deadline)
    await bench.settle()
    deleted = max(stone.time for stone in bench.drives[0].held(await bench.name("b")).tombstones)
    await bench.put("c", b"3")  # its key was new
    await bench.put("d", b"4")
    bench.count_anew()
    bench.wall.wrong_by_ns = -HOUR_NS
    await bench.put("b", b"again")
    assert bench.counts("unread") == [1, 1, 1, 1]
    assert min(row.time for rows in await bench.rows("b") for row in rows) > deleted
    await bench.check_one_version("b", b"again")


# --- removals ---------------------------------------------------------------------------------------------------------


async def test_the_removal_of_a_key_that_is_there_asks_no_drive_to_read() -> None:
    bench = await bench_that_guesses()
    await bench.delete("first")
    assert bench.counts("reads") == [0, 0, 0, 0]
    assert bench.counts("commits") == bench.counts("unread") == [1, 1, 1, 1]
    await bench.check_gone("first")


async def test_what_is_not_there_gets_no_tombstone_and_the_next_removal_reads() -> None:
    bench = await bench_that_guesses()
    await bench.delete("nothing")
    await bench.delete("nothing either")
    assert bench.counts("commits") == bench.counts("unread") == [1, 1, 1, 1]
    for drive in bench.drives:
        assert drive.held(await bench.name("nothing")).is_empty
    await bench.delete("first")
    assert bench.counts("unread") == [1, 1, 1, 1]
    await bench.put("b", b"2")
    await bench.delete("b")
    assert bench.counts("reads") == [3, 3, 3, 3]  # of three removals; the put and the last removal needed none
    await bench.check_gone("first")
    await bench.check_gone("b")


async def test_a_removal_comes_after_what_a_clock_that_is_ahead_wrote() -> None:
    bench = await bench_that_guesses()
    bench.wall.wrong_by_ns = HOUR_NS
    await bench.other.put("b", b"theirs")
    bench.wall.wrong_by_ns = 0
    await bench.delete("b")
    assert bench.counts("commits") == [3, 3, 3, 3]  # the put, the guess, the removal
    await bench.check_gone("b")


async def test_a_conditional_removal_reads() -> None:
    bench = await bench_that_guesses()
    await bench.delete("first", WriteCondition(if_etag=hashlib.md5(b"1").hexdigest()))
    assert bench.counts("unread") == [0, 0, 0, 0]
    await bench.check_gone("first")


async def test_a_removal_that_too_few_drives_took_is_in_doubt() -> None:
    """It would roll forward from one drive, also over what is written after it."""
    bench = await bench_that_guesses()
    await bench.put("b", b"2")
    bench.wall.wrong_by_ns = HOUR_NS
    await bench.half_write("b", 0, 1)
    bench.wall.wrong_by_ns = 0
    with pytest.raises(WriteQuorumLost):
        await bench.delete("b")
    await bench.delete("b")
    await bench.check_gone("b")


async def test_a_removal_that_one_drive_refused_for_something_newer_is_written_after_that() -> None:
    bench = await bench_that_guesses()
    await bench.put("b", b"2")
    bench.wall.wrong_by_ns = HOUR_NS
    await bench.half_write("b", 0)
    bench.wall.wrong_by_ns = 0
    [half] = (await bench.rows("b", b"half"))[0]
    await bench.delete("b")
    assert [drive.held(await bench.name("b")).head_time > half.time for drive in bench.drives] == [True] * 4
    await bench.check_gone("b")


async def test_a_removal_is_acknowledged_where_one_drive_lacks_the_key() -> None:
    bench = await bench_that_guesses()
    bench.watched[2].script.add(Fault.TIMEOUT_BEFORE, "commit")
    await bench.other.put("b", b"2")
    await bench.settle()
    bench.count_anew()
    await bench.delete("b")
    assert bench.counts("unread") == bench.counts("commits") == [1, 1, 1, 1]
    assert bench.counts("reads") == [0, 0, 0, 0]
    await bench.check_gone("b")


# --- drives that can not tell -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_emptied", [False, True])
async def test_a_drive_that_is_not_whole_takes_nothing_unread_and_the_next_write_reads(is_emptied: bool) -> None:
    bench = await bench_that_guesses()
    bench.drives[0].empty() if is_emptied else bench.drives[0].set_not_authoritative()
    await bench.put("b", b"2")
    assert bench.counts("reads") == [0, 0, 0, 0]
    assert [len(rows) for rows in await bench.rows("b")] == [0, 1, 1, 1]
    bench.count_anew()
    for key in ("c", "d"):
        await bench.put(key, b"3")
    assert min(bench.counts("reads")) > 0
    assert bench.counts("unread") == [0, 0, 0, 0]


async def test_drives_that_are_not_whole_do_not_make_up_a_quorum() -> None:
    bench = await bench_that_guesses()
    for drive in bench.drives[:2]:
        drive.set_not_authoritative()
    await bench.put("b", b"2")
    assert min(bench.counts("reads")) > 0
    assert bench.counts("commits") == [2, 2, 2, 2]
    await bench.settle()
    assert [len(rows) for rows in await bench.rows("b")] == [1, 1, 1, 1]
    assert await bench.get("b") == b"2"


@pytest.mark.parametrize("fault", [Fault.OFFLINE_BEFORE, Fault.HANG])
async def test_a_drive_that_is_away_or_hangs_is_not_needed_and_the_next_write_reads(fault: Fault) -> None:
    bench = await bench_that_guesses()
    bench.watched[0].script.add(fault, "commit")
    await asyncio.wait_for(bench.put("b", b"2"), 3)
    assert bench.counts("reads") == [0, 0, 0, 0]
    bench.count_anew()
    await bench.put("c", b"3")
    assert min(bench.counts("reads")) > 0
    assert bench.counts("unread") == [0, 0, 0, 0]
    bench.count_anew()
    await bench.put("d", b"4")  # All have answered that read.
    assert bench.counts("unread") == [1, 1, 1, 1]


async def test_nothing_is_sent_unread_that_could_not_reach_its_quorum() -> None:
    bench = await bench_that_guesses()
    for drive in bench.watched[:2]:
        drive.set_offline()
    with pytest.raises(WriteQuorumLost):
        await bench.put("b", b"2")
    assert bench.counts("commits") == [0, 0, 0, 0]


# --- guesses that some drives take ------------------------------------------------------------------------------------


async def test_a_guess_that_some_drives_take_is_superseded_by_the_write() -> None:
    bench = await bench_that_guesses()
    await bench.half_write("b", 0, 1)
    bench.count_anew()
    await bench.put("b", b"mine")
    assert bench.counts("commits") == [2, 2, 2, 2]
    await bench.check_one_version("b", b"mine")


async def test_a_guess_whose_answers_are_lost_stays_one_version() -> None:
    bench = await bench_that_guesses()
    await bench.half_write("b", 0)
    await asyncio.sleep(0.002)  # Times have a random step of up to a millisecond.
    bench.watched[1].script.add(Fault.TIMEOUT_AFTER, "commit")
    bench.count_anew()
    await bench.put("b", b"mine")
    assert bench.counts("commits") == [2, 2, 2, 2]
    assert len(await versions_of(bench, "b")) == 1
    await bench.check_ids("b")
    await bench.check_one_version("b", b"mine")


async def test_the_write_is_newer_than_its_guess_though_the_clock_steps_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The one drive that took the guess is not there to tell of its time."""
    bench = await bench_that_guesses()
    bench.wall.wrong_by_ns = -2 * HOUR_NS
    bench.watched[3].script.add(Fault.OFFLINE_BEFORE, "commit")
    await bench.other.put("b", b"2")
    bench.wall.wrong_by_ns = 0
    bench.watched[3].script.add(Fault.TIMEOUT_AFTER, "commit").add(Fault.OFFLINE_BEFORE, "read_key")
    when_read(monkeypatch, lambda: setattr(bench.wall, "wrong_by_ns", -HOUR_NS))
    await bench.put("b", b"mine")
    *written, guessed = [rows[0].time for rows in await bench.rows("b", b"mine")]
    assert min(written) > guessed
    await bench.check_one_version("b", b"mine")


async def test_a_half_write_of_a_clock_that_is_ahead_is_replaced() -> None:
    bench = await bench_that_guesses()
    bench.wall.wrong_by_ns = HOUR_NS
    await bench.half_write("b", 0)
    bench.wall.wrong_by_ns = 0
    bench.count_anew()
    await bench.put("b", b"mine")
    assert bench.counts("commits") == [2, 2, 2, 2]
    [half] = (await bench.rows("b", b"half"))[0]
    assert [rows[0].time > half.time for rows in await bench.rows("b", b"mine")] == [True] * 4
    await bench.check_one_version("b", b"mine")


async def write_by_a_clock_that_is_ahead(bench: NewKeysBench) -> None:
    """What stands then has a base, a tombstone's time, that is later than the time of what is written next."""
    bench.wall.wrong_by_ns = HOUR_NS
    await bench.other.put("b", b"old")
    await bench.other.store.delete(DeleteObject("photos", "b"), deadline=bench.deadline)
    theirs = PutObject("photos", "b", condition=WriteCondition(if_absent=True))
    await bench.other.store.put(theirs, PlainBody(b"theirs"), deadline=bench.deadline)
    bench.wall.wrong_by_ns = 0


async def test_a_guess_is_not_taken_for_what_a_clock_that_is_ahead_wrote_over() -> None:
    """One drive may hold it, too few to have shown it: it is written again."""
    bench = await bench_that_guesses()
    await write_by_a_clock_that_is_ahead(bench)
    bench.watched[0].script.add(Fault.TIMEOUT_BEFORE, "commit")
    await bench.put("b", b"mine")
    await bench.check_one_version("b", b"mine")


async def test_a_guess_that_may_have_been_shown_is_in_doubt_beside_a_later_base() -> None:
    bench = await bench_that_guesses()
    for _ in range(3):
        bench.watched[3].script.add(Fault.OFFLINE_BEFORE, "commit")
    await write_by_a_clock_that_is_ahead(bench)
    bench.watched[0].script.add(Fault.TIMEOUT_BEFORE, "commit")
    with pytest.raises(WriteQuorumLost):
        await bench.put("b", b"mine")
    await bench.check_one_version("b", b"theirs")


async def test_a_write_after_a_guess_in_doubt_is_in_doubt_when_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = await bench_that_guesses()
    await bench.half_write("b", 0, 1)
    when_read(monkeypatch, bench.fill)
    with pytest.raises(WriteQuorumLost):
        await bench.put("b", b"mine")


async def test_a_write_after_a_guess_that_all_refused_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = await bench_that_guesses()
    when_read(monkeypatch, bench.fill)
    with pytest.raises(StoreFull):
        await bench.put("first", b"newer")
    assert bench.counts("unread") == [1, 1, 1, 1]


async def test_a_write_after_a_guess_in_doubt_is_in_doubt_when_rivals_win(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = await bench_that_guesses()
    await bench.half_write("b", 0, 1)
    when_read(monkeypatch, lambda: None, newest_seen=NO_TIME)
    with pytest.raises(WriteQuorumLost):
        await bench.put("b", b"mine")
    assert bench.counts("commits")[2] == 1 + 1 + committing.ATTEMPTS_MAX  # the half write, the guess, the write


# --- in time ----------------------------------------------------------------------------------------------------------


async def test_hanging_drives_are_told_of_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committing, "COMMIT_SECONDS", 0.5)
    bench = await bench_that_guesses()
    for drive in bench.watched[:2]:
        drive.script.add(Fault.HANG, "commit", "read_key", times=100)
    with pytest.raises((WriteQuorumLost, ReadQuorumLost)):
        await asyncio.wait_for(bench.put("b", b"2"), 2)
    assert bench.counts("reads") == [0, 0, 0, 0]


async def test_a_drive_that_hangs_delays_a_refused_guess_by_a_second_at_most() -> None:
    bench = await bench_that_guesses()
    await bench.half_write("b", 0)
    bench.watched[1].script.add(Fault.HANG, "commit")
    await asyncio.wait_for(bench.put("b", b"mine"), 3)
    assert bench.counts("commits") == [3, 3, 3, 3]  # the half write, the guess, the write


def test_the_memory_of_buckets_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guesses_module, "_BUCKETS_MAX", 3)
    drives = [MemoryDrive(slot, SystemClock(), SeededRandomness("bounded")) for slot in range(4)]
    drive_set, guesses = DriveSet(tuple(drives), CodeParams(2, 2), 0), Guesses()
    buckets = [BucketId(f"{number:032x}") for number in range(10)]
    for bucket_id in buckets:
        guesses.learn_of_write(drive_set, bucket_id, WriteBasis(NO_TIME, {}, None, is_whole=True))
        assert guesses.new_key(drive_set, bucket_id) is not None
    assert sum(guesses.new_key(drive_set, bucket_id) is not None for bucket_id in buckets) <= 3
