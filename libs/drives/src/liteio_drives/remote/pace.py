"""`Pace`: whether a drive is likely to be slow, from what was seen of it lately. Pure; the clock is injected."""

from typing import Final

from liteio_base.clock import Clock

_SLOW_SECONDS: Final = 0.5  # a smoothed answer time above this is slow for calls that take milliseconds
_WEIGHT: Final = 0.2  # of the newest answer time
_MEMORY_SECONDS: Final = 5.0  # a verdict that nothing renewed is dropped: somebody must ask to find out


class Pace:
    __slots__ = ("_clock", "_failed_at", "_seconds", "_seen_at")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seconds = 0.0
        self._seen_at = self._failed_at = float("-inf")

    def saw_answer(self, seconds: float) -> None:
        self._seconds += _WEIGHT * (seconds - self._seconds)
        self._seen_at = self._clock.monotonic()
        self._failed_at = float("-inf")

    def saw_failure(self) -> None:
        """No answer: a time-out, or nobody there."""
        self._failed_at = self._clock.monotonic()

    @property
    def is_slow(self) -> bool:
        now = self._clock.monotonic()
        has_failed = now - self._failed_at < _MEMORY_SECONDS
        return has_failed or (self._seconds > _SLOW_SECONDS and now - self._seen_at < _MEMORY_SECONDS)
