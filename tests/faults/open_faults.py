"""What the rows do not show because it does not hold yet, or is not there. `python -m tests.faults.open_faults NAME`
runs the program of one, which fails as long as it is open.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.faults.registry import FaultFound, Trial


@dataclass(frozen=True, slots=True)
class OpenFault:
    """`name` "": there is no program, since there is nothing to try yet."""

    row: int
    text: str
    name: str = ""
    program: Callable[[Trial], str] | None = None


def _all_parity_lies(trial: Trial) -> str:
    """Four of eight drives, 4+4, lose everything that was not written of its own accord."""
    from dataclasses import replace

    from tests.faults.power_cuts import try_cuts
    from tests.faults.rows.power import WRITES

    return str(try_cuts(trial, replace(WRITES, liars=range(4), is_cut_late=True), width=8))


OPEN: Final = (
    OpenFault(
        8,
        "power cuts in changes of users and policies are not tried: the store has none yet.",
    ),
    OpenFault(
        9,
        "failed syncs are told by the drive's state and the log; there is no metric yet that counts them.",
    ),
    OpenFault(
        10,
        "M drives that lie about their syncs (two of 2+2, four of 4+4) can lose what was acknowledged and settled: as "
        "many as a read asks come back with nothing, each of them a witness. Up to N-W are borne. "
        "`.venv/bin/python -m tests.faults.open_faults lying-parity --count 120 --seed 3`",
        "lying-parity",
        _all_parity_lies,
    ),
)


def main() -> int:
    programs = {one.name: one for one in OPEN if one.program is not None}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=programs)
    parser.add_argument("--seed", type=int, default=110)
    parser.add_argument("--count", type=int, default=20)
    asked = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        again = [sys.executable, "-m", "tests.faults.open_faults", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, "PYTHONHASHSEED": "0"})
    program = programs[asked.name].program
    assert program is not None
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        try:
            print("holds now:", program(Trial(asked.count, asked.seed, False, Path(folder), Path(folder))))
        except FaultFound as found:
            print("does not hold:", str(found)[-1500:])
            return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
