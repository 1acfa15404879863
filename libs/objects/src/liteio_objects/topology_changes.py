"""Changing a store's topology: adding a pool, weighing pools, retiring epochs. docs/formats/topology.md, "Changes".

Each step is one record with the next number, active on the drives before the next step begins. What a process that dies
leaves half done, the same call carries on.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from liteio_base.deadline import Deadline
from liteio_base.ids import BucketId
from liteio_contracts.object_errors import ReadQuorumLost, WriteQuorumLost
from liteio_contracts.storage import DriveStatus, KeyName
from liteio_formats.keys import split_upload_key
from liteio_formats.record import Space
from liteio_formats.topology import EpochRecord, PoolRecord, TopologyRecord
from liteio_objects.drive_set import DriveSet, ask_drives, errors, values
from liteio_objects.layer import Store
from liteio_objects.locking import hold, object_lock_of
from liteio_objects.store_map import topology_of
from liteio_placement.errors import TopologyRefused

_log = logging.getLogger(__name__)

TOPOLOGY_LOCK: Final = b"topology"
# Weights by free space are shares of this: fine enough for a pool of a thousandth of the store.
WEIGHT_SHARES: Final = 10_000
WALK_PAGE: Final = 1000
CALL_SECONDS: Final = 30.0

_LOOKED_FOR: Final = (Space.OBJECT, Space.UPLOAD)

Weights = Mapping[int, int]
"""By pool: how many of the new keys it takes, in proportion."""


class TopologyChanger:
    """Changes the topology of a store that has a record of it. One change at a time: each holds a lock.

    Methods raise TopologyRefused for what contradicts itself, WriteQuorumLost when too few drives of a set answer.
    """

    def __init__(self, store: Store) -> None:
        self._store, self._engine = store, store.engine

    async def add_pool(self, pool: PoolRecord, weights: Weights | None = None, *, deadline: Deadline) -> TopologyRecord:
        """Append a pool, give it every bucket's record, then let it take new keys. No key moves.

        weights: of all pools from now on; None: by their free space. Called again for a pool that is there already, it
        does what is left to do.
        """
        async with hold(self._engine, [TOPOLOGY_LOCK], deadline=deadline):
            record = await self._begin(deadline)
            if pool not in record.pools:
                record = await self._change_to(record, deadline, pools=(*record.pools, pool))
            added = record.pools.index(pool)
            if added in _listed(record):
                return record
            await self._store.copy_buckets(self._engine.store_map.sets_of_pool(added), deadline=deadline)
            return await self._open_epoch(record, weights, added, deadline)

    async def weigh_pools(self, weights: Weights | None = None, *, deadline: Deadline) -> TopologyRecord:
        """Spread new keys by these weights from now on, or by free space. A pool of weight 0 takes none; what is in it
        stays, and is found."""
        async with hold(self._engine, [TOPOLOGY_LOCK], deadline=deadline):
            record = await self._begin(deadline)
            return await self._open_epoch(record, weights, None, deadline)

    async def retire_epochs(self, *, deadline: Deadline) -> TopologyRecord:
        """Give up the epochs that no key needs, so that fewer places are looked in. Reads the name of every key.

        An epoch is given up when every key that any drive remembers, be it by a tombstone or an upload, lies in a set
        that a younger or older live epoch gives it, too; and that is known only while every drive of every set answers
        and is whole. The newest epoch stays. Keys are not moved for it.
        """
        async with hold(self._engine, [TOPOLOGY_LOCK], deadline=deadline):
            record = await self._begin(deadline)
            if len(record.epochs) < 2:
                return record
            needed = await self._epochs_needed(deadline)
            kept = tuple(epoch for epoch in record.epochs if epoch.number in needed)
            if kept == record.epochs:
                return record
            return await self._change_to(record, deadline, epochs=kept)

    # --- how

    async def _begin(self, deadline: Deadline) -> TopologyRecord:
        """The record of now, when each set has drives enough for a change to become active."""
        await self._engine.maps.refresh(deadline=deadline)
        store_map = self._engine.store_map
        if store_map.record is None:
            raise TopologyRefused("it was opened without a record", "topology", "open the store over storage nodes")
        for drive_set in store_map.sets:
            await self._statuses(drive_set, drive_set.code.write_quorum)
        return store_map.record

    async def _change_to(
        self,
        record: TopologyRecord,
        deadline: Deadline,
        *,
        pools: tuple[PoolRecord, ...] | None = None,
        epochs: tuple[EpochRecord, ...] | None = None,
    ) -> TopologyRecord:
        changed = msgspec.structs.replace(
            record, number=record.number + 1, pools=pools or record.pools, epochs=epochs or record.epochs
        )
        topology_of(changed)  # Raises TopologyRefused before any drive hears of it.
        await self._engine.maps.change_to(changed, deadline=deadline)
        _log.info("topology %s: %s pools, epochs %s", changed.number, len(changed.pools), changed.epochs)
        return changed

    async def _open_epoch(
        self, record: TopologyRecord, weights: Weights | None, added: int | None, deadline: Deadline
    ) -> TopologyRecord:
        """Append an epoch, which lists every pool that was added; those that place every key as it does go."""
        pools = _listed(record) | ({added} if added is not None else set())
        chosen = weights if weights is not None else await self._by_free_space(record, added)
        if strange := sorted({pool for pool, weight in chosen.items() if weight} - pools):
            raise TopologyRefused(f"pools {strange} take no keys yet", "weights", "add them first")
        pairs = tuple((pool, chosen.get(pool, 0)) for pool in sorted(pools))
        if pairs == record.epochs[-1].weights:
            return record
        epoch = EpochRecord(number=record.epochs[-1].number + 1, weights=pairs)
        others = tuple(each for each in record.epochs if _shares(each) != _shares(epoch))
        return await self._change_to(record, deadline, epochs=(*others, epoch))

    async def _by_free_space(self, record: TopologyRecord, added: int | None) -> Weights:
        """Shares by what can still be stored. A pool that was weighed 0 stays so."""
        newest = dict(record.epochs[-1].weights)
        store_map = self._engine.store_map
        free = {
            pool: await self._free_bytes(store_map.sets_of_pool(pool))
            for pool in range(len(record.pools))
            if newest.get(pool, 0) > 0 or pool == added
        }
        total = sum(free.values())
        if not total:
            raise TopologyRefused("no pool has free space", "weights", "give weights, or add a pool that has")
        return {pool: max(1, round(WEIGHT_SHARES * room / total)) for pool, room in free.items()}

    async def _free_bytes(self, sets: Sequence[DriveSet]) -> int:
        """Of object data: a set is as full as its fullest drive."""
        free = 0
        for drive_set in sets:
            statuses = await self._statuses(drive_set, drive_set.code.write_quorum)
            free += drive_set.code.k * min(status.free_bytes for status in statuses)
        return free

    async def _statuses(self, drive_set: DriveSet, needed: int) -> list[DriveStatus]:
        """Raises WriteQuorumLost when fewer than `needed` drives answer."""
        soon = self._deadline()
        answers = await ask_drives(drive_set, drive_set.slots, lambda drive: drive.status(deadline=soon))
        found = list(values(answers).values())
        if len(found) < needed:
            problem = f"the topology is not changed while set {drive_set.set_index} is so short of drives"
            raise WriteQuorumLost(problem, needed=needed, got=len(found), causes=errors(answers))
        return found

    # --- which epochs are needed

    async def _epochs_needed(self, deadline: Deadline) -> set[int]:
        """The newest epoch, and those that together give every key the set in which it lies; young ones first."""
        numbers = [epoch.number for epoch in self._engine.store_map.topology.epochs]
        ways: set[frozenset[int]] = set()  # of each key found somewhere: the epochs that lead there
        for drive_set in self._engine.store_map.sets:
            ways |= await self._ways_to(drive_set, numbers[-1], deadline)
        kept = set(numbers)
        for number in numbers[:-1]:
            if all(way & kept - {number} for way in ways):
                kept.remove(number)
        return kept

    async def _ways_to(self, drive_set: DriveSet, newest: int, deadline: Deadline) -> set[frozenset[int]]:
        """By which epochs the keys in a set are found there, but for those that the newest one finds."""
        store_map = self._engine.store_map
        ways: set[frozenset[int]] = set()
        after: KeyName | None = None
        while True:
            names, after = await self._walk_page(drive_set, after)
            for name in names:
                key = split_upload_key(name.key)[0] if name.space is Space.UPLOAD else name.key
                way = store_map.epochs_to(drive_set, name.bucket_id, key)
                if newest in way:
                    continue
                if way:
                    ways.add(way)
                else:
                    _log.error("set %s holds %s, which no epoch places there", drive_set.set_index, name)
                await self._clear_strays(name.bucket_id, key, deadline)
            if after is None:
                return ways

    async def _clear_strays(self, bucket_id: BucketId, key: bytes, deadline: Deadline) -> None:
        """Have a key that lives in one of its places removed from the others."""
        async with hold(self._engine, [object_lock_of(bucket_id, key)], deadline=deadline):
            await self._engine.homes.find(bucket_id, key, deadline=deadline)

    async def _walk_page(self, drive_set: DriveSet, after: KeyName | None) -> tuple[list[KeyName], KeyName | None]:
        """Objects and uploads that any drive of the set remembers, and where to go on; None at the end. Raises
        ReadQuorumLost unless every drive answers and is whole."""
        soon = self._deadline()
        statuses = await self._statuses(drive_set, drive_set.code.width)
        pages = await ask_drives(drive_set, drive_set.slots, lambda drive: drive.walk(after, WALK_PAGE, deadline=soon))
        given = values(pages)
        if len(given) < drive_set.code.width or not all(status.is_authoritative for status in statuses):
            problem = f"which epochs are needed is known only while all drives of set {drive_set.set_index} are whole"
            raise ReadQuorumLost(problem, needed=drive_set.code.width, got=len(given), causes=errors(pages))
        full = [KeyName(*page[-1]) for page in given.values() if len(page) >= WALK_PAGE]
        end = min(full, default=None)
        names = sorted({KeyName(*name) for page in given.values() for name in page})
        told = [name for name in names if name.space in _LOOKED_FOR and (end is None or name <= end)]
        return told, end

    def _deadline(self) -> Deadline:
        return Deadline.after(CALL_SECONDS, self._engine.clock)


def _listed(record: TopologyRecord) -> set[int]:
    """The pools that were added to their end: they have the buckets' records, whether they take keys now or not."""
    return {pool for pool, _ in record.epochs[-1].weights}


def _shares(epoch: EpochRecord) -> dict[int, int]:
    """Epochs of the same shares, in the same order, place every key alike."""
    return {pool: weight for pool, weight in epoch.weights if weight}
