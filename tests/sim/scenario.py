"""One seed from beginning to end: prepare, work in the storm, perhaps lose M drives, work again, quiet, judge."""

import asyncio
import hashlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from tests.sim.bucket_client import FLEETING_KEYS, PLACE
from tests.sim.client import Failed, Unknown
from tests.sim.faults import Storm
from tests.sim.orders import OrderUndecided, Stuck, find_order
from tests.sim.quiet import check_census, check_nothing_left, expire, settle_down
from tests.sim.recorder import Violation
from tests.sim.sim_drive import SimDrive
from tests.sim.workload import KEYS, STAYING, Workload
from tests.sim.world import HOUR, World

from liteio_testkit.sim import Sim, run_sim

SECONDS_MAX = 100 * 24 * HOUR


@dataclass(frozen=True, slots=True)
class Told:
    """What a run gives: the hash of its whole trace, and how many operations had which end."""

    seed: int
    trace_hash: str
    counts: Mapping[str, int]
    undecided: int


def run_seed(seed: int, drive_class: type[SimDrive] = SimDrive) -> Told:
    """Raises Violation, or whatever else went wrong, with the seed and the end of the trace."""
    traces: list[Sim] = []

    async def main(sim: Sim) -> Told:
        traces.append(sim)
        return await _Scenario(sim, drive_class).run()

    with _heard_errors() as heard:
        try:
            told = run_sim(main, seed, seconds_max=SECONDS_MAX)
        except BaseException as problem:
            problem.__notes__ = [sim.print_trace(len(sim.trace)) for sim in traces]  # whole, for the runner to cut
            raise
    if heard:
        raise Violation(f"seed {seed}: the store logged an error: {heard[0].getMessage()} {heard[0].exc_info}")
    return told


@contextmanager
def _heard_errors() -> Iterator[list[logging.LogRecord]]:
    """What the object layer logs as an error, a bug in the background: its warnings are its everyday life here."""
    heard: list[logging.LogRecord] = []
    logger = logging.getLogger("liteio_objects")
    handler = logging.Handler(logging.ERROR)
    handler.emit = heard.append  # type: ignore[method-assign,assignment]  # the whole handler
    before = (logger.level, logger.propagate)
    logger.addHandler(handler)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        yield heard
    finally:
        logger.removeHandler(handler)
        logger.level, logger.propagate = before


class _Scenario:
    def __init__(self, sim: Sim, drive_class: type[SimDrive]) -> None:
        self.sim = sim
        self.world = World(sim, drive_class)
        self.work = Workload(self.world)
        self.storm = Storm(self.world, self.world.draw.fork("storm"))
        self.undecided = 0

    async def run(self) -> Told:
        await self.work.prepare()
        await self._act()
        if self.world.draw.chance(0.35):
            await self._quiet()
            self.storm.lose_settled_drives()
            await self._act()
        await self._quiet()
        await self._look_at_everything()
        await expire(self.world)
        await check_census(self.world)
        check_nothing_left(self.world)
        await self._look_at_everything()
        self._judge()
        for gateway in self.world.gateways:
            await gateway.rest()
        trace = hashlib.sha256(repr(self.sim.trace).encode()).hexdigest()
        return Told(self.sim.seed, trace, self.work.recorder.counts, self.undecided)

    async def _act(self) -> None:
        self.sim.network.plan = self.world.shape.plan
        blowing = asyncio.ensure_future(self.storm.blow())
        working = asyncio.ensure_future(self.work.run())
        try:
            await asyncio.wait({blowing, working}, return_when=asyncio.FIRST_COMPLETED)
            if blowing.done():
                blowing.result()
            await working
        finally:
            blowing.cancel()
            await asyncio.gather(blowing, return_exceptions=True)

    async def _quiet(self) -> None:
        """Late messages may come before or after the first maintenance."""
        self.storm.calm()
        for gateway in self.world.gateways:
            await gateway.rest()
        if self.world.draw.chance(0.5):
            await settle_down(self.world)
        await self.sim.network.drain()
        await settle_down(self.world)
        await check_census(self.world)

    async def _look_at_everything(self) -> None:
        """With all drives up and nothing under way every read answers."""
        client = self.work.clients[0]
        client.is_patient = True
        try:
            for key in KEYS:
                await client.see_latest(STAYING, key, is_whole=True)
            for key in FLEETING_KEYS:
                await client.get_in(key)
            await client.list_keys()
            await client.list_in()
            await client.list_buckets()
            await client.see_all_versions(STAYING)
        except (Unknown, Failed) as trouble:
            raise Violation(f"all drives are up and nothing is under way: {trouble.__cause__!r}") from trouble

    def _judge(self) -> None:
        """Every key's history must have an order, and so must that of the bucket that comes and goes."""
        recorder = self.work.recorder
        for place in sorted(recorder.steps):
            initial: object = None if place == PLACE else ()
            stuck: Stuck | None = None
            try:
                for steps in recorder.histories(place):
                    stuck = find_order(steps, initial)
                    if stuck is None:
                        break
            except OrderUndecided:
                self.undecided += 1
                continue
            if stuck is not None:
                raise Violation(f"{'/'.join(place)} is not linearizable: {stuck}")
