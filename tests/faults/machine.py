"""`Machine`: real drives in folders under a store, in one process, over a Disk that can be made to fail."""

import asyncio
import hashlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from tests.faults.registry import FaultFound, require
from tests.support import drive_damage
from tests.support.disk import Disk
from tests.support.drive_check import DriveReport, report_on

from liteio_base.byte_span import ByteSpan
from liteio_base.clock import Clock, SystemClock
from liteio_base.deadline import Deadline
from liteio_base.ids import NULL_VERSION, VersionId
from liteio_contracts.locks import LockAPI
from liteio_contracts.object_errors import ObjectMissing, ReadQuorumLost
from liteio_contracts.object_layer import (
    BucketChange,
    BucketInfo,
    CreateBucket,
    DeleteObject,
    ListObjects,
    ObjectInfo,
    PutObject,
    ReadObject,
)
from liteio_contracts.storage import KeyName, StorageAPI
from liteio_drives.format_rules import Layout
from liteio_drives.format_set import open_drives
from liteio_drives.limits import DriveSettings
from liteio_drives.local_drive import LocalDrive
from liteio_drives.offline_drive import OfflineDrive
from liteio_erasure.code import CodeParams
from liteio_formats.bodies import Versioning
from liteio_formats.record import Space
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.maintenance import Upkeep, UpkeepTimes
from liteio_objects.store_map import StoreMap
from liteio_testkit.drive_census import Census, take_census
from liteio_testkit.intercepted_drive import Call, InterceptedDrive
from liteio_testkit.memory_locks import MemoryLocks
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.store_bench import PlainBody, read_all

Answer = TypeVar("Answer")
BUCKET: Final = "faults"
KIB: Final = 1024
# Shards of up to 64 KiB travel with the record; a block has 1 MiB.
INLINE: Final = 5_000
ONE_BLOCK: Final = 300 * KIB
BLOCKS: Final = 2 * 1024 * KIB + 12_345
USUAL: Final = DriveSettings(
    free_min_bytes=0, ballast_bytes=0, confirm_delay_seconds=0.0, orphan_grace_seconds=3600.0, unlink_delay_seconds=0.0
)
# What nobody names is garbage at once. Not for drives that are written to: a writer may be held up for a second.
EAGER: Final = replace(USUAL, orphan_grace_seconds=0.0)
PATIENCE_SECONDS: Final = 20.0
_CLEAN_TRIES: Final = 3


def content_of(seed: object, size: int) -> bytes:
    """No two seeds share a block."""
    return hashlib.shake_128(repr(seed).encode()).digest(size)


class AskedLast(InterceptedDrive):
    """A drive that passes for slow."""

    @property
    def is_likely_slow(self) -> bool:
        return True

    async def intercept(self, operation: str, call: Call[Answer], deadline: Deadline) -> Answer:
        answer: Awaitable[Answer] = call(deadline)
        return await answer


