"""What goes wrong while the clients work, bounded by what the store promises to survive."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from tests.sim.processes import ProcessDied
from tests.sim.sim_drive import SimDrive
from tests.sim.world import HOUR, PLANS, Draw, Gateway, World

from liteio_contracts.object_errors import ObjectError
from liteio_contracts.storage_errors import StorageError
from liteio_testkit.memory_locks import ErraticLocks, MemoryLocks
from liteio_testkit.sim_network import CALM, LinkPlan

ONE_WAY: Final = LinkPlan(lost_reply_rate=1.0)  # requests pass, replies are lost
# A drive may be lost only this long after the one before it is whole again: what a writer under way counts as accepted
# must not have been lost twice.
BETWEEN_LOSSES_SECONDS: Final = 60.0
CRASH_SENDS_MAX: Final = 40


@dataclass
class Storm:
    """Faults from a seed. `calm` ends them all."""

    world: World
    draw: Draw

    def __post_init__(self) -> None:
        self._running: set[object] = set()
        self._is_over = False
        self._severity = self.draw.weighed((1, 0.0), (4, 0.4), (3, 2.0))  # a few seeds run without faults

    async def blow(self) -> None:
        """Until it is cancelled."""
        if isinstance(self.world.locks, ErraticLocks):
            self.world.locks.is_calm = False
        if not self._severity:
            return
        while True:
            await self.world.clock.sleep(
                self.draw.weighed((3, self.draw.uniform(0, 0.05)), (4, self.draw.uniform(0, 6.0 / self._severity)))
            )
            await self.draw.weighed(*self._choices())()

    def _choices(self) -> list[tuple[int, Callable[[], Awaitable[None]]]]:
        return [
            (5, self._kill_gateway),
            (6, self._kill_gateway_at_a_send),
            (3, self._crash_drive),
            (2, self._cut_power),
            (6, self._drive_goes_away),
            (2, self._drive_is_full),
            (4, self._link_is_cut),
            (3, self._link_is_one_way),
            (3, self._network_changes),
            (3, self._clock_steps),
            (4, self._drive_is_lost),
            (4, self._settle_now),
            (3, self._heal_a_key),
            (2, self._collect_garbage),
            (3, self._rebuild),
            (1, self._scan),
            (1, self._locks_restart),
        ]

    def _log(self, text: str) -> None:
        self.world.sim.log(f"!! {text}")

    def _later(self, seconds: float, undo: Callable[[], None]) -> None:
        self.world.sim.loop.call_later(seconds, undo)

    # -- gateways

    async def _kill_gateway(self) -> None:
        gateway = self.draw.one_of(self.world.gateways)
        if not gateway.process.is_dead:
            gateway.process.kill()
            self._restart_later(gateway)

    async def _kill_gateway_at_a_send(self) -> None:
        """It dies in the midst of a fan-out: some drives are sent the message, others are not."""
        gateway = self.draw.one_of(self.world.gateways)
        process = gateway.process
        if process.is_dead or process.kill_at_send:
            return
        process.kill_at_send = 1 + self.draw.below(CRASH_SENDS_MAX)
        told = process.on_killed

        def killed() -> None:
            told()
            self._restart_later(gateway)

        process.on_killed = killed

    def _restart_later(self, gateway: Gateway) -> None:
        def start() -> None:
            if gateway.process.is_dead:
                gateway.start()

        self._later(self.draw.weighed((1, 0.0), (1, self.draw.uniform(0, 5.0))), start)

    # -- drives

    async def _crash_drive(self) -> None:
        drive = self.draw.one_of(self.world.drives)
        self._log(f"d{drive.slot} crashes")
        drive.crash()

    async def _cut_power(self) -> None:
        """All drives at once, and the gateways with them."""
        self._log("the power is cut")
        for drive in self.world.drives:
            drive.crash()
        for gateway in self.world.live_gateways():
            gateway.process.kill()
            self._restart_later(gateway)

    async def _drive_goes_away(self) -> None:
        """Mostly no more than a write can do without."""
        away = sum(drive.is_likely_slow for drive in self.world.drives)
        code = self.world.shape.code
        if away >= code.width - code.write_quorum and self.draw.chance(0.8):
            return
        drive = self.draw.one_of(self.world.drives)
        self._log(f"d{drive.slot} goes away")
        drive.set_offline()

        def back() -> None:
            self._log(f"d{drive.slot} is back")
            drive.set_offline(False)

        self._later(self.draw.weighed((3, self.draw.uniform(0, 0.5)), (2, self.draw.uniform(0, 20.0))), back)

    async def _drive_is_full(self) -> None:
        drive = self.draw.one_of(self.world.drives)
        self._log(f"d{drive.slot} is full")
        drive.set_full()
        self._later(self.draw.uniform(0, 20.0), lambda: drive.set_full(False))

    async def _drive_is_lost(self) -> None:
        """W-K drives at once may be lost at any time."""
        world = self.world
        if any(world.lost_drives()):
            return
        if world.clock.monotonic() < max(drive.whole_since for drive in world.drives) + BETWEEN_LOSSES_SECONDS:
            return
        code = world.shape.code
        for _ in range(code.write_quorum - code.k):
            self._empty(self.draw.one_of([drive for drive in world.drives if drive.is_authoritative]))

    def lose_settled_drives(self) -> None:
        """M drives at once may be lost while everything is settled on all N and nothing is under way."""
        for _ in range(self.draw.below(self.world.shape.code.m + 1)):
            self._empty(self.draw.one_of([drive for drive in self.world.drives if drive.is_authoritative]))

    def _empty(self, drive: SimDrive) -> None:
        self._log(f"d{drive.slot} is lost and comes back empty")
        drive.empty()

    # -- network, clocks, locks

    def _outage_seconds(self) -> float:
        return self.draw.weighed((2, self.draw.uniform(0, 1.0)), (1, self.draw.uniform(0, 30.0)))

    async def _link_is_cut(self) -> None:
        process, drive = self.draw.one_of(self.world.gateways).process, self.draw.one_of(self.world.drives)
        self._log(f"{process.name} - d{drive.slot} is cut")
        self.world.sim.network.cut(process.name, drive)
        self._later(self._outage_seconds(), lambda: self.world.sim.network.mend(process.name, drive))

    async def _link_is_one_way(self) -> None:
        process, drive = self.draw.one_of(self.world.gateways).process, self.draw.one_of(self.world.drives)
        self._log(f"{process.name} - d{drive.slot} loses replies")
        network = self.world.sim.network
        network.set_plan(process.name, drive, ONE_WAY)
        self._later(self._outage_seconds(), lambda: network.set_plan(process.name, drive, network.plan))

    async def _network_changes(self) -> None:
        self.world.sim.network.plan = self.draw.one_of(PLANS)

    async def _clock_steps(self) -> None:
        clocks = [*(gateway.clock for gateway in self.world.gateways), *self.world.drive_clocks]
        seconds = self.draw.weighed((1, -HOUR), (1, HOUR), (2, self.draw.uniform(-10.0, 10.0)))
        which = self.draw.below(len(clocks))
        self._log(f"clock {which} steps {seconds:.3f} s")
        clocks[which].step_wall(seconds)

    async def _locks_restart(self) -> None:
        if isinstance(self.world.locks, MemoryLocks):
            self._log("the locks are forgotten")
            self.world.locks.break_leases()

    # -- maintenance at inconvenient times, by any gateway

    async def _maintain(self, what: str, work: Callable[[Gateway], Awaitable[object]]) -> None:
        gateway = self.draw.one_of(self.world.gateways)
        if gateway.process.is_dead:
            return
        self._log(f"{gateway.process.name} {what}")

        async def act() -> None:
            try:
                await work(gateway)
            except (ObjectError, StorageError) as trouble:
                self._log(f"{gateway.process.name} {what}: {trouble!r}")

        async def ask() -> None:
            try:
                await gateway.ask(act())
            except ProcessDied:
                pass

        task = self.world.sim.loop.create_task(ask())
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _settle_now(self) -> None:
        await self._maintain("settles", lambda gateway: gateway.upkeep.settle_left_over())

    async def _collect_garbage(self) -> None:
        await self._maintain("collects garbage", lambda gateway: gateway.upkeep.collect_garbage())

    async def _rebuild(self) -> None:
        await self._maintain("rebuilds", lambda gateway: gateway.upkeep.rebuild_drives())

    async def _scan(self) -> None:
        await self._maintain("scans", lambda gateway: gateway.upkeep.scan())

    async def _heal_a_key(self) -> None:
        names = self.world.names()
        if names:
            name = self.draw.one_of(names)
            await self._maintain("heals", lambda gateway: gateway.store.healer.heal_key(gateway.drive_set, name))

    # -- the end

    def calm(self) -> None:
        """Everything is up and every message arrives, in time."""
        world = self.world
        self._log("all is well from now on")
        if isinstance(world.locks, ErraticLocks):
            world.locks.is_calm = True
        world.sim.network.mend_all()
        world.sim.network.plan = CALM
        for drive in world.drives:
            drive.set_offline(False)
            drive.set_full(False)
        for gateway in world.gateways:
            gateway.process.kill_at_send = 0
            if gateway.process.is_dead:
                gateway.start()
