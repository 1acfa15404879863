"""Whose staged files are whose: writers that are killed, writers that live, and what they wrote down."""

import asyncio
import os
import sys
import threading
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liteio_base.clock import SystemClock
from liteio_contracts.storage import ShardRef, StorageAPI
from liteio_contracts.storage_errors import DriveFull, ShardMissing
from liteio_drives import claims as claims_module
from liteio_drives.claims import Claims
from liteio_drives.files import RealFiles
from liteio_drives.local_drive import LocalDrive
from liteio_formats.record import PartEntry
from liteio_testkit.contract_bench import Bench, block_hashes, data_of, shard_blocks
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.polling import until
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.storage_contract import DriveUnderTest

from .drive_bench import SMALL, format_drive, open_drive
from .faulty_files import BROKEN, NO_SPACE, FaultyFiles
from .staging_process import BIG_BYTES

SCRIPT = Path(__file__).with_name("staging_process.py")
GRACE = SMALL.orphan_grace_seconds
YEAR = 365 * 86400.0
NAMES = [f"{number:032x}.{number}" for number in range(4)]


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    format_drive(tmp_path / "d")
    return tmp_path / "d"


def bench_of(drive: LocalDrive, clock: ManualClock, name: str = "mine") -> Bench:
    async def restart() -> StorageAPI:
        raise AssertionError("not in these tests")

    subject = DriveUnderTest(drive, clock, restart, GRACE, SMALL.tombstone_keep_seconds)
    return Bench(subject, randomness=SeededRandomness(name))


@asynccontextmanager
async def opened(path: Path, clock: ManualClock, **options: object) -> AsyncIterator[Bench]:
    drive = await open_drive(path, clock=clock, **options)  # type: ignore[arg-type]  # fields of DriveSettings
    try:
        yield bench_of(drive, clock, f"{len(list(shards(path)))}")
    finally:
        await drive.close()


@asynccontextmanager
async def staging(path: Path, *options: str) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(sys.executable, str(SCRIPT), str(path), *options, stdout=PIPE)
    try:
        assert process.stdout
        assert await process.stdout.readline() == b"ready\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def shards(path: Path) -> Iterator[str]:
    return (found.name for found in (path / "data").glob("*/*"))


def claim_files(path: Path) -> list[Path]:
    folder = path / ".liteio.sys" / "claims"
    return list(folder.iterdir()) if folder.is_dir() else []


async def collect(bench: Bench) -> int:
    return await bench.drive.collect_garbage(deadline=bench.soon)


async def is_spared_whatever_the_clocks_say(bench: Bench, clock: ManualClock, path: Path) -> bool:
    """Collect on clocks that went forth and back by years. Returns whether every file is still there."""
    before = set(shards(path))
    for wall, both in ((0.0, 0.0), (YEAR, 0.0), (-3 * YEAR, 0.0), (0.0, YEAR), (10 * YEAR, 2 * GRACE)):
        clock.step_wall(wall)
        clock.advance(both)
        await collect(bench)
    return set(shards(path)) == before


async def test_files_of_a_killed_writer_go_at_once_and_those_of_a_living_one_never(
    path: Path, clock: ManualClock
) -> None:
    async with opened(path, clock) as bench, staging(path) as killed, staging(path):
        assert len(set(shards(path))) == 2 * 5
        assert await is_spared_whatever_the_clocks_say(bench, clock, path)
        killed.kill()
        await killed.wait()
        assert await collect(bench) == 4, "all but the named one, with no time passing"
        assert len(set(shards(path))) == 5 + 1
        assert len(claim_files(path)) == 1
        assert await is_spared_whatever_the_clocks_say(bench, clock, path)


async def test_without_a_lock_a_living_writer_would_lose_its_files(path: Path, clock: ManualClock) -> None:
    """The planted bug: the test above can fail."""
    async with opened(path, clock) as bench, staging(path, "unlocked"):
        assert not await is_spared_whatever_the_clocks_say(bench, clock, path)


async def test_two_collectors_after_a_kill_do_it_once(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock) as one, opened(path, clock) as other:
        async with staging(path):
            pass
        assert sum(await asyncio.gather(collect(one), collect(other), collect(one))) == 4
        assert len(list(shards(path))) == 1
        assert claim_files(path) == []


async def test_nothing_is_collected_from_the_dead_while_the_drive_does_not_count(
    tmp_path: Path, clock: ManualClock
) -> None:
    path = tmp_path / "e"
    format_drive(path, is_authoritative=False)
    async with opened(path, clock) as bench:
        async with staging(path):
            pass
        assert await collect(bench) == 0
        await bench.drive.set_authoritative(await bench.generation(), deadline=bench.soon)
        assert await collect(bench) == 4