class Machine:
    """`start` and `stop`, or `die`, may be called again and again: the drives stay."""

    def __init__(
        self,
        folder: Path,
        *,
        width: int = 4,
        parity: int | None = None,
        seed: object = 0,
        settings: DriveSettings = USUAL,
        clock: Clock | None = None,
    ) -> None:
        self.code = CodeParams.for_set(width, parity)
        self.paths: Final = tuple(folder / f"d{number}" for number in range(width))
        self.disk = Disk(self.paths)
        self._disks = [self.disk]
        self.clock: Final = clock or SystemClock()
        self.settings = settings  # of the next start
        self._seed, self._starts = seed, 0
        self.locks: LockAPI = MemoryLocks()
        self.drives: tuple[StorageAPI, ...] = ()

    @property
    def randomness(self) -> SeededRandomness:
        return SeededRandomness(f"{self._seed}/{self._starts}")

    async def start(self, *, is_lenient: bool = False) -> None:
        """Format the drives if need be, open them, and build a store over them. `is_lenient`: do without those that can
        not be used, as a server does. Raises FormatRefused, FaultFound.
        """
        self._starts += 1
        opened = await open_drives(
            [str(path) for path in self.paths],
            Layout(1, self.code.width, self.code.m),
            clock=self.clock,
            randomness=self.randomness,
            settings=replace(self.settings, vfs=self.disk.vfs),
            files=self.disk.files,
        )
        self.deployment_id = opened.deployment_id
        self.use(opened.as_storage)
        lost = [drive.reason for drive in opened.drives if isinstance(drive, OfflineDrive)]
        require(is_lenient or not lost, f"drives that can not be used: {lost}")

    @property
    def is_whole(self) -> bool:
        """Whether all drives could be opened."""
        return all(isinstance(drive, LocalDrive) for drive in self.drives)

    @property
    def has_lost_drives(self) -> bool:
        """Whether some could not be opened."""
        return any(isinstance(drive, OfflineDrive) for drive in self.drives)

    async def open_drive(self, slot: int) -> LocalDrive:
        return await LocalDrive.open(
            str(self.paths[slot]),
            slot,
            clock=self.clock,
            randomness=self.randomness.fork(f"drive {slot}"),
            settings=replace(self.settings, vfs=self.disk.vfs),
            files=self.disk.files,
        )

    def use(self, drives: Sequence[StorageAPI]) -> None:
        """These drives, by slot, and a new store over them."""
        self.drives = tuple(drives)
        self.store = self.store_over(self.drives)

    def store_over(self, drives: Sequence[StorageAPI], name: str = "store", *, locks: LockAPI | None = None) -> Store:
        """Another process's store, as far as the drives can tell."""
        drive_set = DriveSet(tuple(drives), self.code, 0)
        randomness = self.randomness.fork(name)
        return Store(StoreMap(self.deployment_id, [drive_set]), self.clock, randomness, locks or self.locks)

    @property
    def drive_set(self) -> DriveSet:
        return self.store.engine.store_map.sets[0]

    @property
    def local_drives(self) -> tuple[LocalDrive, ...]:
        return cast("tuple[LocalDrive, ...]", self.drives)

    async def stop(self) -> None:
        await self.store.close()
        await self._close_drives()

    async def die(self) -> None:
        """As kill -9 ends a process: nothing of it reaches a disk any more, not even what a thread may still try."""
        self.disk.kill()
        with suppress(Exception):
            await self.store.close(0.0)
        me = asyncio.current_task()
        left = [task for task in asyncio.all_tasks() if task is not me]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await self._close_drives()
        self.disk = Disk(self.paths)
        self._disks.append(self.disk)

    async def restart(self, settings: DriveSettings) -> None:
        await self.stop()
        self.settings = settings
        await self.start()

    async def _close_drives(self) -> None:
        opened = [drive for drive in self.drives if isinstance(drive, LocalDrive)]
        self.drives = ()
        await asyncio.gather(*(drive.close() for drive in opened), return_exceptions=bool(self.disk.dead))

    def end(self) -> None:
        """Nothing of it is open any more."""
        for disk in self._disks:
            disk.close()

    # -- short words

    @property
    def soon(self) -> Deadline:
        return Deadline.after(PATIENCE_SECONDS, self.clock)

    async def make_bucket(self, name: str = BUCKET, versioning: Versioning | None = None) -> None:
        await self.store.create_bucket(CreateBucket(name, "owner"), deadline=self.soon)
        if versioning is not None:
            await self.store.change_bucket(name, BucketChange(versioning=versioning), deadline=self.soon)

    async def put(self, key: str, content: bytes, *, bucket: str = BUCKET, store: Store | None = None) -> ObjectInfo:
        return await (store or self.store).put(PutObject(bucket, key), PlainBody(content), deadline=self.soon)

    async def get(
        self, key: str, version_id: VersionId | None = None, *, bucket: str = BUCKET, store: Store | None = None
    ) -> bytes | None:
        """None when there is nothing. Raises what else the store raises."""
        try:
            reader = await (store or self.store).open(ReadObject(bucket, key, version_id), deadline=self.soon)
        except ObjectMissing:
            return None
        return await read_all(reader, ByteSpan(0, reader.info.size_bytes))

    async def delete(self, key: str, *, bucket: str = BUCKET) -> None:
        await self.store.delete(DeleteObject(bucket, key), deadline=self.soon)

    async def list_keys(self, *, bucket: str = BUCKET, limit: int = 1000) -> list[str]:
        found: list[str] = []
        after = ""
        while True:
            page = await self.store.list_objects(ListObjects(bucket, after=after, limit=limit), deadline=self.soon)
            found += [info.key for info in page.objects]
            if not page.is_truncated:
                return found
            after = page.next_after

    async def rest(self) -> None:
        """Until confirms and stragglers have reached their end."""
        await self.store.engine.tasks.drain(PATIENCE_SECONDS)

    @asynccontextmanager
    async def asking_first(self, slots: Collection[int]) -> AsyncIterator[None]:
        """Meanwhile the store asks these drives before all others, which pass for slow."""
        usual = self.store
        drives = [drive if drive.slot in slots else AskedLast(drive) for drive in self.drives]
        self.store = self.store_over(drives, "asks some first")
        try:
            yield
        finally:
            await self.store.close()
            self.store = usual

    # -- maintenance and judgement

    async def settle(self) -> None:
        """What the maintenance process does, until nothing is left to do."""
        patience = 0.0 if self.has_lost_drives else 3600.0
        upkeep = Upkeep(self.store, UpkeepTimes(unsettled_seconds=0.0, trust_seconds=patience))
        await self.rest()
        for work in (upkeep.settle_left_over, upkeep.rebuild_drives, upkeep.scan, upkeep.collect_garbage):
            try:
                await work()
            except ReadQuorumLost:  # Too few drives are left to compare.
                if not self.has_lost_drives:
                    raise
        await self.rest()

    async def verify(self) -> None:
        """What the deep scan does: read and hash everything, and heal."""
        await self.store.healer.scan(self.drive_set, verify=True)

    async def report(self) -> DriveReport:
        return await report_on(self.drives, self.paths, collects=False)

    async def require_clean(self, what: str) -> DriveReport:
        """Started again to clear up, every drive counts and holds every version whole, nothing is unsettled, every file
        has a name. The machine is not to be written to afterwards."""
        if self.settings is not EAGER:
            await self.restart(EAGER)
            await self.settle()
        for _ in range(_CLEAN_TRIES):
            report = await self.report()
            if report.is_clean:
                statuses = [await drive.status(deadline=self.soon) for drive in self.drives]
                unchecked = [status.slot for status in statuses if status.is_unchecked]
                require(not unchecked, f"{what}: drives {unchecked} were not compared since the machine restarted")
                return report
            await asyncio.sleep(0.3)
            await self.settle()
        raise FaultFound(f"{what}: {report}")

    async def census(self, key: str, version_id: VersionId = NULL_VERSION, *, bucket: str = BUCKET) -> Census:
        return await take_census(self.drives, await self.name_of(key, bucket), version_id, deadline=self.soon)

    async def name_of(self, key: str, bucket: str = BUCKET) -> KeyName:
        return KeyName(Space.OBJECT, (await self.bucket(bucket)).bucket_id, key.encode())

    async def bucket(self, name: str = BUCKET) -> BucketInfo:
        return await self.store.bucket(name, deadline=self.soon)

    def empty(self, slot: int) -> None:
        """A new disk in the place of the old one."""
        drive_damage.empty(self.paths[slot])

    def shard_files(self, slot: int) -> list[Path]:
        return sorted(path for path in (self.paths[slot] / "data").rglob("*") if path.is_file())


@asynccontextmanager
async def machine_in(folder: Path, *, is_started: bool = True, **options: Any) -> AsyncIterator[Machine]:
    """A machine with a bucket, stopped at the end and its drives removed."""
    place = Path(tempfile.mkdtemp(prefix="machine-", dir=folder))
    machine = Machine(place, **options)
    try:
        if is_started:
            await machine.start()
            await machine.make_bucket()
        yield machine
        if machine.drives:
            await machine.stop()
    finally:
        machine.end()
        shutil.rmtree(place, ignore_errors=True)
