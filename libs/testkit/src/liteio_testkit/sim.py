"""`run_sim`: run a whole program on virtual time from one seed, and say how to replay it when it fails."""

import asyncio
import gc
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.sim_clock import SimClock
from liteio_testkit.sim_loop import SimLoop
from liteio_testkit.sim_network import CALM, LinkPlan, SimNetwork

Result = TypeVar("Result")

SECONDS_MAX = 48 * 3600.0


class SimFailure(Exception):
    """A background task failed and nobody heard."""


class Sim:
    """What a simulated program is given: its loop, one true clock, randomness and a network.

    `log` keeps what the program notes, with virtual times: `trace` is equal in two runs of one seed, and is what to
    print when one fails.
    """

    def __init__(self, loop: SimLoop, seed: int, plan: LinkPlan) -> None:
        self.loop = loop
        self.seed = seed
        self.randomness = SeededRandomness(seed)
        self.clock = SimClock(loop)
        self.network = SimNetwork(self.randomness.fork("network"), self.clock, plan)
        self.trace: list[tuple[float, str]] = []

    def clock_with(self, *, skew_seconds: float = 0.0, drift: float = 0.0) -> SimClock:
        """Another machine's clock: the same monotonic time, a wall of its own."""
        return SimClock(self.loop, skew_seconds=skew_seconds, drift=drift)

    def log(self, event: str) -> None:
        self.trace.append((round(self.loop.time(), 9), event))

    def print_trace(self, last: int = 200) -> str:
        return "\n".join(f"{at:12.6f}  {event}" for at, event in self.trace[-last:])


def run_sim(
    main: Callable[[Sim], Awaitable[Result]],
    seed: int,
    *,
    plan: LinkPlan = CALM,
    seconds_max: float = SECONDS_MAX,
    shuffles: bool = True,
) -> Result:
    """Run `main` to its end. What it raises carries a note with the seed, the virtual time and the end of the trace.

    Raises SimDeadlock, SimStuck, or SimFailure when a task that nobody awaited failed.
    """
    sim_randomness = SeededRandomness(seed)
    loop = SimLoop(sim_randomness.fork("schedule"), seconds_max=seconds_max, shuffles=shuffles)
    sim = Sim(loop, seed, plan)
    was_collecting = gc.isenabled()
    gc.disable()
    gc.freeze()  # What was there before is no part of the run, and need not be looked through each time.
    try:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            result = runner.run(_main(main, sim))
        gc.collect()  # Lets tasks that failed unheard say so now.
        if loop.failures:
            raise SimFailure(f"{len(loop.failures)} background failures") from loop.failures[0]
        return result
    except BaseException as problem:
        problem.add_note(_how_to_replay(sim))
        raise
    finally:
        gc.unfreeze()
        if was_collecting:
            gc.enable()


async def _main(main: Callable[[Sim], Awaitable[Result]], sim: Sim) -> Result:
    return await main(sim)


def _how_to_replay(sim: Sim) -> str:
    hash_seed = os.environ.get("PYTHONHASHSEED", "not set: set it to 0 to replay across processes")
    ended = f"seed {sim.seed}, virtual second {sim.loop.time():.6f}, turn {sim.loop.turns}, PYTHONHASHSEED {hash_seed}"
    return f"{ended}\n{sim.print_trace()}"