@pytest.mark.parametrize("collects", ["the one that replaced it", "another"])
async def test_a_file_that_a_dead_writer_left_and_a_living_one_replaced_stays(
    path: Path, clock: ManualClock, collects: str
) -> None:
    """As when a writer dies between staging and committing, and the settler brings the drive its shard again."""
    async with opened(path, clock) as living, opened(path, clock) as other:
        collector = other if collects == "another" else living
        dead = await open_drive(path, clock=clock)
        part = await bench_of(dead, clock, "dead").stage(300_000)
        await living.stage(300_000, part.data_id)
        await dead.close()
        assert await collect(collector) == 0
        assert len(claim_files(path)) == 2, "the living one may give it up yet"
        await living.put(b"k", 5, size_bytes=300_000, parts=(part,))
        assert await collect(collector) == 0
        assert len(claim_files(path)) == 1, "nothing of the dead is left to be looked at"


async def test_what_is_given_up_beside_a_dead_writers_file_does_not_keep_it(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock) as living, opened(path, clock) as collector:
        dead = await open_drive(path, clock=clock)
        part = await bench_of(dead, clock, "dead").stage(BIG_BYTES)
        ref = ShardRef(part.data_id, 1, 0)
        blocks = shard_blocks(ref, BIG_BYTES)
        writer = await living.drive.create_shard(ref, size_hint=BIG_BYTES, deadline=living.soon)
        await writer.write(blocks, block_hashes(ref, blocks))
        await writer.abort()
        await living.put_staged(b"behind it in the queue", 5)
        await dead.close()
        await asyncio.sleep(0.05)
        assert await collect(collector) == 1
        assert len(list(shards(path))) == 1


async def test_a_closed_drive_leaves_its_staged_files_to_others(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock) as bench:
        async with opened(path, clock) as other:
            await other.stage(300_000)
            await other.put_staged(b"k", 5)
        assert await collect(bench) == 1
        assert claim_files(path) == []
        async with opened(path, clock) as other:
            await other.put_staged(b"l", 5)
            assert len(claim_files(path)) == 1
        assert claim_files(path) == [], "it had nothing that was not named"


# -- its own


async def test_what_this_process_never_committed_goes_after_the_grace_of_its_own_clock(
    path: Path, clock: ManualClock
) -> None:
    async with opened(path, clock) as bench:
        part = await bench.stage(300_000)
        clock.step_wall(YEAR)
        assert await collect(bench) == 0
        clock.advance(GRACE - 1)
        assert await collect(bench) == 0
        clock.step_wall(-2 * YEAR)
        clock.advance(2)
        assert await collect(bench) == 1
        with pytest.raises(ShardMissing):
            await bench.put(b"late", 5, size_bytes=300_000, parts=(part,))


async def test_an_open_writer_is_never_overdue(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock) as bench:
        ref = ShardRef(bench.new_data_id(), 1, 0)
        blocks = shard_blocks(ref, BIG_BYTES)
        writer = await bench.drive.create_shard(ref, size_hint=BIG_BYTES, deadline=bench.soon)
        await writer.write(blocks, block_hashes(ref, blocks))
        clock.advance(YEAR)
        assert await collect(bench) == 0
        await writer.close(2, 2, BIG_BYTES)
        await bench.drive.shard_facts(ref, verify=True, deadline=bench.soon)


async def test_it_gives_up_its_own_without_being_asked(path: Path) -> None:
    drive = await open_drive(path, orphan_grace_seconds=0.1)
    bench = bench_of(drive, ManualClock())
    await bench.stage(300_000)
    for _ in range(100):
        if not list(shards(path)):
            break
        await asyncio.sleep(0.05)
    else:
        pytest.fail("the file is still there")
    await drive.close()


async def test_a_drive_that_does_not_count_gives_up_nothing_by_itself(tmp_path: Path) -> None:
    format_drive(tmp_path / "e", is_authoritative=False)
    drive = await open_drive(tmp_path / "e", orphan_grace_seconds=0.1)
    bench = bench_of(drive, ManualClock())
    await bench.stage(300_000)
    await asyncio.sleep(1.5)
    assert len(list(shards(tmp_path / "e"))) == 1
    await drive.close()


async def test_a_commit_that_comes_by_another_process_ends_the_claim(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock) as bench, opened(path, clock) as other:
        part = await bench.stage(300_000)
        record = await other.put(b"k", 5, size_bytes=300_000, parts=(part,))
        clock.advance(GRACE + 1)
        assert await collect(bench) == 0
        await bench.drive.shard_facts(data_of(record), verify=True, deadline=bench.soon)


