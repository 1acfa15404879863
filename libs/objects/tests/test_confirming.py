"""Confirms travel in groups: one call a drive for the writes of some milliseconds, in trouble or not."""

from collections.abc import Sequence

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_base.ids import NULL_VERSION, BucketId, HybridTime
from liteio_contracts.storage import KeyName, VersionRef
from liteio_erasure.code import CodeParams
from liteio_formats.record import Space
from liteio_objects.confirming import BATCH_REFS_MAX, Confirmer
from liteio_objects.drive_set import DriveSet
from liteio_objects.tasks import OwnedTasks
from liteio_testkit.faulty_drive import FaultyDrive
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.seeded_randomness import SeededRandomness


class CountingDrive(FaultyDrive):
    """Notes how many records each confirm is for."""

    def __init__(self, slot: int) -> None:
        clock = SystemClock()
        super().__init__(MemoryDrive(slot, clock, SeededRandomness(f"drive {slot}")), clock)
        self.groups: list[int] = []

    async def confirm(self, refs: Sequence[VersionRef], *, deadline: Deadline) -> None:
        self.groups.append(len(refs))
        await super().confirm(refs, deadline=deadline)


class Confirms:
    def __init__(self) -> None:
        self.drives = [CountingDrive(slot) for slot in range(4)]
        self.drive_set = DriveSet(tuple(self.drives), CodeParams(2, 2), 0)
        self.tasks = OwnedTasks()
        self.confirmer = Confirmer(SystemClock(), self.tasks)

    async def send(self, count: int) -> list[list[int]]:
        """Confirm so many records; the groups in which each drive hears of them."""
        for number in range(count):
            name = KeyName(Space.OBJECT, BucketId("b"), b"%d" % number)
            self.confirmer.confirm(self.drive_set, VersionRef(name, NULL_VERSION, HybridTime(1)))
        await self.tasks.drain(5)
        return [drive.groups for drive in self.drives]


async def test_writes_close_together_share_one_call_a_drive() -> None:
    assert await Confirms().send(10) == [[10]] * 4


async def test_very_many_travel_in_several_groups() -> None:
    assert await Confirms().send(BATCH_REFS_MAX + 1) == [[BATCH_REFS_MAX, 1]] * 4


async def test_a_drive_in_trouble_does_not_keep_the_others_from_their_confirms() -> None:
    confirms = Confirms()
    confirms.drives[0].set_offline()
    assert await confirms.send(BATCH_REFS_MAX + 1) == [[BATCH_REFS_MAX, 1]] * 4
    assert await confirms.send(1) == [[BATCH_REFS_MAX, 1, 1]] * 4
