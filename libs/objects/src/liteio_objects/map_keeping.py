"""`MapKeeper`: the map by which this process finds keys, and how it comes by a newer one.

docs/formats/topology.md, "Changes", gives the rules: a topology is *active* once W drives of the first set and N-W+1 of
every other one keep it. From then on no commit that names an older one can reach W drives, and whoever reads a bucket
hears of it.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

import msgspec

from liteio_base.deadline import Deadline
from liteio_contracts.object_errors import OperationTimeout, WriteQuorumLost
from liteio_contracts.storage import StorageAPI, StoredTopology
from liteio_contracts.storage_errors import StaleTopology
from liteio_formats.checked_json import FormatError
from liteio_formats.topology import TopologyRecord, decode_topology, encode_topology
from liteio_objects.drive_set import Answers, DriveSet, ask_most, errors, values
from liteio_objects.store_map import StoreMap
from liteio_placement.errors import TopologyRefused

_log = logging.getLogger(__name__)
T = TypeVar("T")

OpenPool = Callable[[TopologyRecord, int, int], Awaitable[Sequence[DriveSet]]]
"""Opens the sets of a pool: the record, the pool's index, the number of its first set."""

# Long enough for a slow disk to sync, short enough that a request still has time to be tried again.
CALL_SECONDS: Final = 4.0
PAUSE_SECONDS: Final = 0.05


async def no_pools(record: TopologyRecord, pool: int, first_set: int) -> Sequence[DriveSet]:
    """For stores whose drives were all named when they were opened."""
    raise OperationTimeout(f"topology {record.number} has a pool that this process can not reach")


