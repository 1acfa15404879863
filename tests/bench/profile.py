"""Where a server's processor time goes under each line's load: by part of the program, and by Python package.

With `perf` (Debian's linux-perf) and py-spy, which is among the tools of development; root sees the kernel too. What is
printed are tables for docs/performance.md. Nothing is measured against the clock: sampling costs time itself.
"""

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from tests.bench.lines import QUICK, Line, Scale, loads_of, puts_before
from tests.bench.load import merged, run_loads
from tests.bench.measuring import fill
from tests.bench.servers import SERVERS, Running, ports_for_server, running
from tests.support.paths import BIN
from tests.support.processes import tree_of

_CALLS: Final = (
    *("futex", "pread64", "pwrite64", "fdatasync", "flock", "fcntl", "read", "write", "writev", "sendto", "recvfrom"),
    *("epoll_wait", "epoll_pwait", "openat", "close", "unlink", "rename", "fallocate", "preadv", "pwritev"),
)
_EVENTS: Final = {
    "context-switches": "switches",
    "raw_syscalls:sys_enter": "system calls",
    **{f"syscalls:sys_enter_{call}": call for call in _CALLS},
}
_PARTS: Final = {
    "kernel": r"kernel|\[vdso\]",
    "interpreter": r"python3",
    "SQLite, apsw": r"^__init__\.cpython.*|sqlite|apsw",
    "libc: malloc, memcpy": r"libc\.so|ld-linux",
    "event loop, HTTP": r"loop\.cpython|parser\.cpython|_asyncio",
    "msgspec": r"_core\.cpython",
    "MD5, SHA-256": r"libcrypto|_md5|_hashlib",
    "hashes of blocks": r"_highway|highwayhash",
    "erasure coding": r"isal|erasurecode|pyeclib",
}
_SYMBOLS_SHOWN: Final = 12


@dataclass(frozen=True, slots=True)
class Profile:
    """Of one line. `counts` are of the server, an operation; shares are of all samples."""

    line: str
    cpu_ms: float
    counts: Mapping[str, float]
    parts: Mapping[str, float]
    symbols: Sequence[tuple[float, str]]
    packages: Mapping[str, float]


async def profile_lines(lines: Sequence[Line], seconds: float) -> None:
    """Print the tables of these lines. Raises FileNotFoundError when `perf` is not there."""
    if not shutil.which("perf"):
        raise FileNotFoundError("perf is not on PATH: apt install linux-perf")
    [server] = [each for each in SERVERS if each.name == "liteio"]
    scale, ports = replace(QUICK, seconds=seconds), ports_for_server()
    with tempfile.TemporaryDirectory(prefix="liteio-profile-") as name:
        folder = Path(name)
        await fill(server, folder / "data", ports, lines, scale)
        with running(server, folder / "data", ports) as process:
            profiles = [await _profile(process, line, scale, folder) for line in lines]
    print(render(profiles))


async def _profile(process: Running, line: Line, scale: Scale, folder: Path) -> Profile:
    """The load runs three times: counted, sampled by perf, sampled by py-spy. Each alone would disturb the others."""
    counts_file, samples = folder / "counts", folder / "samples"
    pids = [str(facts.pid) for facts in tree_of(process.process.pid)]
    made = await _made(process, line, scale, 0)
    before = process.cpu_seconds()
    count = ("perf", "stat", "-x", ",", "-e", ",".join(_EVENTS), "-o", str(counts_file), "-p", ",".join(pids))
    with _beside(count):
        operations = await _load(process, line, scale, 0, made)
    cpu_seconds = process.cpu_seconds() - before
    made = await _made(process, line, scale, 1)
    with _beside(("perf", "record", "-q", "-F", "499", "-o", str(samples), "-p", ",".join(pids))):
        await _load(process, line, scale, 1, made)
    made = await _made(process, line, scale, 2)
    [*_, worker] = [facts.pid for facts in tree_of(process.process.pid) if "liteio_gateway" in facts.command]
    stacks = folder / "stacks"
    spy = (str(BIN / "py-spy"), "record", "-p", str(worker), "-g", "-f", "raw", "-o", str(stacks))
    with _beside((*spy, "-r", "250", "-d", "3600")):
        await _load(process, line, scale, 2, made)
    return Profile(
        line.name,
        cpu_seconds / operations * 1000,
        {what: count / operations for what, count in counts_of(counts_file.read_text()).items()},
        parts_of(_report(samples, "dso")),
        [(share, symbol) for symbol, share in _report(samples, "symbol").items()][:_SYMBOLS_SHOWN],
        packages_of(stacks.read_text().splitlines()) if stacks.exists() else {},
    )


