"""`Engine`: the parts that every role of the object layer works with, built once a process."""

from collections.abc import Callable
from dataclasses import dataclass

import msgspec

from liteio_base.clock import Clock, Randomness
from liteio_base.deadline import Deadline
from liteio_contracts.locks import LockAPI
from liteio_contracts.object_errors import ConditionalConflict
from liteio_contracts.storage import CasScope, KeyName, VersionRef
from liteio_formats.record import Kind, Record
from liteio_objects.committing import Committer, VersionWrite
from liteio_objects.company import Companies
from liteio_objects.confirming import Confirmer
from liteio_objects.drive_set import DriveSet
from liteio_objects.homes import Homes
from liteio_objects.hybrid_clock import HybridClock
from liteio_objects.key_reading import KeyReader
from liteio_objects.map_keeping import MapKeeper, OpenPool, no_pools
from liteio_objects.resolving import Resolver
from liteio_objects.settling import Settler
from liteio_objects.shard_io import ShardIO
from liteio_objects.store_map import StoreMap
from liteio_objects.tasks import OwnedTasks


@dataclass(frozen=True, slots=True)
class Engine:
    maps: MapKeeper
    clock: Clock
    randomness: Randomness
    locks: LockAPI
    tasks: OwnedTasks
    shard_io: ShardIO
    confirmer: Confirmer
    settler: Settler
    reader: KeyReader
    committer: Committer
    resolver: Resolver
    homes: Homes
    companies: Companies
    on_incomplete: Callable[[DriveSet, VersionRef], None]

    @property
    def store_map(self) -> StoreMap:
        """The map of now. An operation takes it once: the places it finds and the topology it names belong together."""
        return self.maps.current

    @classmethod
    def build(
        cls,
        store_map: StoreMap,
        clock: Clock,
        randomness: Randomness,
        locks: LockAPI,
        on_incomplete: Callable[[DriveSet, VersionRef], None],
        open_pool: OpenPool = no_pools,
    ) -> "Engine":
        maps = MapKeeper(store_map, open_pool)
        tasks = OwnedTasks()
        shard_io = ShardIO(clock, tasks)
        confirmer = Confirmer(clock, tasks)
        settler = Settler(confirmer)
        reader = KeyReader(settler, tasks)
        committer = Committer(reader, confirmer, HybridClock(clock, randomness), randomness, tasks, on_incomplete)
        resolver = Resolver(reader, lambda name: maps.current.sets_of(name))
        homes = Homes(maps, reader, committer, clock)
        committer.may_stay = homes.may_stay
        return cls(
            maps,
            clock,
            randomness,
            locks,
            tasks,
            shard_io,
            confirmer,
            settler,
            reader,
            committer,
            resolver,
            homes,
            Companies(),
            on_incomplete,
        )

    def report_bad_shard(self, drive_set: DriveSet, record: Record) -> None:
        """A read found a shard of this record missing or wrong: have it looked at."""
        name = KeyName(record.space, record.bucket_id, record.key)
        self.on_incomplete(drive_set, VersionRef(name, record.version_id, record.time))

    async def remove_record(self, drive_set: DriveSet, record: Record, *, deadline: Deadline) -> None:
        """Tombstone the null version that `record` is, unless it has changed since: nobody's
        configuration is checked."""

        def must_be_the_same(now: Record | None) -> None:
            if now is None or now.time != record.time:
                raise ConditionalConflict("the record has changed")

        draft = msgspec.structs.replace(
            record, kind=Kind.TOMBSTONE, parts=(), metadata={}, tags="", checksum=None, body=b"", size_bytes=0
        )
        name = KeyName(record.space, record.bucket_id, record.key)
        write = VersionWrite(name, draft, scope=CasScope.VERSION, check=must_be_the_same)
        await self.committer.write(drive_set, write, deadline=deadline)
