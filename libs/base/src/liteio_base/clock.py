"""Time and chance as seams: nothing in liteio reads a clock or draws a random number except through these two."""

import asyncio
import os
import random
import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from."""

    def now_ns(self) -> int:
        """Wall-clock nanoseconds since 1970, which may step back."""

    def monotonic(self) -> float:
        """Seconds that never go back, for leases, deadlines and measures."""

    async def sleep(self, seconds: float) -> None: ...


class Randomness(Protocol):
    """Where chance comes from."""

    def token_bytes(self, count: int) -> bytes: ...

    def uniform(self, low: float, high: float) -> float: ...


class SystemClock:
    """The machine's clocks."""

    now_ns = staticmethod(time.time_ns)
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SystemRandomness:
    """The kernel's randomness for ids; a plain generator for jitter."""

    def token_bytes(self, count: int) -> bytes:
        return os.urandom(count)

    def uniform(self, low: float, high: float) -> float:
        return random.uniform(low, high)
