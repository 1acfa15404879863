"""Mixed load on few keys while the cluster is broken all the while, and whether what clients saw has an order.

    python -m tests.cluster.history --seconds 60 --runs 10 --seed 7

A run: 16 clients write (plainly and on conditions), read, remove and list through two gateways while `Nemesis` works;
then everything is put right, and within 20 s all operations must succeed, within 60 s every version must lie whole on
all drives. Every key's history must be that of a linearizable register, every listing sorted and whole. A failure
prints the history of the key, and the seed; a seed repeats the choices, not the timing.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from collections.abc import Coroutine, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.cluster.nemesis import Nemesis
from tests.cluster.shared_keys import BUCKET, SharedKeys
from tests.support.drive_check import DriveReport, check_drives
from tests.support.rig import Rig, running_rig

WELL_SECONDS: Final = 20.0
WHOLE_SECONDS: Final = 60.0
_CALM_SECONDS: Final = 3.0  # without trouble, to say that all is well
MEMORY: Final = Path("/dev/shm")


class NotHeld(AssertionError):
    """What the run must show did not hold."""


@dataclass(frozen=True, slots=True)
class Told:
    """What came of a run."""

    seed: int
    counts: dict[str, int]
    troubles: dict[str, int]
    keys: int
    listings: int
    well_after_seconds: float
    whole_after_seconds: float
    values: int

    def __str__(self) -> str:
        done = sum(count for name, count in self.counts.items() if name.endswith(("done", "refused")))
        unknown = sum(count for name, count in self.counts.items() if name.endswith("unknown"))
        troubles = ", ".join(f"{count} {name}" for name, count in sorted(self.troubles.items()))
        return (
            f"seed {self.seed}: {done:,} operations on {self.keys} keys, {unknown} of unknown outcome, "
            f"{self.listings} listings; linearizable, nothing lost; {troubles}; all well after "
            f"{self.well_after_seconds:.1f} s, {self.values} versions whole on all drives after "
            f"{self.whole_after_seconds:.1f} s"
        )


def run(seed: int, seconds: float, *, plant: str = "", troubles: Sequence[str] = (), folder: Path = MEMORY) -> Told:
    """One run. Raises NotHeld, LedgerBroken."""
    with ExitStack() as opened:
        name = opened.enter_context(tempfile.TemporaryDirectory(prefix="liteio-history-", dir=folder))
        rig = opened.enter_context(running_rig(Path(name), plant=plant))
        rig.client(0).create_bucket(BUCKET)
        try:
            keys, nemesis = SharedKeys(rig, seed), Nemesis(rig, seed)
            well_after = asyncio.run(load_while(keys, seconds, nemesis.run(names=troubles)))
            require_order(keys)
            whole_after = wait_whole(rig)
            report = rig.census()
            require_whole(report)
        except BaseException:
            print(f"--- seed {seed}", _of_interest(rig), sep="\n", file=sys.stderr)
            raise
        counts, made = keys.ledger.counts, len(keys.names)
        return Told(
            seed, counts, dict(nemesis.counts), made, len(keys.listings), well_after, whole_after, report.values
        )


async def load_while(keys: SharedKeys, seconds: float, trouble: Coroutine[Any, Any, None]) -> float:
    """The clients work while `trouble` runs, for so long or until it ends; then all is put right and every key is read.
    Seconds until no operation failed any more. Raises NotHeld, LedgerBroken."""
    working, breaking = asyncio.create_task(keys.run()), asyncio.create_task(trouble)
    await asyncio.wait((working, breaking), timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    for task in (working, breaking):
        if task.done():
            task.result()
    breaking.cancel()
    with suppress(asyncio.CancelledError):
        await breaking
    await asyncio.to_thread(keys.rig.be_well)
    well_after = await _wait_well(keys, working)
    keys.stop()
    await working
    await keys.read_all()
    return well_after


async def _wait_well(keys: SharedKeys, working: "asyncio.Task[None]") -> float:
    """Seconds until no operation failed any more."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    while True:
        await asyncio.wait((working,), timeout=0.2)
        if working.done():
            working.result()
        last = max([began, *(one.at for one in keys.troubles[-1:])])
        if loop.time() - last >= _CALM_SECONDS:
            return last - began
        if last - began > WELL_SECONDS:
            raise NotHeld(f"{last - began:.1f} s behind the last fault an operation fails: {keys.troubles[-1].what}")


_TOLD: Final = ("put done", "delete done", "read done", "put-if-absent done", "put-if-match done")


def require_order(keys: SharedKeys, told: Sequence[str] = _TOLD) -> None:
    """Raises NotHeld unless every history has an order and every listing is right; and when there was nothing of what
    must be `told`: then the run proves nothing."""
    for action in told:
        if not keys.ledger.counts.get(action):
            raise NotHeld(f"nothing of {action}: the run proves nothing: {keys.ledger.counts} {dict(keys.answers)}")
    if violations := keys.check():
        raise NotHeld("\n".join(map(str, violations[:3])))


def wait_whole(rig: Rig) -> float:
    """Seconds until every drive counts and holds every version whole, of a cluster that runs. Raises NotHeld after a
    minute."""
    began = time.monotonic()
    while True:
        report = check_drives(rig.drive_paths(), rig.parity, collects=False)
        seconds = time.monotonic() - began
        if not (report.unsettled or report.unreliable or report.not_whole):
            return seconds
        if seconds > WHOLE_SECONDS:
            raise NotHeld(f"not whole after {seconds:.0f} s: {report}")
        time.sleep(1)


def require_whole(report: DriveReport) -> None:
    """Raises NotHeld when anything is not whole, or left behind."""
    if not report.is_clean:
        raise NotHeld(f"stopped in order, and not whole: {report}")


def _of_interest(rig: Rig) -> str:
    """Of the members' logs what is no request."""
    return "\n".join(
        f"--- {member.name}\n" + "\n".join([line for line in member.log().splitlines() if line[:1] != "{"][-60:])
        for member in rig.members
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Whether what clients of a broken cluster see has an order.")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--runs", type=int, default=1)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--plant", default="", help="a bug of tests.support.odd_member.PLANTS")
    parser.add_argument("--troubles", default="", help="names with commas between; all without it")
    parser.add_argument("--folder", type=Path, default=MEMORY)
    asked = parser.parse_args()
    first = asked.seed if asked.seed is not None else int.from_bytes(os.urandom(3))
    troubles = [name for name in asked.troubles.split(",") if name]
    lost = []
    for seed in range(first, first + asked.runs):
        try:
            print(run(seed, asked.seconds, plant=asked.plant, troubles=troubles, folder=asked.folder), flush=True)
        except AssertionError as problem:
            lost.append(seed)
            print(f"seed {seed} DID NOT HOLD: {problem}", flush=True)
        except BaseExceptionGroup as problems:
            lost.append(seed)
            print(f"seed {seed} DID NOT HOLD: {problems.exceptions}", flush=True)
    print(f"{asked.runs} runs of {asked.seconds:.0f} s, {asked.runs - len(lost)} held; seeds that did not: {lost}")
    return 1 if lost else 0


if __name__ == "__main__":
    raise SystemExit(main())
