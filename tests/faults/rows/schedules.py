"""Rows that a simulation shows: rivals, late messages, wrong clocks and lost locks, on one key, seed by seed."""

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from tests.faults.one_key import HOUR, Meeting, Scene, run_meetings
from tests.faults.one_upload import run_races
from tests.faults.registry import Trial, require, row

from liteio_contracts.object_errors import ObjectError
from liteio_contracts.storage_errors import StorageError
from liteio_objects.maintenance import Upkeep, UpkeepTimes
from liteio_testkit.memory_locks import MemoryLocks
from liteio_testkit.sim import Sim
from liteio_testkit.sim_clock import SimClock
from liteio_testkit.sim_network import LinkPlan


def told(seen: Mapping[str, int]) -> str:
    writes = {what: seen.get(f"{what} done", 0) for what in ("put", "delete", "read")}
    unknown = sum(times for what, times in seen.items() if what.endswith("unknown"))
    for what, times in writes.items():
        require(times > 0, f"no {what} succeeded: the run proves nothing")
    refused = sum(times for what, times in seen.items() if what.endswith("refused"))
    return ", ".join(f"{times:,} {what}s done" for what, times in writes.items()) + (
        f", {refused:,} refused by a condition, {unknown:,} of unknown outcome; every history has an order"
    )


async def _heal_and_collect(scene: Scene) -> None:
    """Heals, settles and collects through any gateway, at any moment."""
    draw = scene.draw.fork("maintenance")
    upkeeps = [Upkeep(store, UpkeepTimes(unsettled_seconds=0.0)) for store in scene.stores]
    while True:
        await scene.sim.clock.sleep(draw.uniform(0.0, 0.02))
        at = draw.below(len(scene.stores))
        healer, drive_set = scene.stores[at].healer, scene.stores[at].engine.store_map.sets[0]
        try:
            match draw.below(4):
                case 0 | 1:
                    await healer.heal_key(drive_set, scene.name)
                    scene.count("heals")
                case 2:
                    scene.count("files collected", await upkeeps[at].collect_garbage())
                case _:
                    await upkeeps[at].settle_left_over()
        except (ObjectError, StorageError):
            scene.count("heals given up")


@row(
    48,
    "PUT against heal against DELETE against garbage collection of one key",
    "four clients and two gateways on one key in a simulation, whose gateways heal, settle and collect all the while; "
    "messages are late, lost and repeated, and locks grant everything",
    unit="seeds",
    bounded=100,
    full=6000,
)
def healing_among_writers(trial: Trial) -> str:
    plan = LinkPlan(slow_rate=0.02, slow_seconds=(0.05, 3.0), lost_reply_rate=0.02, lost_request_rate=0.02)

    def meeting_of(sim: Sim) -> Meeting:
        return Meeting(plan=plan, trouble=_heal_and_collect)

    seen = run_meetings(meeting_of, trial.seed, trial.count)
    require(seen["heals"] > trial.count, "nearly nothing was healed")
    require(seen["files collected"] > 0, "no garbage was collected")
    return f"{told(seen)}; {seen['heals']:,} heals, {seen['files collected']:,} files collected"


# -- locks


async def _lose_locks(scene: Scene) -> None:
    """The lock service restarts and knows nothing of who held what: others get the locks at once."""
    draw = scene.draw.fork("locks")
    assert isinstance(scene.locks, MemoryLocks)
    while True:
        await scene.sim.clock.sleep(draw.uniform(0.0, 0.01))
        if scene.locks.held_count:
            scene.locks.break_leases()
            scene.count("locks lost while held")


@row(
    32,
    "lock service restarts and forgets who holds what",
    "two gateways and four clients on one key in a simulation; every few milliseconds all locks that are held are "
    "forgotten and given to others, while slow messages of their holders are under way",
    unit="seeds",
    bounded=50,
    full=3000,
)
def locks_forgotten(trial: Trial) -> str:
    plan = LinkPlan(slow_rate=0.05, slow_seconds=(0.02, 2.0))

    def meeting_of(sim: Sim) -> Meeting:
        return Meeting(plan=plan, has_honest_locks=True, weights=(8, 3, 6, 4, 4), trouble=_lose_locks)

    seen = run_meetings(meeting_of, trial.seed, trial.count)
    require(seen["locks lost while held"] > trial.count, "no lock was lost while it was held")
    return f"{told(seen)}; {seen['locks lost while held']:,} times locks were lost while held"


