"""A real power cut right after acknowledgements, every drive on an ext4 of its own: nothing acknowledged is lost."""

import random
import threading
import time
from pathlib import Path
from typing import Final

import pytest
from tests.support.drive_check import check_drives, wait_settled
from tests.support.load import Load
from tests.support.loop_drives import can_cut_power, loop_drives
from tests.support.paths import IS_PROOF
from tests.support.server import running_server

CUTS: Final = 50 if IS_PROOF else 3
WRITES_A_CUT: Final = 120 if IS_PROOF else 80
SETTLED_SECONDS: Final = 60.0


@pytest.mark.skipif(can_cut_power() != "", reason=can_cut_power())
@pytest.mark.timeout(2400 if IS_PROOF else 240)
def test_what_was_acknowledged_survives_a_power_cut(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    # The state folder is the server's own and stays on the machine's disk: what is tried here are the drives.
    with (
        loop_drives(tmp_path, 4) as loops,
        running_server(parity=2, drives=[loop.mount_point / "liteio" for loop in loops], starts=False) as server,
    ):
        server.start()
        load = Load(server, seed)
        load.make_buckets()
        for _ in range(CUTS):
            load.start()
            load.wait_for(load.acknowledged + chance.randrange(WRITES_A_CUT // 2, WRITES_A_CUT), 60)
            cuts = [threading.Thread(target=loop.cut_power) for loop in loops]
            for cut in cuts:
                cut.start()
            for cut in cuts:
                cut.join()
            time.sleep(chance.random() * 0.2)  # an acknowledgement now would be a lie that the ledger remembers
            server.kill_all()
            load.stop()
            for loop in loops:
                loop.come_back()
            server.start()
            load.verify()
        load.abort_uploads()
        wait_settled(server.drives, server.parity, SETTLED_SECONDS)
        load.verify(seconds=5)
        server.stop()
        report = check_drives(server.drives, server.parity)
        assert report.is_clean, str(report)
        print(f"{CUTS} cuts, {load.acknowledged} writes acknowledged, {load.unknown} not known")
