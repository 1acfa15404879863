"""Run seeds: `python -m tests.sim.run --seed N --count M [--jobs J] [--plant NAME] [--stop] [--lines L]`.

Prints a line of totals, and for each seed that failed what was wrong and the end of its trace. Runs itself again with
PYTHONHASHSEED=0, since a seed replays only with the same hashes.
"""

import argparse
import os
import sys
import time
import traceback
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Final

TRACE_LINES: Final = 120
_CHUNK: Final = 10


@dataclass
class Totals:
    """What some seeds gave."""

    seeds: int = 0
    undecided: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    failures: list[tuple[int, str]] = field(default_factory=list)

    def add(self, other: "Totals") -> None:
        self.seeds += other.seeds
        self.undecided += other.undecided
        self.counts += other.counts
        self.failures += other.failures


def run_seeds(first: int, count: int, plant: str = "", *, stops: bool = False) -> Totals:
    """`stops`: at the first failure."""
    from tests.sim.plants import planted
    from tests.sim.scenario import run_seed

    totals = Totals()
    with planted(plant) as drive_class:
        for seed in range(first, first + count):
            totals.seeds += 1
            try:
                told = run_seed(seed, drive_class)
            except Exception as problem:
                totals.failures.append((seed, _describe(problem)))
                if stops:
                    break
                continue
            totals.undecided += told.undecided
            for what, many in told.counts.items():
                totals.counts[_plain(what)] += many
    return totals


def _plain(what: str) -> str:
    """An operation without its key: the first word, and its end."""
    name, _, end = what.partition(":")
    return f"{name.split()[0]}{':' if end else ''}{end}"


def _describe(problem: Exception) -> str:
    """The trace first, what was wrong last."""
    notes = "\n".join(getattr(problem, "__notes__", ()))
    problem.__notes__ = []
    return notes + "\n" + "".join(traceback.format_exception(type(problem), problem, problem.__traceback__))


def _print_failures(totals: Totals, lines: int) -> None:
    for seed, told in totals.failures:
        print(f"--- seed {seed} failed", *told.splitlines()[-lines:], sep="\n", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--plant", default="")
    parser.add_argument("--lines", type=int, default=TRACE_LINES, help="lines of the trace of a failed seed")
    parser.add_argument("--stop", action="store_true", help="at the first failure")
    asked = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        os.execve(
            sys.executable,
            [sys.executable, "-m", "tests.sim.run", *sys.argv[1:]],
            {**os.environ, "PYTHONHASHSEED": "0"},
        )
    started = time.monotonic()
    totals = Totals()
    if asked.jobs == 1:
        totals = run_seeds(asked.seed, asked.count, asked.plant, stops=asked.stop)
        _print_failures(totals, asked.lines)
    else:
        with ProcessPoolExecutor(asked.jobs) as pool:
            starts = range(asked.seed, asked.seed + asked.count, _CHUNK)
            end = asked.seed + asked.count
            chunks = [pool.submit(run_seeds, start, min(_CHUNK, end - start), asked.plant) for start in starts]
            for chunk in as_completed(chunks):
                _print_failures(chunk.result(), asked.lines)
                totals.add(chunk.result())
    seconds = time.monotonic() - started
    failed = [seed for seed, _ in totals.failures]
    print(f"{totals.seeds} seeds in {seconds:.1f} s, {len(failed)} failed {failed[:50]}, {totals.undecided} undecided")
    print(dict(sorted(totals.counts.items())))
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