class MapKeeper:
    """`current` is the map of now; an operation takes it once and acts on that. `is_sure`: its topology is known to be
    active. The one that a process begins with may be a change under way: it is refreshed before anything rests on it.
    """

    def __init__(self, store_map: StoreMap, open_pool: OpenPool = no_pools) -> None:
        self.current = store_map
        self.is_sure = store_map.record is None or store_map.number == 1
        self._open_pool = open_pool
        self._changing = asyncio.Lock()

    async def catch_up(self, *, deadline: Deadline) -> None:
        """After a drive has refused a commit because of its topology. Raises as `refresh`."""
        before = self.current
        await self.refresh(deadline=deadline)
        if self.current is before:  # The drive that told of it does not answer now.
            await deadline.clock.sleep(PAUSE_SECONDS)

    async def refresh(self, *, deadline: Deadline) -> None:
        """Act on the newest topology that any drive keeps. Where its change was not carried to its end, it is here.

        Raises WriteQuorumLost when it can not be: then nobody can tell by which topology keys are placed. Raises
        OperationTimeout for a topology that this process can not use.
        """
        before = self.current
        async with self._changing:
            if self.current is not before:
                return
            newest = await self._newest(deadline)
            if newest.number > before.number or (not self.is_sure and newest.number == before.number):
                store_map = await self._map_of(newest)
                self.current = store_map if newest.is_active else await self._carried_on(store_map, deadline)
                _log.info("topology %s is acted on from now on", self.current.number)
            elif not self.is_sure:  # No drive that answers keeps what this process was told of.
                self.current = await self._carried_on(before, deadline)
            self.is_sure = True

    async def change_to(self, record: TopologyRecord, *, deadline: Deadline) -> None:
        """Make it the store's topology: active on the drives, acted on here. Raises TopologyRefused, WriteQuorumLost
        (some drives may keep it: whoever meets it there tries to carry it to its end), OperationTimeout."""
        async with self._changing:
            store_map = await self._extended_by(record)
            await self._give(store_map, deadline)
            self.current, self.is_sure = store_map, True

    async def give_to(self, drive: StorageAPI, *, deadline: Deadline) -> None:
        """Have one drive keep the present topology: it was away, or is a new one. Raises StorageError."""
        store_map = self.current
        if store_map.record is None or not self.is_sure:
            return
        kept = await drive.read_topology(deadline=deadline)
        if kept.number < store_map.number:
            stored = StoredTopology(store_map.number, encode_topology(store_map.record), is_active=True)
            await drive.write_topology(stored, deadline=deadline)

    async def _give(self, store_map: StoreMap, deadline: Deadline) -> None:
        """Have the drives of all pools keep it, and tell them when enough do. Raises WriteQuorumLost."""
        if store_map.record is None:
            return
        stored = StoredTopology(store_map.number, encode_topology(store_map.record))
        for drive_set, given in zip(store_map.sets, await _write(store_map.sets, stored, deadline), strict=True):
            code, taken = drive_set.code, len(values(given))
            needed = code.read_quorum if drive_set.set_index else code.write_quorum
            if taken < needed:
                problem = f"too few drives of set {drive_set.set_index} keep topology {store_map.number}"
                raise WriteQuorumLost(problem, needed=needed, got=taken, causes=errors(given))
        await _write(store_map.sets, StoredTopology(stored.number, stored.encoded, is_active=True), deadline)

    async def _newest(self, deadline: Deadline) -> StoredTopology:
        """The greatest number that any drive keeps; of rivals with one number the active one, or the one that most
        drives of the first set keep: no other can become active."""
        kept = [list(values(given).values()) for given in await _read(self.current.sets, deadline)]
        holders = Counter(stored.encoded for stored in kept[0])
        return max(
            (stored for given in kept for stored in given),
            key=lambda each: (each.number, each.is_active, holders[each.encoded], each.encoded),
            default=StoredTopology(),
        )

    async def _carried_on(self, store_map: StoreMap, deadline: Deadline) -> StoreMap:
        """The map of a change that is now carried to its end. Two changes at once, which no lock held back, may have
        left their records on so many drives each that neither can become active: then one of them is made anew with
        the next number. Raises WriteQuorumLost."""
        try:
            await self._give(store_map, deadline)
        except WriteQuorumLost as lost:
            is_refused = any(isinstance(cause, StaleTopology) for cause in lost.causes)
            if store_map.record is None or not is_refused or not await self._has_no_active_rival(store_map, deadline):
                raise
            again = msgspec.structs.replace(store_map.record, number=store_map.number + 1)
            store_map = StoreMap(again.deployment_id, store_map.sets, again)
            await self._give(store_map, deadline)
        return store_map

    async def _has_no_active_rival(self, store_map: StoreMap, deadline: Deadline) -> bool:
        """Whether no other record of this number, nor a newer one, is or can become active: fewer than W drives of the
        first set keep it, or might."""
        first = store_map.sets[0]
        [given] = await _read([first], deadline)
        kept = [stored for stored in values(given).values() if stored.number >= store_map.number]
        unsure = first.code.width - len(kept)
        ours = encode_topology(store_map.record) if store_map.record is not None else b""
        rivals = Counter(stored.encoded for stored in kept if stored.encoded != ours)
        return all(count + unsure < first.code.write_quorum for count in rivals.values()) and not any(
            stored.number > store_map.number for stored in kept
        )

    async def _map_of(self, stored: StoredTopology) -> StoreMap:
        try:
            return await self._extended_by(decode_topology(stored.encoded))
        except (FormatError, TopologyRefused) as problem:
            raise OperationTimeout(f"topology {stored.number} can not be used: {problem}") from problem

    async def _extended_by(self, record: TopologyRecord) -> StoreMap:
        """The map of a newer record: the sets that are open, and those of its new pools. Raises TopologyRefused."""
        before = self.current
        known = before.record.pools if before.record is not None else ()
        if record.pools[: len(known)] != known or len(record.pools) < len(before.topology.pools):
            raise TopologyRefused("its pools are not those of before", f"topology {record.number}", "only append pools")
        sets = list(before.sets)
        for pool in range(len(before.topology.pools), len(record.pools)):
            sets += await self._open_pool(record, pool, len(sets))
        return StoreMap(record.deployment_id, sets, record)


async def _read(sets: Sequence[DriveSet], deadline: Deadline) -> list[Answers[StoredTopology]]:
    return await _of_each(sets, lambda drive, soon: drive.read_topology(deadline=soon), deadline)


async def _write(sets: Sequence[DriveSet], stored: StoredTopology, deadline: Deadline) -> list[Answers[None]]:
    return await _of_each(sets, lambda drive, soon: drive.write_topology(stored, deadline=soon), deadline)


async def _of_each(
    sets: Sequence[DriveSet], call: Callable[[StorageAPI, Deadline], Awaitable[T]], deadline: Deadline
) -> list[Answers[T]]:
    """What the drives of each set answer, set by set."""
    soon = deadline.sooner(CALL_SECONDS)
    asked = (ask_most(each, each.slots, lambda drive: call(drive, soon), deadline=soon) for each in sets)
    return list(await asyncio.gather(*asked))
