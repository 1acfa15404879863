"""Real power cuts of a server under load, every drive on an ext4 of its own."""

import random
import threading
import time
from pathlib import Path
from typing import Final

from tests.support.drive_check import check_drives, wait_settled
from tests.support.load import Load
from tests.support.loop_drives import loop_drives
from tests.support.server import running_server

SETTLED_SECONDS: Final = 60.0


def cut_power_under_load(
    folder: Path, *, drive_count: int, parity: int, cuts: int, writes_a_cut: int, seed: int
) -> Load:
    """Cut the power of all drives at once, right after acknowledgements, `cuts` times; each time all that the ledger
    knows is compared. Returns the load that ran. Raises LedgerBroken, AssertionError.
    """
    chance = random.Random(seed)
    # The state folder is the server's own and stays on the machine's disk: what is tried here are the drives.
    with (
        loop_drives(folder, drive_count) as loops,
        running_server(parity=parity, drives=[loop.mount_point / "liteio" for loop in loops], starts=False) as server,
    ):
        server.start()
        load = Load(server, seed)
        load.make_buckets()
        for _ in range(cuts):
            load.start()
            load.wait_for(load.acknowledged + chance.randrange(writes_a_cut // 2, writes_a_cut), 60)
            cutting = [threading.Thread(target=loop.cut_power) for loop in loops]
            for cut in cutting:
                cut.start()
            for cut in cutting:
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
        return load
