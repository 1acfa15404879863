"""Time and chance as seams: nothing in liteio reads a clock or draws a random number except through these two."""

import asyncio
import os
import random
import time
from typing import Final, Protocol

_STOCK_BYTES: Final = 4096
_PIECE_BYTES: Final = 16  # as most ids need


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
        self._stock: list[bytes] = []  # Taken from and added to in one step each, so that threads need no lock.
        self._process = os.getpid()

    def token_bytes(self, count: int) -> bytes:
        if count > _PIECE_BYTES:
            return os.urandom(count)
        if self._process != os.getpid():
            self._stock, self._process = [], os.getpid()
        try:
            return self._stock.pop()[:count]
        except IndexError:
            fresh = os.urandom(_STOCK_BYTES)
            first, *others = [fresh[at : at + _PIECE_BYTES] for at in range(0, _STOCK_BYTES, _PIECE_BYTES)]
            self._stock.extend(others)
            return first[:count]

    def uniform(self, low: float, high: float) -> float:
        return random.uniform(low, high)
