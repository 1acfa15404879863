"""A real power cut right after acknowledgements, every drive on an ext4 of its own: nothing acknowledged is lost."""

from pathlib import Path
from typing import Final

import pytest
from tests.support.loop_drives import can_cut_power
from tests.support.paths import IS_PROOF
from tests.support.real_power_cuts import cut_power_under_load

CUTS: Final = 50 if IS_PROOF else 3
WRITES_A_CUT: Final = 120 if IS_PROOF else 80


@pytest.mark.skipif(can_cut_power() != "", reason=can_cut_power())
@pytest.mark.timeout(2400 if IS_PROOF else 240)
def test_what_was_acknowledged_survives_a_power_cut(seed: int, tmp_path: Path) -> None:
    load = cut_power_under_load(tmp_path, drive_count=4, parity=2, cuts=CUTS, writes_a_cut=WRITES_A_CUT, seed=seed)
    print(f"{CUTS} cuts, {load.acknowledged} writes acknowledged, {load.unknown} not known")
