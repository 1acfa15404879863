"""`liteio server` on four machines of a network, with mutual TLS: machines are lost, come back, and nobody notices."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from tests.cluster.namespaces import Machines, machines, why_not
from tests.cluster.outage import BUCKET, HEAL_SECONDS, Ledger, in_slot_order, look_alike, wait_until, wipe
from tests.support.drive_check import check_drives

MACHINES: Final = 4
PARITY: Final = 4
SECONDS_CUT_OFF: Final = 10.0  # longer than a connection needs to be found dead

pytestmark = [pytest.mark.timeout(600), pytest.mark.skipif(bool(why_not()), reason=why_not() or "it can run here")]


@pytest.fixture(params=[1, 2], ids=["a node each", "two nodes each"])
def network(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Machines]:
    with machines(tmp_path, MACHINES, nodes=request.param) as made:
        for machine in made.all:
            machine.start()
        try:
            made.wait_ready(made.all)
            yield made
        except AssertionError:
            print(made.logs())
            raise


def test_a_machine_is_lost_and_another_cut_off_and_all_is_whole_again(network: Machines) -> None:
    clients = [network[number].s3() for number in (1, 2, 3)]
    clients[0].create_bucket(Bucket=BUCKET)
    ledger = Ledger(*clients)
    ledger.store_some("before")
    ledger.check()

    network[4].kill()
    began = time.monotonic()
    ledger.put("while/first", 4096)
    print(f"first write after a machine was lost: {time.monotonic() - began:.2f} s")
    ledger.store_some("while")
    ledger.store_some("before")  # overwritten
    for number in range(0, 40, 4):
        ledger.delete(f"before/small/{number}")
    ledger.check()
    wipe(network[4].drives[1])

    network[4].start()
    back = time.monotonic()
    network.wait_ready([network[4]])
    wait_until(lambda: look_alike(network.drives), HEAL_SECONDS, "the drives differ")
    print(f"healed {time.monotonic() - back:.1f} s after the machine's start")

    network.unplug(3)
    others = Ledger(network[1].s3(), network[2].s3(), network[4].s3())
    others.hashes = ledger.hashes
    began = time.monotonic()
    others.put("cut-off/first", 4096)
    print(f"first write after a cable was pulled: {time.monotonic() - began:.2f} s")
    while time.monotonic() < began + SECONDS_CUT_OFF:
        others.put(f"cut-off/{len(others.hashes)}", 4096)
    others.check()
    network.plug(3)
    wait_until(lambda: look_alike(network.drives), HEAL_SECONDS, "the drives differ")
    ledger.check()

    for machine in network.all:
        assert machine.stop() == 0
    report = check_drives(in_slot_order(network.drives), PARITY)
    print(report)
    assert report.is_clean, str(report)
    assert report.values == len(ledger.alive)
    assert "Traceback" not in network.logs()
