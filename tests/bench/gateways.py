"""What one, two and three gateways do over the same four nodes, all on this machine.

More gateways are more processes, which share the machine's processors with the nodes and the load: on two cores the sum
hardly grows. What it shows there is that they do not stand in each other's way.
"""

import os
import tempfile
from pathlib import Path
from typing import Final

from tests.bench.load import Load, quantile, run_processes
from tests.support.cluster import Cluster, running
from tests.support.server import ACCESS_KEY, SECRET_KEY

_BUCKET: Final = "bench"
_GATEWAYS: Final = (1, 2, 3)
_CLIENTS: Final = 18  # in all
_OPERATIONS: Final = ("PUT", "GET", "HEAD")


async def compare_gateways(size: int) -> None:
    """`size` scales the number of operations."""
    print(f"{'4 KiB through':14} " + " ".join(f"{name + '/s':>8} {'p50 ms':>7} {'p99 ms':>7}" for name in _OPERATIONS))
    with tempfile.TemporaryDirectory(prefix="liteio-bench-") as folder:
        cluster = Cluster(Path(folder), node_count=4, drives_per_node=1, gateway_count=max(_GATEWAYS), parity=2)
        with running(cluster):
            await run_processes([_load(cluster.gateway_ports[0], "BUCKET", "", 1, 1)])
            for count in _GATEWAYS:
                figures = [await _measure(cluster.gateway_ports[:count], name, 600 * size) for name in _OPERATIONS]
                told = " ".join(f"{rate:8,.0f} {p50:7.1f} {p99:7.1f}" for rate, p50, p99 in figures)
                print(f"{count} gateway{'s' if count > 1 else ' '}     {told}", flush=True)
    print(f"{_CLIENTS} clients in all; {os.cpu_count()} processors for load, gateways and nodes together")


async def _measure(ports: list[int], operation: str, count: int) -> tuple[float, float, float]:
    """Operations a second, and the median and 99th percentile of their times in milliseconds."""
    loads = [
        _load(port, operation, f"{len(ports)}-{number}/", count // len(ports), _CLIENTS // len(ports))
        for number, port in enumerate(ports)
    ]
    result = await run_processes(loads)
    rate = result.operations / result.seconds
    return rate, quantile(result.latencies, 0.5), quantile(result.latencies, 0.99)


def _load(port: int, operation: str, prefix: str, count: int, clients: int) -> Load:
    return Load("127.0.0.1", port, ACCESS_KEY, SECRET_KEY, _BUCKET, operation, prefix, count, clients, 4096)
