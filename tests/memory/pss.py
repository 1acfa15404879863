"""Memory of processes, sampled while they work."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.processes import pss_bytes

MIB: Final = 1 << 20
SAMPLE_SECONDS: Final = 0.2


@dataclass
class Peaks:
    """The highest proportional set size seen, in bytes by process id, and in which phase it was."""

    phase: str = "start"
    samples: int = 0
    by_pid: dict[int, int] = field(default_factory=dict)
    by_phase: dict[str, int] = field(default_factory=dict)

    def note(self, pid: int, pss_bytes: int) -> None:
        self.samples += 1
        self.by_pid[pid] = max(pss_bytes, self.by_pid.get(pid, 0))
        self.by_phase[self.phase] = max(pss_bytes, self.by_phase.get(self.phase, 0))

    def __str__(self) -> str:
        phases = ", ".join(f"{name} {peak / MIB:.0f} MiB" for name, peak in self.by_phase.items())
        return f"peak PSS of a worker: {phases} ({self.samples} samples)"


def cpu_seconds_of(pid: int) -> float:
    """User and system time so far. Raises OSError when the process is gone."""
    words = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def watched(pids: Callable[[], list[int]]) -> Iterator[Peaks]:
    """Sample what `pids` names, from a thread, until left. Raises AssertionError when sampling ended early."""
    peaks, stopped = Peaks(), threading.Event()
    failures: list[BaseException] = []

    def sample() -> None:
        try:
            while not stopped.wait(SAMPLE_SECONDS):
                for pid in pids():
                    peaks.note(pid, pss_bytes(pid))
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield peaks
    finally:
        stopped.set()
        thread.join()
    assert not failures, f"sampling ended early: {failures}"
