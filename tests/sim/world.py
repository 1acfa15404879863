"""The world of one seed: a set of drives, several gateways over lossy links, one lock service, and what clients were
told.

Everything that differs from seed to seed is drawn here: the code, how honest the locks are, how rough the network is,
how far the clocks are off, whether a gateway repairs in the background.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from tests.sim.processes import Process, ProcessLink, install
from tests.sim.recorder import Violation
from tests.sim.sim_drive import SimDrive

from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_base.ids import DeploymentId
from liteio_contracts.locks import LockAPI
from liteio_contracts.storage import KeyName
from liteio_erasure.code import CodeParams
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.maintenance import Upkeep, UpkeepTimes
from liteio_objects.store_map import StoreMap
from liteio_testkit.memory_locks import ErraticLocks, LyingLocks, MemoryLocks
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.sim import Sim
from liteio_testkit.sim_clock import SimClock
from liteio_testkit.sim_network import CALM, ROUGH, LinkPlan

T = TypeVar("T")

DEPLOYMENT: Final = DeploymentId("5eed" * 8)
HOUR: Final = 3600.0
# K and M, and how often. The common shape is the one of four drives; the others are where the quorums are tight.
SHAPES: Final = ((2, 2, 70), (1, 1, 10), (2, 1, 8), (4, 4, 6), (1, 0, 6))
LOSSY: Final = LinkPlan(lost_request_rate=0.06, lost_reply_rate=0.06)
LATE: Final = LinkPlan(slow_rate=0.12, repeat_rate=0.2)
PLANS: Final = (CALM, ROUGH, LOSSY, LATE)
_REST_SECONDS: Final = 300.0
GRACES: Final = (0.0, 5.0, 24 * HOUR)


class Draw(SeededRandomness):
    """Choices for a simulation."""

    def one_of(self, choices: "tuple[T, ...] | list[T]") -> T:
        return choices[self.below(len(choices))]

    def weighed(self, *choices: tuple[int, T]) -> T:
        at = self.below(sum(weight for weight, _ in choices))
        for weight, choice in choices:
            at -= weight
            if at < 0:
                return choice
        raise AssertionError("unreachable")

    def fork(self, label: str) -> "Draw":
        return Draw(f"{self._seed}/{label}")


@dataclass(frozen=True, slots=True)
class Shape:
    """What a seed decides before anything happens."""

    code: CodeParams
    gateways: int
    locks: str  # honest, lying (everybody has them at once) or erratic
    plan: LinkPlan
    grace_seconds: float
    repairs: bool  # gateways heal what they find wanting, in the background
    upkeep: bool  # one gateway runs the loops of maintenance all the time

    @classmethod
    def draw(cls, draw: Draw) -> "Shape":
        k, m = draw.weighed(*((weight, (k, m)) for k, m, weight in SHAPES))
        return cls(
            CodeParams(k, m),
            2 + draw.below(2),
            draw_locks(draw),
            draw.one_of(PLANS),
            draw.one_of(GRACES),
            draw.chance(0.5),
            draw.chance(0.6),
        )


def draw_locks(draw: Draw) -> str:
    if draw.chance(0.35):
        return "honest"
    return "erratic" if draw.fork("locks").chance(0.5) else "lying"


class Gateway:
    """A gateway: its clock stays, its process may die and be started again with empty caches."""

    def __init__(self, world: "World", number: int) -> None:
        self.name = f"gw{number}"
        self.clock: SimClock = world.sim.clock_with(skew_seconds=world.draw_skew())
        self._world = world
        self._starts = 0
        self.start()

    def start(self) -> None:
        world = self._world
        self._starts += 1
        self.process = Process(f"{self.name}.{self._starts}", world.sim.loop)
        self.process.on_killed = lambda: world.sim.log(f"  {self.process.name} dies")
        links = [ProcessLink(self.process, world.sim.network.link(self.process.name, drive)) for drive in world.drives]
        drive_set = DriveSet(tuple(links), world.shape.code, 0)
        randomness = world.draw.fork(self.process.name)
        self.store = Store(StoreMap(DEPLOYMENT, [drive_set]), self.clock, randomness, world.locks)
        self.upkeep = Upkeep(self.store, UpkeepTimes(unsettled_seconds=world.draw.one_of((2.0, 30.0))))
        self._loops: list[asyncio.Task[None]] = []
        if world.shape.repairs:
            self._loops.append(self.process.begin(self.store.repairs.run(self.store.healer)))
        if world.shape.upkeep and self.name == "gw0":
            self._loops.append(self.process.begin(self.upkeep.run()))

    async def ask(self, work: Coroutine[Any, Any, T], *, patience_seconds: float | None = None) -> T:
        return await self.process.ask(work, patience_seconds=patience_seconds)

    async def rest(self) -> None:
        """End what runs for ever, and wait until nothing is under way. Raises Violation when something never ends."""
        for loop in self._loops:
            loop.cancel()
        ends = self.clock.monotonic() + _REST_SECONDS
        while self.process.tasks and self.clock.monotonic() < ends:  # What ends may begin something else.
            await asyncio.wait(set(self.process.tasks), timeout=ends - self.clock.monotonic())
        if self.process.tasks:
            left = sorted(str(task.get_coro()) for task in self.process.tasks)
            raise Violation(f"{self.process.name} is still at work after {_REST_SECONDS} s: {left}")

    def deadline(self, seconds: float = 10.0) -> Deadline:
        return Deadline.after(seconds, self.clock)

    @property
    def drive_set(self) -> DriveSet:
        return self.store.engine.store_map.sets[0]


class World:
    """Drives, gateways, locks. `on_gateway` is a planted bug's hand on each new store."""

    def __init__(self, sim: Sim, drive_class: type[SimDrive] = SimDrive) -> None:
        install(sim)
        self.sim = sim
        self.draw = Draw(sim.seed).fork("world")
        self.shape = Shape.draw(self.draw)
        shape = self.shape
        sim.log(f"{shape.code}, {shape.gateways} gateways, {shape.locks} locks")
        self.drive_clocks = [sim.clock_with(skew_seconds=self.draw_skew()) for _ in range(shape.code.width)]
        self.drives = [
            drive_class(
                sim.log,
                slot,
                self.drive_clocks[slot],
                self.draw.fork(f"drive {slot}"),
                garbage_grace_seconds=shape.grace_seconds,
            )
            for slot in range(shape.code.width)
        ]
        self.locks = self._locks()
        self.gateways = [Gateway(self, number) for number in range(shape.gateways)]

    def _locks(self) -> LockAPI:
        match self.shape.locks:
            case "honest":
                return MemoryLocks()
            case "erratic":
                return ErraticLocks(self.sim.clock, self.draw.fork("lock service"))
            case _:
                return LyingLocks()

    def draw_skew(self) -> float:
        return self.draw.weighed((4, 0.0), (3, self.draw.uniform(-1, 1)), (3, self.draw.uniform(-HOUR, HOUR)))

    @property
    def clock(self) -> Clock:
        return self.sim.clock

    def deadline(self, seconds: float = 30.0) -> Deadline:
        return Deadline.after(seconds, self.sim.clock)

    def live_gateways(self) -> list[Gateway]:
        return [gateway for gateway in self.gateways if not gateway.process.is_dead]

    def names(self) -> list[KeyName]:
        """Every key that any drive holds anything of, tombstones and fences included."""
        return sorted({name for drive in self.drives for name in drive.state.names()})

    def lost_drives(self) -> Iterator[SimDrive]:
        return (drive for drive in self.drives if not drive.is_authoritative)
