"""kill -9 of every process under mixed load: nothing acknowledged is lost, half visible, or left behind."""

import random
import time
from typing import Final

import pytest
from tests.support.drive_check import check_drives, unnamed_files, wait_collected, wait_settled
from tests.support.load import Load
from tests.support.paths import IS_PROOF
from tests.support.processes import kill
from tests.support.server import Server, running_server

ROUNDS: Final = 50 if IS_PROOF else 10
ACKNOWLEDGED: Final = 10_000 if IS_PROOF else 600
LAST_WRITES: Final = 40  # before the last kill, of which everything is to be cleared up
ROUND_SECONDS: Final = 60.0
SETTLED_SECONDS: Final = 60.0
COLLECTED_SECONDS: Final = 60.0  # after the last kill nothing is left that no row names
DROPPED_SECONDS: Final = 45.0  # the files of what was settled last go 5 s later, or with the next round of collection
# What is killed, round by round: each kind alone, and more than one at once. "everything" comes most often: it is what
# a machine that fails does.
TARGETS: Final = ("everything", "gateway", "supervisor", "all gateways", "everything", "healer", "nats")


@pytest.mark.timeout(2400 if IS_PROOF else 300)
def test_nothing_acknowledged_is_lost_to_kill_9(seed: int) -> None:
    chance = random.Random(seed)
    with running_server(drive_count=4, parity=2) as server:
        load = Load(server, seed)
        load.make_buckets()
        for number in range(ROUNDS):
            goal = ACKNOWLEDGED * (number + 1) // ROUNDS
            load.start()
            load.wait_for(chance.randrange(load.acknowledged, goal + 1), ROUND_SECONDS)
            strike(server, TARGETS[number % len(TARGETS)], chance)
            load.wait_for(goal, ROUND_SECONDS)
            load.stop()
            server.wait_ready()
            load.verify()
        load.start()
        load.wait_for(load.acknowledged + LAST_WRITES, ROUND_SECONDS)
        server.kill_all()
        killed_at = time.monotonic()
        load.stop()
        left = len(unnamed_files(server.drives, server.parity))
        server.start()
        load.abort_uploads()
        wait_settled(server.drives, server.parity, SETTLED_SECONDS)
        seconds_left = COLLECTED_SECONDS - (time.monotonic() - killed_at)
        wait_collected(server.drives, server.parity, max(seconds_left, DROPPED_SECONDS))
        print(f"{left} files that nothing named after the last kill, none {time.monotonic() - killed_at:.0f} s later")
        load.verify(seconds=5)
        server.stop()
        report = check_drives(server.drives, server.parity, collects=False)
        assert report.is_clean, str(report)
        print(f"{load.acknowledged} writes acknowledged, {load.unknown} unknown, {report.values} values on the drives")


def strike(server: Server, target: str, chance: random.Random) -> None:
    """Kill in the middle of the load; what the supervisor does not bring back is started again."""
    if target == "everything":
        server.kill_all()
        server.start()
    elif target == "supervisor":
        for process in server.find("supervisor"):
            kill(process)
        server.reap()  # the leash takes all others with it
        server.start()
    else:
        victims = server.find("gateway" if target == "all gateways" else target)
        assert victims, f"no process of kind {target}: {server.processes()}"
        for process in victims if target == "all gateways" else [chance.choice(victims)]:
            assert kill(process), f"{process} was gone already"
        time.sleep(chance.random() * 0.3)
