"""Simulations replay from their seed, spend no real time, and fail loudly."""

import asyncio
import os
import subprocess
import sys
import time

import pytest

from liteio_base.deadline import Deadline
from liteio_contracts.storage import StorageAPI
from liteio_contracts.storage_errors import DriveTimeout
from liteio_testkit.contract_bench import Bench, DriveUnderTest
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.memory_drive import GARBAGE_GRACE_SECONDS, TOMBSTONE_SECONDS, MemoryDrive
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.sim import Sim, SimFailure, run_sim
from liteio_testkit.sim_loop import SimDeadlock, SimStuck
from liteio_testkit.sim_network import ROUGH, LinkPlan, SimNetwork
from liteio_testkit.storage_contract import StorageContract


def bench_over(sim: Sim, client: str, drive: MemoryDrive) -> Bench:
    async def restart() -> MemoryDrive:
        return drive

    class LinkClock(ManualClock):
        def monotonic(self) -> float:
            return sim.clock.monotonic()

    return Bench(DriveUnderTest(sim.network.link(client, drive), LinkClock(), restart, 1, 1))


def test_virtual_hours_take_no_time() -> None:
    async def main(sim: Sim) -> float:
        await asyncio.gather(*(sim.clock.sleep(hours * 3600) for hours in range(10)))
        return sim.clock.monotonic()

    started = time.monotonic()
    assert run_sim(main, 1) == 9 * 3600
    assert time.monotonic() - started < 1


def test_clocks_share_monotonic_time_and_differ_on_the_wall() -> None:
    async def main(sim: Sim) -> None:
        ahead, fast = sim.clock_with(skew_seconds=5), sim.clock_with(drift=0.01)
        await sim.clock.sleep(100)
        assert ahead.now_ns() - sim.clock.now_ns() == 5_000_000_000
        assert fast.now_ns() - sim.clock.now_ns() == 1_000_000_000
        assert ahead.monotonic() == sim.clock.monotonic() == 100
        ahead.step_wall(-6)
        assert ahead.now_ns() - sim.clock.now_ns() == -1_000_000_000

    run_sim(main, 1)


async def racing(sim: Sim) -> str:
    """Workers whose order is the schedule's: text, sets of tasks, cancellation and threads included."""

    async def work(name: str) -> None:
        for _ in range(3):
            await asyncio.sleep(0)
            sim.log(name)

    tasks = {asyncio.create_task(work(name)) for name in "abcdef"}
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    sim.log(" ".join(task.get_name() for task in done))
    for task in tasks - done:
        task.cancel()
    sim.log(str(await asyncio.to_thread(len, "abc")))
    async with asyncio.timeout(sim.randomness.uniform(0, 1)) as limit:
        try:
            await sim.clock.sleep(2)
        except asyncio.CancelledError:
            sim.log(f"cut at {limit.when()}")
            raise
    return sim.print_trace()


async def traced(sim: Sim) -> str:
    try:
        return await racing(sim)
    except TimeoutError:
        return sim.print_trace()


def test_a_seed_replays_and_seeds_differ() -> None:
    traces = [run_sim(traced, seed) for seed in range(20)]
    assert traces == [run_sim(traced, seed) for seed in range(20)]
    assert len(set(traces)) > 15


