"""Yielding to clients: how much of the time background work may take, by what clients ask of the drives meanwhile.

Drives count the calls that are made for clients, by all processes, and tell it in their status; so it does not matter
where gateways run. Nobody there: full speed. The busier they are, the smaller the share of the time in which anything
is healed, one thing at a time, down to a tenth.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from liteio_base.clock import Clock
from liteio_base.ids import DriveId

SHARE_MIN: Final = 0.1
QUIET_CALLS: Final = 5.0  # a second and drive, at which nobody is in anybody's way
HALF_CALLS: Final = 50.0  # at which half of the time is the clients'
REST_SECONDS_MAX: Final = 5.0
WINDOW_SECONDS: Final = 3.0


class Pacer:
    """One a process. `calls_a_second`: for clients, on the busiest drive, as `note` last came to know."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._one_at_a_time = asyncio.Lock()
        self._seen: deque[tuple[float, Mapping[DriveId, int]]] = deque()  # the counts of the last seconds
        self.calls_a_second = 0.0
        self.share = 1.0

    @property
    def is_yielding(self) -> bool:
        return self.share < 1.0

    def note(self, counts: Mapping[DriveId, int]) -> None:
        """Calls for clients that each drive has counted up to now; a drive that did not answer is left out."""
        now = self._clock.monotonic()
        rates = [_busiest(before, counts) / (now - then) for then, before in self._seen if now > then]
        if rates:
            # Processes add to the counts once a second: the time since the last look alone may miss all of it.
            self.calls_a_second = max(0.0, rates[0], rates[-1])
            self.share = share_at(self.calls_a_second)
        self._seen.append((now, dict(counts)))
        while len(self._seen) > 1 and now - self._seen[1][0] >= WINDOW_SECONDS:
            self._seen.popleft()

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Around a piece of background work: while clients are busy pieces come one by one, with rests in between."""
        if not self.is_yielding:
            yield
            return
        async with self._one_at_a_time:
            began = self._clock.monotonic()
            try:
                yield
            finally:
                await self._rest(self._clock.monotonic() - began)

    async def _rest(self, worked_seconds: float) -> None:
        await self._clock.sleep(min(worked_seconds * (1 / self.share - 1), REST_SECONDS_MAX))


def _busiest(before: Mapping[DriveId, int], after: Mapping[DriveId, int]) -> int:
    """By how much the count grew that grew most. One that went back is of a drive that was opened anew."""
    return max((after[drive] - before[drive] for drive in after if drive in before), default=0)


def share_at(calls_a_second: float) -> float:
    """The share of the time that background work may take."""
    if calls_a_second <= QUIET_CALLS:
        return 1.0
    return max(SHARE_MIN, 1 / (1 + calls_a_second / HALF_CALLS))
