"""Seeded histories: several gateways write, read and delete while pools are added, weighed and epochs given up.

A model says what each key may hold; every key has one home at most, whatever came between.
"""

import asyncio
import random
from collections.abc import Coroutine
from typing import Any, Final

import pytest

from liteio_contracts.object_errors import ConditionalConflict, ObjectMissing, QuorumLost, ReadQuorumLost
from liteio_contracts.object_layer import DeleteObject, ListObjects, SetTags
from liteio_objects.layer import Store
from liteio_objects.topology_changes import TopologyChanger
from liteio_placement.errors import TopologyRefused
from liteio_testkit.growing_store import BUCKET, GrowingStore
from liteio_testkit.sim import Sim, run_sim

KEYS: Final = [f"key {number}" for number in range(30)]
ROUNDS: Final = 40
POOLS_MAX: Final = 4
BIG: Final = 400_000  # beyond what is kept inline


class History:
    """`may_hold`: what each key may hold, None for nothing; several after a write of unknown outcome."""

    def __init__(self, sim: Sim) -> None:
        self.random = random.Random(sim.seed)
        self.world = GrowingStore(seed=f"history {sim.seed}", clock=sim.clock)
        self.gateways = [self.world.gateway() for _ in range(4)]
        self.may_hold: dict[str, set[bytes | None]] = {key: {None} for key in KEYS}
        self.written = 0

    async def run(self) -> None:
        await self.world.make_bucket(self.gateways[0])
        for _ in range(ROUNDS):
            work: list[Coroutine[Any, Any, None]] = [self._use(key) for key in self.random.sample(KEYS, 6)]
            if self.random.random() < 0.3:
                work.append(self._change(self.gateways[0]))
            await asyncio.gather(*work)
        for key in KEYS:
            await self._look(self.random.choice(self.gateways), key)
            assert len(await self.world.homes(self.gateways[0], key)) <= 1, key
        await self._list(self.world.gateway())
        for gateway in self.gateways:
            await self._list(gateway)

    async def _use(self, key: str) -> None:
        """One key is used by one caller at a time: what it may hold is known."""
        for _ in range(2):
            act = self.random.choice((self._put, self._put, self._delete, self._tag, self._look, self._look))
            await act(self.random.choice(self.gateways), key)

    async def _put(self, store: Store, key: str) -> None:
        self.written += 1
        content = b"%06d" % self.written * (1 if self.random.random() < 0.8 else BIG // 6)
        try:
            await self.world.put(store, key, content)
        except QuorumLost:
            self.may_hold[key].add(content)
        else:
            self.may_hold[key] = {content}

    async def _delete(self, store: Store, key: str) -> None:
        try:
            await store.delete(DeleteObject(BUCKET, key), deadline=self.world.deadline)
        except QuorumLost:
            self.may_hold[key].add(None)
        else:
            self.may_hold[key] = {None}

    async def _tag(self, store: Store, key: str) -> None:
        try:
            await store.set_tags(SetTags(BUCKET, key, None, "a=b"), deadline=self.world.deadline)
        except ObjectMissing:
            assert None in self.may_hold[key]
            self.may_hold[key] = {None}
        except (QuorumLost, ConditionalConflict):  # A write in doubt may come to light between reading and writing.
            pass

    async def _look(self, store: Store, key: str) -> None:
        try:
            found: bytes | None = await self.world.get(store, key)
        except ObjectMissing:
            found = None
        except ReadQuorumLost:
            return
        assert found in self.may_hold[key], key
        self.may_hold[key] = {found}

    async def _list(self, store: Store) -> None:
        page = await store.list_objects(ListObjects(BUCKET), deadline=self.world.deadline)
        shown = [info.key for info in page.objects]
        assert shown == sorted(key for key in KEYS if self.may_hold[key] != {None})

    async def _change(self, store: Store) -> None:
        """Sometimes by a gateway that has not heard of the last change."""
        changer, world = TopologyChanger(self.random.choice([store, *self.gateways])), self.world
        weights = {pool: self.random.choice((0, 1, 3)) for pool in range(len(world.drives))}
        choice = self.random.random()
        try:
            if choice < 0.5 and len(world.drives) < POOLS_MAX:
                pool = world.new_pool(*self.random.choice(((1, 4, 2), (2, 3, 1), (1, 2, 1))))
                world.record = await changer.add_pool(
                    pool, weights | {len(world.drives) - 1: 2}, deadline=world.deadline
                )
            elif choice < 0.8:
                world.record = await changer.weigh_pools(weights, deadline=world.deadline)
            else:
                world.record = await changer.retire_epochs(deadline=world.deadline)
        except TopologyRefused:
            assert not any(weights.values())  # No pool would take keys.


@pytest.mark.parametrize("seed", range(1, 17))
def test_a_history_over_growing_pools_is_that_of_one_store(seed: int) -> None:
    run_sim(lambda sim: History(sim).run(), seed)
