"""`python -m tests.proof`, which is `make proof`: run everything at full size and write docs/proof.md; or some sections
with `--only`, and the page keeps the others as they are.

A section that fails is written down as failed, the others still run, and the exit code is 1. What the sections print is
kept under .proof/, which git ignores.
"""

import argparse
import datetime
import os
import subprocess
import sys
import tempfile
import time
from typing import Final

from tests.proof.machine import commit_name, machine_facts
from tests.proof.page import Outcome, render, text_of, texts_of
from tests.proof.sections import Section, all_sections
from tests.support.paths import REPOSITORY

PAGE: Final = REPOSITORY / "docs" / "proof.md"
LOGS: Final = REPOSITORY / ".proof"


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the proof and write docs/proof.md.")
    parser.add_argument("--seeds", type=int, default=10_000, help="of the simulation")
    parser.add_argument("--only", default="", help="titles, with semicolons between")
    asked = parser.parse_args()
    wanted = {title.strip().lower() for title in asked.only.split(";")} - {""}
    sections = [one for one in all_sections(asked.seeds) if not wanted or one.title.lower() in wanted]
    if not sections:
        parser.error(f"no section is called {asked.only!r}")
    LOGS.mkdir(exist_ok=True)
    hidden = (str(REPOSITORY), tempfile.gettempdir(), os.uname().nodename)
    is_proven = True
    for section in sections:
        outcome = run(section)
        is_proven = is_proven and outcome.exit_code == 0
        # As it is by now: another run may have written other sections meanwhile.
        texts = texts_of(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M")
        texts[section.title] = text_of(outcome, now, commit_name(), hidden)
        known = {one.title: texts[one.title] for one in all_sections(asked.seeds) if one.title in texts}
        PAGE.write_text(render(machine_facts(), known), encoding="utf-8")
    return 0 if is_proven else 1


def run(section: Section) -> Outcome:
    print(f"{section.title}: {section.command}", flush=True)
    log = LOGS / f"{section.title.split(',')[0].lower()}.log"
    began = time.monotonic()
    with log.open("w", encoding="utf-8") as output:
        done = subprocess.run(
            [sys.executable, *section.arguments],
            cwd=REPOSITORY,
            env={**os.environ, **section.environment},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    outcome = Outcome(section, done.returncode, time.monotonic() - began, log.read_text(errors="replace"))
    print(f"{section.title}: {outcome.verdict} after {outcome.seconds:.0f} s", flush=True)
    return outcome


if __name__ == "__main__":
    raise SystemExit(main())
