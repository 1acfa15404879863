"""Processes under a process, read from /proc."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class ProcessFacts:
    """`started` is in clock ticks since boot: with the id it names a process for good, since ids are used again."""

    pid: int
    parent: int
    started: int
    state: str
    command: str


def facts_of(pid: int) -> ProcessFacts | None:
    """None when there is no such process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return ProcessFacts(pid, int(fields[1]), int(fields[19]), fields[0], command)


def tree_of(root: int) -> list[ProcessFacts]:
    """`root` and all below it, parents first; without the dead that wait to be reaped."""
    everyone = [facts for name in os.listdir("/proc") if name.isdigit() and (facts := facts_of(int(name)))]
    found = [facts for facts in everyone if facts.pid == root]
    for facts in found:  # grows while it is walked
        found.extend(one for one in everyone if one.parent == facts.pid)
    return [facts for facts in found if facts.state not in "ZX"]


def pss_bytes(pid: int) -> int:
    """The proportional set size. Raises OSError when the process is gone."""
    rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
    (line,) = (line for line in rollup.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1]) * 1024


def is_alive(process: ProcessFacts) -> bool:
    now = facts_of(process.pid)
    return now is not None and now.started == process.started and now.state not in "ZX"


def kill(process: ProcessFacts, number: signal.Signals = signal.SIGKILL) -> bool:
    """Signal it unless it is gone. Whether it was there."""
    if not is_alive(process):
        return False
    try:
        os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    return True


def wait_gone(processes: list[ProcessFacts], seconds: float) -> list[ProcessFacts]:
    """Those that still live after so long; empty as soon as all are gone."""
    end = time.monotonic() + seconds
    while living := [one for one in processes if is_alive(one)]:
        if time.monotonic() > end:
            return living
        time.sleep(0.02)
    return []
