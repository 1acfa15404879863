"""`ManualClock`: time that moves only when a test says so. For tests without a SimLoop."""

from typing import Final

EPOCH_NS: Final = 1_700_000_000_000_000_000  # where test time begins, in wall nanoseconds since 1970
_NS: Final = 1_000_000_000


class ManualClock:
    """Wall and monotonic time that `advance` moves together. A sleeper moves time itself and never waits."""

    def __init__(self, now_ns: int = EPOCH_NS) -> None:
        self._start_ns = now_ns
        self._elapsed_ns = 0

    def now_ns(self) -> int:
        return self._start_ns + self._elapsed_ns

    def monotonic(self) -> float:
        return self._elapsed_ns / _NS

    def advance(self, seconds: float) -> None:
        self._elapsed_ns += round(seconds * _NS)

    def step_wall(self, seconds: float) -> None:
        """Move the wall clock alone, back too, as an NTP step does."""
        self._start_ns += round(seconds * _NS)

    async def sleep(self, seconds: float) -> None:
        self.advance(max(0.0, seconds))
