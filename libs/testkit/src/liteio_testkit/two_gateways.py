"""`TwoGateways`: a store and another gateway over the same watched drives, whose wall clock can be wrong."""

from liteio_base.clock import SystemClock
from liteio_contracts.storage import KeyName
from liteio_formats.record import Space
from liteio_objects.drive_set import DriveSet
from liteio_testkit.store_bench import StoreBench
from liteio_testkit.watched_drive import WatchedDrive


class SteppedClock(SystemClock):
    """The machine's clocks, of which the wall clock can be wrong."""

    wrong_by_ns = 0

    def now_ns(self) -> int:
        return SystemClock.now_ns() + self.wrong_by_ns


class TwoGateways(StoreBench):
    watched: list[WatchedDrive]
    wall: SteppedClock
    other: StoreBench  # another gateway over the same drives

    @property
    def drive_set(self) -> DriveSet:
        return self.store.engine.store_map.sets[0]

    def count_anew(self) -> None:
        for drive in self.watched:
            drive.count_anew()

    def counts(self, what: str) -> list[int]:
        return [getattr(drive, what) for drive in self.watched]

    async def name(self, key: str) -> KeyName:
        info = await self.store.bucket("photos", deadline=self.deadline)
        return KeyName(Space.OBJECT, info.bucket_id, key.encode())

    async def check_gone(self, key: str) -> None:
        """Settle the key; then every drive holds one tombstone and nothing else."""
        await self.settle()
        name = await self.name(key)
        await self.other.store.healer.heal_key(self.drive_set, name)
        await self.other.settle()
        held = [drive.held(name) for drive in self.drives]
        assert [(len(each.rows), len(each.tombstones)) for each in held] == [(0, 1)] * len(held)
        assert len({each.tombstones[0].digest for each in held}) == 1
