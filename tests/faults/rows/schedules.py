"""Rows that a simulation shows: rivals, late messages, wrong clocks and lost locks, on one key, seed by seed."""

from collections.abc import Mapping

from tests.faults.one_key import Meeting, Scene, run_meetings
from tests.faults.registry import Trial, require, row

from liteio_contracts.object_errors import ObjectError
from liteio_contracts.storage_errors import StorageError
from liteio_objects.maintenance import Upkeep, UpkeepTimes
from liteio_testkit.sim import Sim
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
    bounded=150,
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