async def _made(process: Running, line: Line, scale: Scale, number: int) -> list[int]:
    """What a DELETE is to delete."""
    if not line.operation.startswith("DELETE"):
        return []
    loads = puts_before(line, replace(scale, seconds=2 * scale.seconds), process.port, number)
    return [one.attempts for one in await run_loads(loads)]


async def _load(process: Running, line: Line, scale: Scale, number: int, made: list[int]) -> int:
    result = merged(await run_loads(loads_of(line, scale, process.port, number, made)))
    if result.errors or not result.operations:
        raise RuntimeError(f"{line.name}: {result.errors}")
    return result.operations


@contextmanager
def _beside(command: Sequence[str]) -> Iterator[None]:
    tool = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        yield
    finally:
        tool.send_signal(2)  # SIGINT: both write what they have
        tool.wait(60)


def counts_of(told: str) -> dict[str, int]:
    """What `perf stat -x ,` says: count, unit, event and more, a line each."""
    rows = [line.split(",") for line in told.splitlines() if "," in line]
    return {_EVENTS[row[2]]: int(row[0]) for row in rows if len(row) > 2 and row[2] in _EVENTS and row[0].isdigit()}


def _report(samples: Path, by: str) -> dict[str, float]:
    command = ("perf", "report", "-i", str(samples), "--stdio", "-g", "none", "--no-children", "--sort", by)
    told = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}, check=True).stdout
    found = (re.match(r"\s*([\d.]+)%\s+(?:\[[.k]\]\s+)?(.+?)(?:\s+-)*\s*$", line) for line in told.splitlines())
    return {match[2]: float(match[1]) for match in found if match}


def parts_of(shares: Mapping[str, float]) -> dict[str, float]:
    """Shares by shared object, summed up by what it is part of."""
    parts = dict.fromkeys(_PARTS, 0.0)
    for name, share in shares.items():
        part = next((part for part, pattern in _PARTS.items() if re.search(pattern, name)), "other")
        parts[part] = parts.get(part, 0.0) + share
    return parts


def packages_of(stacks: Sequence[str]) -> dict[str, float]:
    """Shares of the innermost Python frame's package, of `frame;frame count` lines, as py-spy writes them."""
    packages: Counter[str] = Counter()
    for line in stacks:
        stack, _, count = line.rpartition(" ")
        found = re.search(r"\(([\w.]+)[/.]", stack.rpartition(";")[2])
        packages[found[1] if found else "other"] += int(count)
    total = sum(packages.values())
    return {name: 100 * count / total for name, count in packages.most_common()} if total else {}


def render(profiles: Sequence[Profile]) -> str:
    """The tables, in Markdown."""
    lines = _table("an operation", [(one.line, {"processor ms": one.cpu_ms, **one.counts}) for one in profiles], 0.05)
    lines += ["", *_table("part, % of processor time", [(one.line, one.parts) for one in profiles], 1)]
    lines += ["", *_table("Python package, % of samples", [(one.line, one.packages) for one in profiles], 1)]
    for one in profiles:
        lines += ["", f"{one.line}: " + ", ".join(f"{symbol} {share:.1f} %" for share, symbol in one.symbols)]
    return "\n".join(lines)


def _table(what: str, columns: Sequence[tuple[str, Mapping[str, float]]], least: float) -> list[str]:
    """Rows of which no column has as much as `least` are left out."""
    names = dict.fromkeys(name for _, shares in columns for name, share in shares.items() if share >= least)
    rows = [
        _row(name, *(_figure(shares[name]) if shares.get(name, 0) >= least / 2 else "" for _, shares in columns))
        for name in names
    ]
    return [_row(what, *(title for title, _ in columns)), _row(*["---"] * (1 + len(columns))), *rows]


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.1f}" if value >= 1 else f"{value:.2f}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def main(only: str, seconds: float) -> None:
    from tests.bench.lines import select_lines

    asyncio.run(profile_lines(select_lines(only), seconds))
