"""`Pace`: whether a drive is likely to be slow, from what was seen of it and of its siblings lately. Pure; the clock is
injected.

What is slow depends on the others: on a busy machine everybody takes 100 ms, and to leave drives out then would only
make work for the healer. So a drive is slow when it takes several times as long as half of the drives do, or has let
one call wait for as long as that, or did not answer at all. A drive that hangs is thus known to within a quarter of a
second of its first call, without any call having ended.
"""

from typing import Final

from liteio_base.clock import Clock

_SLOW_SECONDS: Final = 0.5  # a smoothed answer time above this is slow whatever the others do
_SLOW_SECONDS_MIN: Final = 0.05  # below this nothing is slow
_SLOW_TIMES: Final = 4.0  # the usual answer time
_WAITING_SECONDS_MIN: Final = 0.25  # a call that waits for longer than this, and
_WAITING_TIMES: Final = 8.0  # so many times the usual answer time, is slow
_ANSWER_SECONDS_MAX: Final = 1.0  # one that took longer counts as this, so that a drive that hung is soon well again
_WEIGHT: Final = 0.2  # of the newest answer time
_MEMORY_SECONDS: Final = 5.0  # a verdict that nothing renewed is dropped: somebody must ask to find out
_USUAL_SECONDS: Final = 0.1  # how long the usual answer time is kept before it is worked out again
_NEVER: Final = float("-inf")


class Paces:
    """Those of drives that do the same work: the drives of a store, for one process."""

    __slots__ = ("_clock", "_known_at", "_members", "_usual")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._members: list[Pace] = []
        self._usual, self._known_at = 0.0, _NEVER

    def new(self) -> "Pace":
        pace = Pace(self._clock, self)
        self._members.append(pace)
        return pace

    def usual_seconds(self, now: float) -> float:
        """What half of the drives seen lately keep to."""
        if now - self._known_at >= _USUAL_SECONDS:
            lately = sorted(pace.seconds for pace in self._members if now - pace.seen_at < _MEMORY_SECONDS)
            self._usual, self._known_at = lately[(len(lately) - 1) // 2] if lately else 0.0, now
        return self._usual


class Pace:
    """`begin` and `end` go around each call that a healthy drive answers in milliseconds; in between one of the
    others says what came of it."""

    __slots__ = ("_clock", "_failed_at", "_next", "_paces", "_waiting", "seconds", "seen_at")

    def __init__(self, clock: Clock, paces: Paces | None = None) -> None:
        self._clock = clock
        self._paces = paces
        self._waiting: dict[int, float] = {}  # calls by number, oldest first: since when
        self._next = 0
        self._failed_at = _NEVER
        self.seconds, self.seen_at = 0.0, _NEVER  # the smoothed answer time, and when it was renewed

    def begin(self) -> int:
        """A call is made. Its number, for `end`."""
        self._next += 1
        self._waiting[self._next] = self._clock.monotonic()
        return self._next

    def end(self, number: int) -> float:
        """It is over, whatever came of it. How long it took."""
        return self._clock.monotonic() - self._waiting.pop(number)

    def saw_answer(self, seconds: float) -> None:
        self.seconds += _WEIGHT * (min(seconds, _ANSWER_SECONDS_MAX) - self.seconds)
        self.seen_at = self._clock.monotonic()
        self._failed_at = _NEVER

    def saw_patience_end(self, seconds: float) -> None:
        """Nobody waits for the answer any more, and it had not come after so long: it would have taken longer."""
        if seconds > self.seconds:
            self.saw_answer(seconds)

    def saw_failure(self) -> None:
        """No answer: a time-out, or nobody there."""
        self._failed_at = self._clock.monotonic()

    @property
    def is_slow(self) -> bool:
        now = self._clock.monotonic()
        if now - self._failed_at < _MEMORY_SECONDS:
            return True
        usual = self._paces.usual_seconds(now) if self._paces is not None else self.seconds
        for since in self._waiting.values():  # the oldest
            if now - since > max(_WAITING_SECONDS_MIN, _WAITING_TIMES * usual):
                return True
            break
        is_seen = now - self.seen_at < _MEMORY_SECONDS
        return is_seen and self.seconds > min(_SLOW_SECONDS, max(_SLOW_SECONDS_MIN, _SLOW_TIMES * usual))
