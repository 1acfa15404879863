"""A store that grows under load: pools are added and weighed, and epochs given up, while gateways that may not have
heard of it write and read over a rough network, and drives go away within parity.

Checked: each key is a linearizable register; in the quiet after, every gateway finds and lists the same; and a key that
is written then has one home.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

from tests.sim.processes import install
from tests.sim.sim_drive import SimDrive
from tests.sim.world import PLANS, Draw

from liteio_base.deadline import Deadline
from liteio_contracts.object_errors import (
    ConditionalConflict,
    ObjectError,
    ObjectMissing,
    OperationTimeout,
    PreconditionFailed,
    QuorumLost,
)
from liteio_contracts.object_layer import (
    CreateBucket,
    DeleteObject,
    ListObjects,
    PutObject,
    ReadObject,
    WriteCondition,
)
from liteio_objects.layer import Store
from liteio_objects.maintenance import Upkeep
from liteio_objects.topology_changes import TopologyChanger
from liteio_placement.errors import TopologyRefused
from liteio_testkit.growing_store import BUCKET, GrowingStore
from liteio_testkit.history import Action, Ledger
from liteio_testkit.memory_locks import LyingLocks, MemoryLocks
from liteio_testkit.sim import Sim, run_sim
from liteio_testkit.sim_network import CALM
from liteio_testkit.store_bench import PlainBody, read_all

GATEWAYS: Final = 3
CLIENTS: Final = 5
KEYS: Final = tuple(f"key{number}" for number in range(6))
OPERATIONS: Final = 14  # of each client
CHANGES: Final = 5
SHAPES: Final = ((1, 4, 2), (2, 3, 1), (1, 2, 1))
POOLS_MAX: Final = 3
SETTLE_SECONDS: Final = 120.0


class Growth:
    """One seed's run."""

    def __init__(self, sim: Sim) -> None:
        install(sim)
        self.sim = sim
        self.draw = Draw(sim.seed).fork("growth")
        sim.network.plan = self.draw.one_of(PLANS)
        locks = MemoryLocks() if self.draw.chance(0.5) else LyingLocks()
        sim.log(f"{sim.network.plan}, {type(locks).__name__}")
        self.world = GrowingStore(
            seed=f"growth {sim.seed}",
            clock=sim.clock,
            locks=locks,
            make_drive=lambda slot, clock, randomness: SimDrive(sim.log, slot, clock, randomness),
        )
        self.gateways = [self._gateway(number) for number in range(GATEWAYS)]
        self.ledger = Ledger()
        self.written = 0
        self.changes = 0
        self.is_over = False

    def _gateway(self, number: int) -> Store:
        return self.world.gateway(reach=lambda drive: self.sim.network.link(f"gw{number}", drive))

    async def run(self) -> dict[str, int]:
        """How often what happened."""
        quiet = self.sim.network.plan
        self.sim.network.plan = CALM
        await self.gateways[0].create_bucket(CreateBucket(BUCKET, "root"), deadline=self._deadline(60))
        self.sim.network.plan = quiet
        breaking = asyncio.ensure_future(self._break_drives())
        await asyncio.gather(
            *(self._client(f"c{number}") for number in range(CLIENTS)),
            *(self._change_now_and_then(number) for number in range(CHANGES)),
        )
        self.is_over = True
        await breaking
        await self._settle()
        await self._look_everywhere()
        violations = self.ledger.check()
        assert not violations, "\n".join(map(str, violations))
        await self._give_each_key_one_home()
        return self.ledger.counts | {"topology changed": self.changes}

    # --- load

    async def _client(self, name: str) -> None:
        for _ in range(OPERATIONS):
            await self.sim.clock.sleep(self.draw.uniform(0.0, 2.0))
            store, key = self.draw.one_of(self.gateways), self.draw.one_of(KEYS)
            act = self.draw.weighed((4, self._put), (2, self._put_if_absent), (2, self._delete), (4, self._read))
            await act(name, store, key)

    async def _put(self, name: str, store: Store, key: str) -> None:
        await self._write(name, store, key, Action.PUT, WriteCondition())

    async def _put_if_absent(self, name: str, store: Store, key: str) -> None:
        await self._write(name, store, key, Action.PUT_IF_ABSENT, WriteCondition(if_absent=True))

    async def _write(self, name: str, store: Store, key: str, action: Action, condition: WriteCondition) -> None:
        self.written += 1
        value = f"{name}.{self.written}"
        body = PlainBody(value.encode() if self.draw.chance(0.8) else value.encode().ljust(300_000, b"."))
        call = self.ledger.begin(name, key, action, value=value)
        request = PutObject(BUCKET, key, condition=condition)
        await self._ask(call, lambda: store.put(request, body, deadline=self._deadline(20)))

    async def _delete(self, name: str, store: Store, key: str) -> None:
        call = self.ledger.begin(name, key, Action.DELETE)
        await self._ask(call, lambda: store.delete(DeleteObject(BUCKET, key), deadline=self._deadline(20)))

    async def _ask(self, call: Any, work: Callable[[], Awaitable[object]]) -> None:
        try:
            await work()
        except PreconditionFailed:
            call.refused()
        except (OperationTimeout, ConditionalConflict):
            call.failed()
        except QuorumLost as trouble:
            self.sim.log(f"unknown: {trouble}")
        else:
            call.done()

    async def _read(self, name: str, store: Store, key: str) -> str | None:
        call = self.ledger.begin(name, key, Action.READ)
        try:
            reader = await store.open(ReadObject(BUCKET, key), deadline=self._deadline(20))
            value: str | None = (await read_all(reader)).rstrip(b".").decode()
        except ObjectMissing:
            value = None
        except (QuorumLost, OperationTimeout):
            return None
        call.done(value)
        return value

    # --- what happens meanwhile

    async def _change_now_and_then(self, number: int) -> None:
        await self.sim.clock.sleep(self.draw.uniform(0.0, 30.0))
        changer = TopologyChanger(self.draw.one_of(self.gateways))
        choice = self.draw.below(10)
        pools = len((self.gateways[0].engine.store_map.record or self.world.record).pools)
        weights = {pool: self.draw.one_of((0, 1, 2)) for pool in range(pools)}
        try:
            if (number == 0 or choice < 5) and len(self.world.drives) < POOLS_MAX:
                pool = self.world.new_pool(*self.draw.one_of(SHAPES))
                weights[pools] = 2
                self.sim.log(f"adding a pool, {weights}")
                await changer.add_pool(pool, weights, deadline=self._deadline(60))
            elif choice < 8:
                self.sim.log(f"weighing {weights}")
                await changer.weigh_pools(weights, deadline=self._deadline(60))
            else:
                self.sim.log("giving up epochs")
                await changer.retire_epochs(deadline=self._deadline(60))
        except (ObjectError, TopologyRefused) as trouble:
            self.sim.log(f"no change: {trouble!r}")
        else:
            self.changes += 1
            self.sim.log("changed")

    async def _break_drives(self) -> None:
        """One drive of each set at most, for a few seconds."""
        while not self.is_over:
            await self.sim.clock.sleep(self.draw.uniform(1.0, 6.0))
            away = [self.draw.one_of(drives) for drives in self.world.sets() if self.draw.chance(0.5)]
            for drive in away:
                drive.set_offline()
            await self.sim.clock.sleep(self.draw.uniform(0.5, 6.0))
            for drive in away:
                drive.set_offline(False)

    # --- the quiet after

    async def _settle(self) -> None:
        self.sim.network.plan = CALM
        self.sim.network.mend_all()
        await self.sim.clock.sleep(SETTLE_SECONDS)
        for gateway in self.gateways:
            await gateway.engine.maps.refresh(deadline=self._deadline(60))
        self.world.record = self.gateways[0].engine.store_map.record or self.world.record
        upkeep = Upkeep(self.gateways[0])
        for work in (upkeep.settle_left_over, upkeep.rebuild_drives, upkeep.scan, upkeep.settle_left_over):
            await work()

    async def _look_everywhere(self) -> None:
        fresh = self._gateway(GATEWAYS)
        await fresh.engine.maps.refresh(deadline=self._deadline(60))
        for store in (*self.gateways, fresh):
            there = [key for key in KEYS if await self._read("last", store, key) is not None]
            page = await store.list_objects(ListObjects(BUCKET), deadline=self._deadline(60))
            listed = [info.key for info in page.objects]
            assert listed == there, f"listed {listed}, found {there}"

    async def _give_each_key_one_home(self) -> None:
        for key in KEYS:
            await self.world.put(self.draw.one_of(self.gateways), key, b"last")
            homes = await self.world.homes(self.gateways[0], key)
            assert len(homes) == 1, f"{key} lives in the sets {sorted(homes)}"

    def _deadline(self, seconds: float) -> Deadline:
        return Deadline.after(seconds, self.sim.clock)


def run_growth(seed: int) -> dict[str, int]:
    """Raises with the seed and the trace when a check fails."""
    return run_sim(lambda sim: Growth(sim).run(), seed)
