"""`SimClock`: the Clock seam on a SimLoop's virtual time, with a wall clock that may be wrong."""

import asyncio

from liteio_testkit.manual_clock import EPOCH_NS

_NS = 1_000_000_000


class SimClock:
    """One machine's clock. All clocks of a loop share its monotonic time; each has a wall of its own.

    skew_seconds: how far this wall is ahead. drift: by how much it runs fast, 1e-4 being 0.1 ms a second.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, *, skew_seconds: float = 0.0, drift: float = 0.0) -> None:
        self._loop = loop
        self._skew_ns = round(skew_seconds * _NS)
        self._drift = drift

    def now_ns(self) -> int:
        return EPOCH_NS + self._skew_ns + round(self._loop.time() * (1 + self._drift) * _NS)

    def monotonic(self) -> float:
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def step_wall(self, seconds: float) -> None:
        """Move the wall clock, back too, as an NTP step does."""
        self._skew_ns += round(seconds * _NS)
