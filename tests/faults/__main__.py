"""`python -m tests.faults [--rows 1,2,9] [--bounded|--full] [--seed N] [--at-once N]`: run rows of the fault
matrix, and write what was seen to docs/operations/faults.md. The exit code is 1 when a row did not hold.

Runs itself again with PYTHONHASHSEED=0, since the simulation replays a seed only with the same hashes.
"""

import argparse
import datetime
import json
import os
import signal
import sys
import tempfile
from contextlib import closing
from typing import Final

from tests.faults.page import keeps_earlier, render, text_of, title_of
from tests.faults.registry import Row, all_rows
from tests.faults.running import Seen, run_rows
from tests.proof.machine import commit_name
from tests.proof.page import texts_of
from tests.support.paths import REPOSITORY

PAGE: Final = REPOSITORY / "docs" / "operations" / "faults.md"


def main() -> int:
    parser = argparse.ArgumentParser(description="Run rows of the fault matrix.")
    parser.add_argument("--rows", default="", help="numbers, with commas between; all without it")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--no-page", action="store_true", help="leave docs/operations/faults.md as it is")
    parser.add_argument("--at-once", type=int, default=1, help="so many side by side, but those that measure")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each row, for programs")
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument("--bounded", action="store_true", help="as much as each change can wait for (the default)")
    extent.add_argument("--full", action="store_true")
    asked = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":
        again = [sys.executable, "-m", "tests.faults", *sys.argv[1:]]
        os.execve(sys.executable, again, {**os.environ, "PYTHONHASHSEED": "0"})
    seed = asked.seed if asked.seed is not None else int.from_bytes(os.urandom(3))
    rows = _chosen(asked.rows, parser)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # a row's processes end with this one
    left_out = {row.number: reason for row in rows if (reason := row.needs())}
    for number, reason in left_out.items():
        print(_json_left_out(number, reason) if asked.json else f"row {number} is not run: {reason}", flush=True)
    lost = []
    able = [row for row in rows if row.number not in left_out]
    with closing(run_rows(able, seed, is_full=asked.full, at_once=asked.at_once)) as run:
        for seen in run:
            print(_json_of(seen) if asked.json else _line_of(seen), flush=True)
            if not seen.has_held:
                lost.append(seen.row.number)
            if not asked.no_page:
                _note(seen)
    if not asked.json:
        held = len(able) - len(lost)
        print(f"{len(rows)} rows, {held} held, seed {seed}; not held: {lost}; not run: {list(left_out)}")
    return 1 if lost else 0


def _chosen(numbers: str, parser: argparse.ArgumentParser) -> list[Row]:
    rows = all_rows()
    try:
        wanted = [int(number) for number in numbers.split(",") if number.strip()] or list(rows)
        return [rows[number] for number in wanted]
    except (ValueError, KeyError) as problem:
        parser.error(f"no such row: {problem}; there are {list(rows)}")


def _line_of(seen: Seen) -> str:
    told = " ".join(seen.told.split()) if seen.has_held else f"DID NOT HOLD\n{seen.told}"
    return f"row {seen.row.number}, {seen.row.fault}: {told} ({seen.seconds:.1f} s)"


def _json_left_out(number: int, reason: str) -> str:
    return json.dumps({"row": number, "left_out": reason})


def _json_of(seen: Seen) -> str:
    return json.dumps({"row": seen.row.number, "has_held": seen.has_held, "told": seen.told, "seconds": seen.seconds})


def _note(seen: Seen) -> None:
    """Into the page as it is by now: another run may have written other rows meanwhile."""
    texts = texts_of(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    title = title_of(seen.row)
    if keeps_earlier(texts.get(title, ""), seen):
        return
    hidden = (str(REPOSITORY), tempfile.gettempdir(), os.uname().nodename)
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M")
    texts[title] = text_of(seen, now, commit_name(), hidden)
    known = [title_of(row) for row in all_rows().values()]
    PAGE.write_text(render({title: texts[title] for title in known if title in texts}), encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