@row(
    35,
    "lock plane cut off while the data plane works",
    "as row 32 with locks that grant everything to everybody at once, as when each gateway only reaches a lock service "
    "of its own; half of all writes carry a condition, and in half of the seeds the key is a new one, which writers "
    "commit without reading it first",
    unit="seeds",
    bounded=60,
    full=3000,
)
def no_locks(trial: Trial) -> str:
    plan = LinkPlan(slow_rate=0.05, slow_seconds=(0.02, 2.0))
    usual = Meeting(plan=plan, skews=(0.0, 0.0, 0.0), clients=5, weights=(5, 3, 6, 5, 5), pause_seconds=0.005)
    half = trial.count // 2
    seen = Counter(run_meetings(lambda sim: usual, trial.seed, half))
    seen.update(run_meetings(lambda sim: replace(usual, is_new_key=True), trial.seed + half, trial.count - half))
    return told(seen)


# -- messages


@row(
    39,
    "commits delivered twice, late and in another order",
    "three clients on one key in a simulation whose network delivers half of all calls that change a drive once more, "
    "up to a minute later, and a fifth of all messages late",
    unit="seeds",
    bounded=50,
    full=3000,
)
def repeated_messages(trial: Trial) -> str:
    plan = LinkPlan(repeat_rate=0.5, late_seconds=(0.001, 60.0), slow_rate=0.2, slow_seconds=(0.01, 1.0))

    def meeting_of(sim: Sim) -> Meeting:
        return Meeting(plan=plan, clients=3, operations=8, pause_seconds=0.2, has_honest_locks=sim.seed % 2 == 0)

    return told(run_meetings(meeting_of, trial.seed, trial.count))


# -- clocks


async def _step_clocks(scene: Scene) -> None:
    draw = scene.draw.fork("clocks")
    while True:
        await scene.sim.clock.sleep(draw.uniform(0.0, 0.03))
        clocks = scene.clocks
        clocks[draw.below(len(clocks))].step_wall(draw.uniform(-10.0, 10.0))
        scene.count("clock steps")


@row(
    42,
    "gateways' clocks off by -10 s, +10 s, -1 h, and stepped while locks are held",
    "four gateways in a simulation, one with the right time and one each with these; their clocks step by up to 10 s, "
    "back too, every few milliseconds; honest locks in every other seed",
    unit="seeds",
    bounded=60,
    full=3000,
)
def wrong_clocks(trial: Trial) -> str:
    def meeting_of(sim: Sim) -> Meeting:
        skews = (0.0, -10.0, 10.0, -HOUR)
        return Meeting(skews=skews, has_honest_locks=sim.seed % 2 == 0, trouble=_step_clocks)

    seen = run_meetings(meeting_of, trial.seed, trial.count)
    return f"{told(seen)}; {seen['clock steps']:,} clock steps"


async def _freeze_clock(scene: Scene) -> None:
    """One drive's wall stands still: it is set back as fast as it runs."""
    frozen: SimClock = scene.drive_clocks[-1]
    while True:
        before = frozen.now_ns()
        await scene.sim.clock.sleep(0.01)
        frozen.step_wall((before - frozen.now_ns()) / 1e9)
        scene.count("times set back")


@row(
    43,
    "drives' clocks off by an hour, one of them frozen",
    "four drives in a simulation with walls at 0, +1 h, -1 h and one that stands still; two gateways heal, settle and "
    "collect garbage with them",
    unit="seeds",
    bounded=40,
    full=3000,
)
def wrong_drive_clocks(trial: Trial) -> str:
    def meeting_of(sim: Sim) -> Meeting:
        async def trouble(scene: Scene) -> None:
            async with asyncio.TaskGroup() as group:
                group.create_task(_freeze_clock(scene))
                group.create_task(_heal_and_collect(scene))

        return Meeting(drive_skews=(0.0, HOUR, -HOUR, 0.0), trouble=trouble)

    seen = run_meetings(meeting_of, trial.seed, trial.count)
    return f"{told(seen)}; {seen['heals']:,} heals, {seen['files collected']:,} files collected, none that was named"


# -- uploads


@row(
    49,
    "CompleteMultipartUpload twice at once, beside AbortMultipartUpload and UploadPart",
    "three gateways in a simulation, with locks that grant everything and slow and lost messages; every upload is "
    "completed twice, most are aborted and given a part again at the same time",
    unit="seeds",
    bounded=80,
    full=5000,
)
def upload_races(trial: Trial) -> str:
    plan = LinkPlan(slow_rate=0.08, slow_seconds=(0.01, 3.0), lost_reply_rate=0.01)
    seen = run_races(trial.seed, trial.count, plan)
    for what in ("complete done", "abort done", "part done"):
        require(seen.get(what, 0) > 0, f"no {what}: the run proves nothing")
    shown = ", ".join(f"{times:,} {what}" for what, times in sorted(seen.items()))
    return f"one result each, whole or absent, Complete could be repeated after one that was done; {shown}"
