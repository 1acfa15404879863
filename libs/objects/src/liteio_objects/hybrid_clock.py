"""Hybrid time: wall-clock nanoseconds that never go back for a key, whatever the clocks of the gateways say."""

from typing import Final

from liteio_base.clock import Clock, Randomness
from liteio_base.ids import NO_TIME, HybridTime

# Two rivals that saw the same newest time and whose clocks are both behind it would choose the same next time, and
# records of one version are told apart by their times. A random step of up to a millisecond keeps them apart.
_STEP_BYTES: Final = 3
_STEP_NS_MAX: Final = 1_000_000


class HybridClock:
    """Gives the time of the next record of a key."""

    def __init__(self, clock: Clock, randomness: Randomness) -> None:
        self._clock, self._randomness = clock, randomness
        self._last = NO_TIME

    def after(self, newest_seen: HybridTime) -> HybridTime:
        """A time after everything seen, and after the one given last: max(now, newest seen + 1), and a random step of
        less than a millisecond."""
        step = int.from_bytes(self._randomness.token_bytes(_STEP_BYTES), "big") % _STEP_NS_MAX
        now = self._clock.now_ns()
        time = max(now, newest_seen + 1) + step
        if self._last < now + _STEP_NS_MAX:  # Later only where a key was ahead of the clock: others do not follow it.
            time = max(time, self._last + 1)
        self._last = HybridTime(time)
        return self._last
