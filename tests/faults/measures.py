"""What rows measure and compare of a machine's objects."""

import statistics
import time

from tests.faults.machine import INLINE, ONE_BLOCK, Machine, content_of
from tests.faults.registry import require


async def latencies(machine: Machine, contents: dict[str, bytes], count: int) -> list[float]:
    """Seconds of each of `count` GETs, every one of them right."""
    found = []
    keys = sorted(contents)
    for number in range(count):
        key = keys[number % len(keys)]
        began = time.perf_counter()
        require(await machine.get(key) == contents[key], f"{key}: wrong bytes")
        found.append(time.perf_counter() - began)
    return found


def p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[98]


async def filled(machine: Machine, seed: object, count: int = 20) -> dict[str, bytes]:
    contents = {f"k{at:02}": content_of((seed, at), (INLINE, ONE_BLOCK)[at % 2]) for at in range(count)}
    for key, content in contents.items():
        await machine.put(key, content)
    await machine.settle()
    return contents


async def require_contents(machine: Machine, contents: dict[str, bytes], what: str) -> None:
    for key, content in contents.items():
        require(await machine.get(key) == content, f"{what}: {key} is wrong or gone")