def test_a_seed_replays_in_another_process() -> None:
    code = "import sys; sys.path.insert(0, sys.argv[1]); import test_sim; print(test_sim.run_sim(test_sim.traced, 7))"
    here = os.path.dirname(__file__)
    printed = [
        subprocess.run(
            [sys.executable, "-c", code, here],
            env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    ]
    assert printed[0] == printed[1] == run_sim(traced, 7) + "\n"


def test_a_failure_names_its_seed_and_shows_the_trace() -> None:
    async def main(sim: Sim) -> None:
        sim.log("about to fail")
        await sim.clock.sleep(1)
        raise ValueError("as planned")

    with pytest.raises(ValueError, match="as planned") as caught:
        run_sim(main, 4711)
    (note,) = caught.value.__notes__
    assert "seed 4711, virtual second 1.000000" in note
    assert "about to fail" in note


def test_a_deadlock_is_found_and_names_who_waits() -> None:
    async def waits_for_ever(sim: Sim) -> None:
        await sim.loop.create_future()

    with pytest.raises(SimDeadlock, match="_main"):
        run_sim(waits_for_ever, 1)


def test_spinning_and_endless_sleeping_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liteio_testkit.sim_loop.TURNS_MAX", 1000)

    async def spin(sim: Sim) -> None:
        for _ in range(10_000):
            await asyncio.sleep(0)

    async def doze(sim: Sim) -> None:
        while True:
            await sim.clock.sleep(60)

    with pytest.raises(SimStuck, match="loop turns"):
        run_sim(spin, 1)
    with pytest.raises(SimStuck, match="virtual seconds have passed"):
        run_sim(doze, 1, seconds_max=3600)


def test_a_background_failure_fails_the_run() -> None:
    async def main(sim: Sim) -> None:
        async def fail() -> None:
            raise ValueError("unheard")

        task = asyncio.create_task(fail())
        await sim.clock.sleep(1)
        del task

    with pytest.raises(SimFailure) as caught:
        run_sim(main, 1)
    assert isinstance(caught.value.__cause__, ValueError)


# -- the network


class TestLinkWithoutFaults(StorageContract):
    @pytest.fixture
    def subject(self) -> DriveUnderTest:
        clock = ManualClock()
        drive = MemoryDrive(0, clock, SeededRandomness("contract"))
        network = SimNetwork(SeededRandomness("network"), clock, LinkPlan(delay_seconds=(0, 0)))
        linked = network.link("client", drive)

        async def restart() -> StorageAPI:
            drive.crash()
            return linked

        return DriveUnderTest(linked, clock, restart, GARBAGE_GRACE_SECONDS, TOMBSTONE_SECONDS)


async def one_put(sim: Sim, plan: LinkPlan) -> tuple[str, dict[int, bool], float]:
    drive = MemoryDrive(0, sim.clock, sim.randomness.fork("drive"))
    sim.network.plan = plan
    bench = bench_over(sim, "gateway", drive)
    try:
        await bench.put(b"k", 5)
        outcome = "done"
    except DriveTimeout:
        outcome = "timeout"
    at = sim.clock.monotonic()
    await sim.network.drain()
    held = {int(row.time): row.is_settled for row in drive.held(bench.name(b"k")).rows}
    return outcome, held, at


@pytest.mark.parametrize(
    ("plan", "outcome", "arrives", "earliest"),
    [
        (LinkPlan(), "done", True, 0),
        (LinkPlan(lost_request_rate=1), "timeout", False, 30),
        (LinkPlan(lost_reply_rate=1), "timeout", True, 30),
        (LinkPlan(slow_rate=1, slow_seconds=(31, 40)), "timeout", True, 30),
        (LinkPlan(repeat_rate=1), "done", True, 0),
    ],
)
def test_a_link_does_what_its_plan_says(plan: LinkPlan, outcome: str, arrives: bool, earliest: float) -> None:
    async def main(sim: Sim) -> None:
        assert sim.loop.time() == 0
        result, held, at = await one_put(sim, plan)
        assert result == outcome
        assert held == ({5: False} if arrives else {})
        assert at >= earliest

    run_sim(main, 3)


def test_a_commit_arrives_though_its_writer_was_cancelled() -> None:
    async def main(sim: Sim) -> None:
        drive = MemoryDrive(0, sim.clock, sim.randomness.fork("drive"))
        bench = bench_over(sim, "gateway", drive)
        task = asyncio.create_task(bench.put(b"k", 5))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel()
        await sim.network.drain()
        assert [row.time for row in drive.held(bench.name(b"k")).rows] == [5]

    run_sim(main, 3, shuffles=False)


def test_a_cut_link_is_silent_and_other_clients_are_served() -> None:
    async def main(sim: Sim) -> None:
        drive = MemoryDrive(0, sim.clock, sim.randomness.fork("drive"))
        near, far = bench_over(sim, "near", drive), bench_over(sim, "far", drive)
        sim.network.cut("far", drive)
        with pytest.raises(DriveTimeout):
            await far.put(b"k", 5)
        await near.put(b"k", 6)
        sim.network.mend("far", drive)
        assert await far.times(b"k") == {6: False}

    run_sim(main, 3)


def test_repeated_commits_do_not_bring_back_what_was_replaced() -> None:
    async def main(sim: Sim) -> None:
        drive = MemoryDrive(0, sim.clock, sim.randomness.fork("drive"))
        bench = bench_over(sim, "gateway", drive)
        for step in range(1, 20):
            record = await bench.put(b"k", step)
            await bench.confirm(record)
        await sim.network.drain()
        assert [row.time for row in drive.held(bench.name(b"k")).rows] == [19]
        assert sim.network.in_flight_count == 0

    run_sim(main, 3, plan=LinkPlan(repeat_rate=1))


async def shards_over(sim: Sim) -> None:
    drive = MemoryDrive(0, sim.clock, sim.randomness.fork("drive"))
    bench = bench_over(sim, "gateway", drive)
    stored = 0
    for number in range(30):
        try:
            await bench.put_staged(b"k%d" % number, 5)
            stored += 1
        except DriveTimeout:
            continue
    sim.log(f"stored {stored}")
    assert 0 < stored < 30
    await sim.network.drain()


def test_shards_travel_over_rough_links_too() -> None:
    run_sim(shards_over, 3, plan=ROUGH)


def test_links_replay_from_the_seed() -> None:
    async def main(sim: Sim) -> list[tuple[float, str]]:
        outcomes = []
        drive = MemoryDrive(0, sim.clock, sim.randomness.fork("drive"))
        benches = [bench_over(sim, name, drive) for name in ("one", "two")]

        async def write(bench: Bench, name: str) -> None:
            for step in range(1, 15):
                try:
                    await bench.put(name.encode(), step)
                    sim.log(f"{name} {step}")
                except DriveTimeout:
                    sim.log(f"{name} {step} lost")

        async with asyncio.TaskGroup() as group:
            for bench, name in zip(benches, ("one", "two"), strict=True):
                group.create_task(write(bench, name))
        outcomes = list(sim.trace)
        await sim.network.drain()
        return outcomes

    def runs(seed: int) -> list[tuple[float, str]]:
        return run_sim(main, seed, plan=ROUGH)

    assert runs(1) == runs(1)
    assert runs(1) != runs(2)


def test_deadlines_follow_virtual_time() -> None:
    async def main(sim: Sim) -> None:
        deadline = Deadline.after(5, sim.clock)
        await sim.clock.sleep(4)
        assert deadline.seconds_left() == pytest.approx(1)
        await sim.clock.sleep(2)
        assert deadline.has_passed

    run_sim(main, 1)
