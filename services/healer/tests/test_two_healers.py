"""Two healers of a store, as processes: they share the loops, tell what they do, and one takes over from the other."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from nats.aio.msg import Msg

from liteio_bus.connection import Bus
from liteio_bus.healer_status import StoreHealing, ask_healers, merge_healers
from liteio_bus.subjects import ALL_DRIVE_STATES, HEAL_STATUS
from liteio_contracts.messages import DriveStateChanged, HealerStatus, RebuildStatus, ScanStatus
from liteio_healer.settings import CONFIG_VARIABLE
from liteio_testkit.polling import until
from liteio_testkit.real_nats import RealNats

LOOPS = {
    *(f"{loop} 0" for loop in ("settle", "rebuild", "collect", "scan", "deep")),
    "expire",
    "outbox",
    "drive states",
}


class Healers:
    """Processes over the same drives."""

    def __init__(self, folder: Path, url: str) -> None:
        drives = [folder / f"d{number}" for number in range(1, 5)]
        for drive in drives:
            drive.mkdir()
        self._config = {"drives": [str(drive) for drive in drives], "nats_url": url}
        self.processes: list[subprocess.Popen[bytes]] = []

    def start(self) -> None:
        environment = os.environ | {CONFIG_VARIABLE: json.dumps(self._config)}
        self.processes.append(subprocess.Popen((sys.executable, "-m", "liteio_healer"), env=environment))

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait()


@pytest.fixture
def healers(tmp_path: Path, nats_server: RealNats) -> Iterator[Healers]:
    made = Healers(tmp_path, nats_server.url)
    yield made
    made.end()


async def test_they_share_the_loops_and_one_takes_over_from_the_other(bus: Bus, healers: Healers) -> None:
    states: dict[int, str] = {}
    told: list[HealerStatus] = []

    async def hear_state(message: Msg) -> None:
        change = DriveStateChanged.model_validate_json(message.data)
        states[change.slot] = change.state

    async def hear_status(message: Msg) -> None:
        told.append(HealerStatus.model_validate_json(message.data))

    await bus.subscribe(ALL_DRIVE_STATES, hear_state)
    await bus.subscribe(HEAL_STATUS, hear_status)
    healing = StoreHealing()

    async def duties() -> list[set[str]]:
        nonlocal healing
        healing = await ask_healers(bus, seconds=0.5)
        return [set(healer.duties) for healer in healing.healers]

    async def all_are_held(count: int) -> bool:
        held = await duties()
        assert sum(map(len, held)) == len(set().union(*held)), "no loop is held twice"
        return len(held) == count and set().union(*held) == LOOPS

    for _ in range(2):
        healers.start()
    await until(lambda: all_are_held(2), seconds=60)
    assert (healing.queue_length, healing.dead_letters, healing.is_yielding) == (0, 0, False)
    await until(lambda: states == dict.fromkeys(range(4), "online"), seconds=20)
    await until(lambda: len({status.pid for status in told}) == 2, seconds=20)
    busiest = max(healing.healers, key=lambda healer: len(healer.duties))
    os.kill(busiest.pid, signal.SIGKILL)
    await until(lambda: all_are_held(1), seconds=60)
    [scan] = [scan for scan in healing.scans if not scan.is_deep]
    assert (scan.unhealed, scan.keys_differing) == (0, 0)


def status(pid: int, time_ns: int, **more: object) -> HealerStatus:
    plain: dict[str, object] = {
        "host": "h",
        "release": "1",
        "deployment_id": "d",
        "is_yielding": False,
        "share": 1.0,
        "client_calls": 0.0,
        "duties": (),
        "repairing": 0,
    }
    return HealerStatus.model_validate({"pid": pid, "time_ns": time_ns, **plain, **more})


def test_answers_are_put_together() -> None:
    old_scan, new_scan = (ScanStatus(set_index=0, began_ns=at, seconds=1.0, is_done=True) for at in (1, 2))
    deep = ScanStatus(set_index=0, is_deep=True, began_ns=1, seconds=1.0, is_done=False)
    rebuild = RebuildStatus(
        set_index=0,
        slot=1,
        drive_id="d",
        versions_done=1,
        versions_total=2,
        bytes_done=1,
        bytes_total=2,
        rate_versions=1.0,
        rate_bytes=1.0,
        eta_seconds=1.0,
        is_resumed=False,
    )
    healing = merge_healers(
        [
            status(2, 20, queue_length=None, rate_objects=2.0, scans=(old_scan, deep), rebuilds=(rebuild,)),
            status(1, 10, queue_length=7, rate_objects=3.0, scans=(new_scan,), is_yielding=True),
        ]
    )
    assert [healer.pid for healer in healing.healers] == [1, 2]
    assert (healing.queue_length, healing.rate_objects, healing.is_yielding) == (7, 5.0, True)
    assert healing.scans == (new_scan, deep)
    assert healing.rebuilds == (rebuild,)
    assert merge_healers([]) == StoreHealing()