async def test_a_refused_commit_ends_no_claim(path: Path, clock: ManualClock) -> None:
    async with opened(path, clock) as bench:
        part = await bench.stage(300_000)
        longer = PartEntry(1, 300_001, part.data_id, part.etag)
        with pytest.raises(ShardMissing):
            await bench.put(b"k", 5, size_bytes=300_001, parts=(longer,))
        clock.advance(GRACE + 1)
        assert await collect(bench) == 1


# -- removing


async def test_a_dropped_file_is_removed_though_its_remover_was_killed(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the transaction that forgets the name and the unlink."""
    async with opened(path, clock) as bench:
        killed = await open_drive(path, clock=clock)
        victim = bench_of(killed, clock, "killed")
        await victim.put_staged(b"k", 5)
        await victim.confirm(await victim.put_staged(b"k", 6))
        clock.advance(SMALL.unlink_delay_seconds + 1)
        monkeypatch.setattr(killed._folder, "remove", lambda names: 0)
        assert await collect(victim) == 0
        assert len(list(shards(path))) == 2
        await killed.close()
        assert await collect(bench) == 1
        assert len(list(shards(path))) == 1


async def test_what_the_dead_left_is_unlinked_behind_a_sync(path: Path, clock: ManualClock) -> None:
    files = FaultyFiles()
    async with opened(path, clock, files=files) as bench:
        async with staging(path):
            pass
        left, syncs = set(shards(path)), files.calls.get("sync_data", 0)
        gate = files.gates["sync_data"] = threading.Event()
        collecting = asyncio.ensure_future(collect(bench))
        await until(lambda: files.calls.get("sync_data", 0) > syncs, 10)
        await asyncio.sleep(0.05)
        assert set(shards(path)) == left
        gate.set()
        assert await collecting == 4


async def test_what_can_not_be_unlinked_is_tried_again(path: Path, clock: ManualClock) -> None:
    files = FaultyFiles()
    async with opened(path, clock, files=files) as bench:
        async with staging(path):
            pass
        files.faults["unlink"] = BROKEN
        assert await collect(bench) == 0
        del files.faults["unlink"]
        assert await collect(bench) == 4
        assert claim_files(path) == []


async def test_old_files_that_nobody_claims_go_by_age(path: Path, clock: ManualClock) -> None:
    """As a version left them that wrote no claims, or a power cut."""
    async with opened(path, clock) as bench:
        for name in ("ab" * 16 + ".1", "ab" * 16 + ".2.77-0.new"):
            (path / "data" / "ab" / name).write_bytes(b"left")
            os.utime(path / "data" / "ab" / name, ns=(clock.now_ns(), clock.now_ns()))
        assert await collect(bench) == 0
        clock.advance(GRACE + 1)
        assert await collect(bench) == 2


async def test_a_scan_that_was_cut_short_goes_on(
    path: Path, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(path, clock) as bench:
        orphans = bench.drive._collector.orphans  # type: ignore[attr-defined]  # it is a LocalDrive
        looked: list[str] = []

        async def look(folder: str, deadline: object) -> int:
            looked.append(folder[-2:])
            if looked == ["00", "01", "02"]:
                raise DriveFull("cut short")
            return 0

        monkeypatch.setattr(orphans, "_remove_old_in", look)
        with pytest.raises(DriveFull):
            await collect(bench)
        await collect(bench)
        await collect(bench)
        assert looked[3:] == [f"{number:02x}" for number in range(2, 256)]


# -- what is written down


@pytest.fixture
def disk(path: Path) -> Path:
    return path / ".liteio.sys" / "claims"


def claims_in(folder: Path, seed: str = "a", files: RealFiles | None = None) -> Claims:
    lock = str(folder.parent / "index.lock")
    return Claims(str(folder), lock, files=files or RealFiles(), clock=SystemClock(), randomness=SeededRandomness(seed))


def test_owners_that_draw_the_same_name_get_their_own(disk: Path) -> None:
    owners = [claims_in(disk) for _ in range(3)]
    for owner, name in zip(owners, NAMES, strict=False):
        owner.begin(name)
    assert owners[0].of_others() == set(NAMES[1:3])
    assert owners[2].of_others() == set(NAMES[:2])
    owners[0].end()
    assert owners[2].of_others() == {NAMES[1]}
    (dead,) = owners[1].take_dead()
    assert list(dead.names) == [NAMES[0]]
    assert owners[2].take_dead() == [], "one clears up at a time"
    owners[1].let_go([dead])
    assert len(owners[2].take_dead()) == 1


def test_claims_that_are_taken_between_making_and_locking_are_made_again(disk: Path) -> None:
    """The narrow place: a file that nobody holds yet looks like a dead process's."""

    class Hasty(RealFiles):
        def try_lock(self, descriptor: int, *, is_shared: bool) -> bool:
            if not seen:
                seen.extend(collector.take_dead())
                assert len(seen) == 1
                collector.bury(seen[0])
                collector.let_go(seen)
            return super().try_lock(descriptor, is_shared=is_shared)

    seen: list[claims_module.DeadClaims] = []
    collector, owner = claims_in(disk, "collector"), claims_in(disk, "owner", Hasty())
    owner.begin(NAMES[0])
    assert seen
    assert collector.of_others() == {NAMES[0]}


def test_a_claim_on_a_file_that_exists_waits_for_who_removes_files(disk: Path) -> None:
    files = RealFiles()
    owner, remover = claims_in(disk), claims_in(disk, "remover")
    lock = files.open(str(disk.parent / "index.lock"), os.O_RDWR | os.O_CREAT)
    files.lock(lock)
    claiming = threading.Thread(target=owner.begin_beside, args=(NAMES[0],))
    claiming.start()
    claiming.join(0.1)
    assert claiming.is_alive()
    assert remover.of_others() == set()
    files.close(lock)
    claiming.join(10)
    assert remover.of_others() == {NAMES[0]}


def test_claims_follow_the_drive_that_is_emptied_under_them(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims_module, "_LOOK_SECONDS", 0.0)
    owner, other = claims_in(disk), claims_in(disk, "other")
    owner.begin(NAMES[0])
    for file in disk.iterdir():
        file.unlink()
    disk.rmdir()
    owner.begin(NAMES[1])
    assert other.of_others() == set(NAMES[:2])


def test_a_name_is_claimed_by_nobody_when_it_could_not_be_written_down(disk: Path) -> None:
    files = FaultyFiles()
    owner = claims_in(disk, files=files)
    owner.begin(NAMES[0])
    files.faults["pwrite"] = NO_SPACE
    with pytest.raises(OSError, match="No space"):
        owner.begin(NAMES[1])
    owner.withdraw(NAMES[0])
    assert owner.is_empty()
    files.faults.clear()
    owner.begin(NAMES[2])
    assert claims_in(disk, "other").of_others() >= {NAMES[2]}


def test_torn_and_strange_lines_claim_nothing(disk: Path) -> None:
    owner, other = claims_in(disk), claims_in(disk, "other")
    owner.begin(NAMES[0])
    (file,) = disk.iterdir()
    lines = ("../../format.json", "", "-", f"/{NAMES[1]}", NAMES[1][1:], f"{NAMES[1]}.new", "\xff")
    with file.open("ab") as end:
        end.write("\n".join((*lines, f"{NAMES[1]}.7-7.new", NAMES[2])).encode("latin-1"))
    (disk / "notes.txt").write_text(f"{NAMES[3]}\n")
    assert other.of_others() == {NAMES[0], f"{NAMES[1]}.7-7.new"}


def test_long_claims_are_written_anew_with_what_is_claimed_still(disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims_module, "CLAIMS_BYTES", 1000)
    owner, other = claims_in(disk), claims_in(disk, "other")
    owner.begin(NAMES[0])
    for number in range(300):
        name = f"{'f' * 32}.{number}"
        owner.begin(name)
        owner.close(name)
        assert other.of_others() == {NAMES[0], name}
        owner.settle([name])
    (file,) = disk.iterdir()
    assert file.stat().st_size < 1200


@given(st.lists(st.tuples(st.sampled_from(["begin", "close", "withdraw", "settle", "note"]), st.sampled_from(NAMES))))
@settings(max_examples=60, deadline=None)
def test_others_see_exactly_what_is_claimed(steps: list[tuple[str, str]]) -> None:
    """Two writers of one file, in any order of beginnings and ends, over claims that are written anew now and then."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(claims_module, "CLAIMS_BYTES", 200)
        owner, other = claims_in(Path(folder) / "claims"), claims_in(Path(folder) / "claims", "other")
        open_now = dict.fromkeys(NAMES, 0)
        closed: set[str] = set()
        for step, name in steps:
            if step == "begin":
                owner.begin(name)
                open_now[name] += 1
            elif step in ("close", "withdraw") and open_now[name]:
                getattr(owner, step)(name)
                open_now[name] -= 1
                closed |= {name} if step == "close" else set()
            elif step == "settle":
                owner.settle([name])
                closed.discard(name)
            elif step == "note":
                owner.note([name])
                closed.add(name)
            claimed = closed | {name for name, count in open_now.items() if count}
            assert other.of_others() == claimed
            assert {name for name in NAMES if owner.is_mine(name)} == claimed
        owner.end()
