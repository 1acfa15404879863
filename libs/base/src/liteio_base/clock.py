"""Time and chance as seams: nothing in liteio reads a clock or draws a random number except through these two."""

import asyncio
import os
import random
import threading
import time
from typing import Final, Protocol

_STOCK_BYTES: Final = 4096


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
    """The kernel's randomness for ids, fetched some 4 KiB at a time; a plain generator for jitter.

    Every call of the kernel lets go of the interpreter's lock, which costs more than the bytes when other threads wait
    for it. No byte is given twice: not to two threads, nor to a process and its forked child.
    """

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._stock = b""
        self._used = 0
        self._process = 0

    def token_bytes(self, count: int) -> bytes:
        if count > _STOCK_BYTES:
            return os.urandom(count)
        with self._guard:
            start, end = self._used, self._used + count
            if end > len(self._stock) or self._process != os.getpid():
                self._stock, self._process = os.urandom(_STOCK_BYTES), os.getpid()
                start, end = 0, count
            self._used = end
            return self._stock[start:end]

    def uniform(self, low: float, high: float) -> float:
        return random.uniform(low, high)
