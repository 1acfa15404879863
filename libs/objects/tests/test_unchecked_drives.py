"""Drives that lie about their syncs, and a power cut: up to M of them come back without what they had answered for, and
nothing on them tells. What they show is not believed where M of them could show it alone.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import combinations

import pytest

from liteio_base.deadline import Deadline
from liteio_base.ids import NULL_VERSION, Generation, HybridTime
from liteio_contracts.object_errors import ObjectMissing, ReadQuorumLost, WriteQuorumLost
from liteio_contracts.object_layer import BucketChange, DeleteObject, ListObjects, ReadObject
from liteio_contracts.storage import KeyAnswer, KeyName, KeyQuery
from liteio_contracts.storage_errors import DriveOffline
from liteio_erasure.code import CodeParams
from liteio_formats.bodies import Versioning
from liteio_formats.record import Space
from liteio_objects.drive_set import DriveSet
from liteio_objects.maintenance import Upkeep, UpkeepTimes
from liteio_objects.read_rule import is_witnessed
from liteio_objects.scanning import Scan
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.store_bench import StoreBench

NEW, OLD = b"new" * 30, b"old" * 20
WIDTHS = (2, 4, 5, 8)


@dataclass
class Cut:
    """A store whose power was cut: `liars` have lost the last change of each key, which all drives had settled."""

    bench: StoreBench
    liars: Sequence[int]

    @property
    def honest(self) -> list[int]:
        return [slot for slot in range(len(self.bench.drives)) if slot not in self.liars]

    @property
    def drive_set(self) -> DriveSet:
        return self.bench.store.engine.store_map.sets[0]

    def leave(self, slots: Sequence[int]) -> None:
        """Only these drives answer."""
        for drive in self.bench.drives:
            drive.set_offline(drive.slot not in slots)

    async def look(self) -> None:
        """Everything is as it was acknowledged, whichever drives are asked first."""
        page = await self.bench.store.list_objects(ListObjects("photos"), deadline=self.bench.deadline)
        assert [info.key for info in page.objects] == ["made", "other", "replaced"]
        for _ in range(2 * len(self.bench.drives)):
            assert await self.bench.get("made") == NEW
            assert await self.bench.get("replaced") == NEW
            for key in ("deleted", "never there"):
                with pytest.raises(ObjectMissing):
                    await self.bench.get(key)


async def cut_of(width: int, liars: Sequence[int] | None = None, *, are_confirms_kept: bool = True) -> Cut:
    """`liars` None: M of them. Confirms are not synced, but by the next commit: the cut may take them back."""
    bench = StoreBench.of(width)
    await bench.make_bucket()
    await bench.put("replaced", OLD)
    await bench.put("deleted", OLD)
    await settle(bench)
    await bench.put("other", OLD)
    memories = [drive.remember() for drive in bench.drives]
    await bench.put("made", NEW)
    await bench.put("replaced", NEW)
    await bench.store.delete(DeleteObject("photos", "deleted"), deadline=bench.deadline)
    await settle(bench)
    if are_confirms_kept:
        await bench.put("other", OLD)
    code = bench.store.engine.store_map.sets[0].code
    cut = Cut(bench, tuple(range(code.m)) if liars is None else liars)
    for drive in bench.drives:
        drive.restart(memories[drive.slot] if drive.slot in cut.liars else None)
    return cut


async def settle(bench: StoreBench) -> None:
    await bench.settle()
    await Upkeep(bench.store, UpkeepTimes(unsettled_seconds=0.0)).settle_left_over()


def upkeep_of(cut: Cut, trust_seconds: float = 3600.0) -> Upkeep:
    return Upkeep(cut.bench.store, UpkeepTimes(unsettled_seconds=0.0, trust_seconds=trust_seconds))


@pytest.mark.parametrize("are_confirms_kept", [True, False])
@pytest.mark.parametrize("width", WIDTHS)
async def test_m_liars_hide_nothing_and_are_given_it_again(width: int, are_confirms_kept: bool) -> None:
    cut = await cut_of(width, are_confirms_kept=are_confirms_kept)
    assert all(drive.is_unchecked for drive in cut.bench.drives)
    await cut.look()
    await upkeep_of(cut).rebuild_drives()
    assert not any(drive.is_unchecked for drive in cut.bench.drives)
    await settle(cut.bench)
    cut.leave(cut.liars if len(cut.liars) >= cut.drive_set.code.k else range(cut.drive_set.code.k))
    await cut.look()


async def test_it_does_not_matter_who_the_liars_are() -> None:
    for liars in combinations(range(4), 2):
        await (await cut_of(4, liars)).look()


async def test_a_second_cut_is_seen_as_well() -> None:
    cut = await cut_of(4)
    upkeep = upkeep_of(cut)
    for _ in range(2):
        await upkeep.rebuild_drives()
        assert not any(drive.is_unchecked for drive in cut.bench.drives)
        for drive in cut.bench.drives:
            drive.restart()


@pytest.mark.parametrize("width", [2, 4, 8])
async def test_liars_alone_tell_neither_of_an_older_version_nor_of_absence(width: int) -> None:
    cut = await cut_of(width)
    cut.leave(cut.liars)
    for key in ("made", "replaced", "deleted"):
        with pytest.raises(ReadQuorumLost):
            await cut.bench.get(key)
        with pytest.raises(ReadQuorumLost):
            await cut.bench.store.head(ReadObject("photos", key, NULL_VERSION), deadline=cut.bench.deadline)
    with pytest.raises(ReadQuorumLost):
        await cut.bench.store.list_objects(ListObjects("photos"), deadline=cut.bench.deadline)
    with pytest.raises((ReadQuorumLost, WriteQuorumLost)):
        await cut.bench.put("replaced", b"based on what?")


async def test_liars_that_hold_the_version_before_hide_no_newer_one() -> None:
    """All drives tell of that version, but the newest that each has the honest ones do not tell."""
    bench = StoreBench.of(4)
    await bench.make_bucket()
    await bench.store.change_bucket("photos", BucketChange(versioning=Versioning.ENABLED), deadline=bench.deadline)
    await bench.put("key", OLD)
    await settle(bench)
    await bench.put("other", OLD)
    memories = [drive.remember() for drive in bench.drives[:2]]
    await bench.put("key", NEW)
    await settle(bench)
    for drive in bench.drives:
        drive.restart(memories[drive.slot] if drive.slot < 2 else None)
    for drive in bench.drives[2:]:
        drive.read_key = partial(_registers_only, drive, drive.read_key)  # type: ignore[method-assign]
    with pytest.raises(ReadQuorumLost):
        await bench.get("key")


async def _registers_only(
    drive: MemoryDrive, real: Callable[..., Awaitable[KeyAnswer]], query: KeyQuery, *, deadline: Deadline
) -> KeyAnswer:
    if query.version_ids is None and query.name.space is Space.OBJECT:
        raise DriveOffline(drive_id=drive.drive_id)
    return await real(query, deadline=deadline)


async def test_a_write_is_based_on_no_fewer_witnesses() -> None:
    cut = await cut_of(4)
    cut.bench.drives[2].set_not_authoritative()
    cut.leave([0, 1, 2])
    with pytest.raises(ReadQuorumLost):
        await cut.bench.put("other", NEW)


async def test_a_write_comes_after_what_liars_have_lost() -> None:
    cut = await cut_of(4)
    cut.leave([*cut.liars, cut.honest[0]])
    await cut.bench.put("replaced", b"newest")
    cut.leave(range(4))
    for _ in range(8):
        assert await cut.bench.get("replaced") == b"newest"


async def test_what_is_committed_unread_is_refused_by_those_that_have_lost_nothing() -> None:
    cut = await cut_of(4)
    await cut.bench.put("another new key", OLD)  # The next one is guessed to be new, too.
    await cut.bench.put("made", b"made again")
    for _ in range(8):
        assert await cut.bench.get("made") == b"made again"


async def test_one_machine_of_several_restarts_and_reads_go_on_without_one_more() -> None:
    """Two checked drives are as good as ever: with four drives two may be away."""
    cut = await cut_of(4, ())
    await settle(cut.bench)
    for slot in (0, 1, 2):
        drive = cut.bench.drives[slot]
        status = await drive.status(deadline=cut.bench.deadline)
        await drive.set_checked(status.unchecked_boot, deadline=cut.bench.deadline)
    cut.leave([1, 2])
    await cut.look()
    cut.leave([2, 3])
    with pytest.raises(ReadQuorumLost):
        await cut.bench.get("never there")


@pytest.mark.parametrize(
    ("width", "checked", "unchecked", "is_enough"),
    [
        *((4, 2, 0, True), (4, 1, 1, False), (4, 1, 2, True), (4, 0, 2, False), (4, 0, 3, True), (4, 1, 0, False)),
        *((5, 1, 0, False), (5, 2, 0, True), (5, 0, 2, False), (5, 0, 3, True), (3, 0, 2, True), (2, 1, 0, True)),
        *((2, 0, 1, False), (8, 4, 0, True), (8, 3, 1, False), (8, 0, 4, False), (8, 0, 5, True), (1, 0, 1, True)),
    ],
)
def test_so_many_witnesses_are_enough(width: int, checked: int, unchecked: int, is_enough: bool) -> None:
    code = CodeParams.for_set(width, None)
    answers = [KeyAnswer(Generation("g"), True, HybridTime(0))] * checked
    answers += [KeyAnswer(Generation("g"), True, HybridTime(0), is_unchecked=True)] * unchecked
    answers += [KeyAnswer(Generation("g"), False, HybridTime(0))] * 4
    assert is_witnessed(answers, code) is is_enough


# -- who is checked, and who is not


async def test_drives_that_could_not_be_compared_with_enough_others_wait_and_are_trusted_in_the_end() -> None:
    cut = await cut_of(4)
    cut.leave(cut.liars)
    waiting = upkeep_of(cut)
    with pytest.raises(ReadQuorumLost):
        await waiting.rebuild_drives()
    assert all(drive.is_unchecked for drive in cut.bench.drives)
    with pytest.raises(ReadQuorumLost):
        await upkeep_of(cut, trust_seconds=0.0).rebuild_drives()
    assert [drive.is_unchecked for drive in cut.bench.drives] == [False, False, True, True]
    cut.leave(range(4))
    await waiting.rebuild_drives()
    assert not any(drive.is_unchecked for drive in cut.bench.drives)
    await cut.look()


@pytest.mark.parametrize(
    ("method", "number"),
    [("walk", 1), ("key_versions", 1), ("range_digests", 1), ("range_digests", 2)],
)
async def test_a_drive_that_is_away_in_the_midst_of_a_comparison_stays_unchecked(
    monkeypatch: pytest.MonkeyPatch, method: str, number: int
) -> None:
    """Where keys are walked over, where ranges are compared, where their keys are, and where a key is looked at."""
    cut = await cut_of(8, (1,))
    drive, calls = cut.bench.drives[1], []
    real: Callable[..., Awaitable[object]] = getattr(drive, method)

    async def away(*arguments: object, **options: object) -> object:
        calls.append(method)
        if len(calls) == number:
            raise DriveOffline
        return await real(*arguments, **options)

    monkeypatch.setattr(drive, method, away)
    await cut.bench.store.healer.scan(cut.drive_set)
    assert [each.slot for each in cut.bench.drives if each.is_unchecked] == [1]
    monkeypatch.undo()
    await cut.bench.store.healer.scan(cut.drive_set)
    assert not any(each.is_unchecked for each in cut.bench.drives)


async def test_too_few_that_tell_of_versions_prove_nothing_of_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    cut = await cut_of(8)

    async def away(*_: object, **__: object) -> object:
        raise DriveOffline

    for slot in cut.honest:
        monkeypatch.setattr(cut.bench.drives[slot], "key_versions", away)
    bucket = await cut.bench.store.bucket("photos", deadline=cut.bench.deadline)
    name = KeyName(Space.OBJECT, bucket.bucket_id, b"made")
    assert (await cut.bench.store.healer.heal_key(cut.drive_set, name)).holders == frozenset()


async def test_a_drive_that_can_not_be_given_what_it_lost_stays_unchecked() -> None:
    cut = await cut_of(4)
    cut.bench.drives[0].set_full()
    await cut.bench.store.healer.scan(cut.drive_set)
    assert [drive.slot for drive in cut.bench.drives if drive.is_unchecked] == [0]
    await cut.look()


async def test_a_restart_in_the_midst_of_a_comparison_leaves_the_drive_unchecked() -> None:
    cut = await cut_of(4)
    healer = cut.bench.store.healer

    class Heals:
        async def heal_key(self, drive_set: DriveSet, name: KeyName, *, verify: bool = True) -> object:
            if name.key == b"made":
                cut.bench.drives[0].restart(memory)
            return await healer.heal_key(drive_set, name, verify=verify)

    memory = cut.bench.drives[0].remember()
    await Scan(cut.bench.store.engine, Heals(), cut.drive_set, healer.pacer).compare()  # type: ignore[arg-type]  # as one
    assert [drive.slot for drive in cut.bench.drives if drive.is_unchecked] == [0]
    await cut.look()
