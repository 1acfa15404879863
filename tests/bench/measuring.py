"""One server's part of a round: each line's load, and what it did to the server meanwhile."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from tests.bench.lines import SMALL_BYTES, VERSIONS_FILL, Line, Scale, fills_of, loads_of, puts_before
from tests.bench.load import Result, merged, quantile, run_loads
from tests.bench.servers import Running, Server, running

_SAMPLE_SECONDS: Final = 0.5
_MIB: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Figure:
    """Of one line in one round. `cpu_ms` is the server's processor time an operation, `memory_mib` the peak under the
    load; `errors` counts what went wrong, by what came."""

    operations_a_second: float
    p50_ms: float
    p99_ms: float
    first_byte_p50_ms: float
    first_byte_p99_ms: float
    cpu_ms: float
    memory_mib: float
    errors: dict[str, int] = field(default_factory=dict)


def figure_of(result: Result, cpu_seconds: float, peak_bytes: int) -> Figure:
    operations = result.operations
    return Figure(
        operations_a_second=operations / result.seconds,
        p50_ms=quantile(result.latencies, 0.5),
        p99_ms=quantile(result.latencies, 0.99),
        first_byte_p50_ms=quantile(result.first_bytes, 0.5),
        first_byte_p99_ms=quantile(result.first_bytes, 0.99),
        cpu_ms=cpu_seconds / operations * 1000 if operations else float("nan"),
        memory_mib=peak_bytes / _MIB,
        errors=result.errors,
    )


async def fill(server: Server, folder: Path, ports: Sequence[int], lines: Sequence[Line], scale: Scale) -> int:
    """Put there what the lines need. How many versions the one key then has. Raises ServerFailed, RuntimeError."""
    versions = 0
    with running(server, folder, ports) as process:
        for what, loads in fills_of(lines, scale, process.port).items():
            result = merged(await run_loads(loads))
            if result.errors:
                raise RuntimeError(f"filling in {what}: {result.errors}")
            if what == VERSIONS_FILL:
                versions = result.operations
    return versions


async def measure_lines(
    process: Running, lines: Sequence[Line], scale: Scale, round_number: int
) -> AsyncIterator[tuple[Line, Figure]]:
    """Each line's figure as it is known. Raises RuntimeError when a load does not come to an end."""
    made: list[int] = []
    await _warm_up(process, scale)
    for line in lines:
        if line.operation == "DELETE_MANY" or (line.operation == "DELETE" and not made):
            puts = puts_before(line, scale, process.port, round_number)
            made = [one.attempts for one in await run_loads(puts)]
        loads = loads_of(line, scale, process.port, round_number, made)
        async with _watched(process) as used:
            results = await run_loads(loads)
        if line.operation == "PUT" and line.size_bytes == SMALL_BYTES:
            made = [result.attempts for result in results]
        yield line, figure_of(merged(results), used.cpu_seconds, process.peak_bytes)


async def _warm_up(process: Running, scale: Scale) -> None:
    """Half as long as a line, small objects read and written: interpreters, pools and caches are then awake."""
    mixed = Line("", "MIXED", SMALL_BYTES, 0.0)
    await run_loads(loads_of(mixed, replace(scale, seconds=scale.seconds / 2), process.port, 0, []))


@dataclass(slots=True)
class Used:
    cpu_seconds: float = 0.0


@asynccontextmanager
async def _watched(process: Running) -> AsyncIterator[Used]:
    """Processor time used inside is known afterwards, and the process knows its peak of memory inside."""
    used, before = Used(), process.cpu_seconds()
    process.forget_peak()

    async def sample() -> None:
        while True:
            await asyncio.to_thread(process.sample_memory)
            await asyncio.sleep(_SAMPLE_SECONDS)

    sampling = asyncio.ensure_future(sample())
    try:
        yield used
    finally:
        sampling.cancel()
        await asyncio.gather(sampling, return_exceptions=True)
        process.sample_memory()
        used.cpu_seconds = process.cpu_seconds() - before
