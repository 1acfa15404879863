"""`Paces`: which drives of a set are slow, and how long an answer may take before another drive is asked too; both from
what was seen of the drives lately, near or far. Pure; `now` and all moments are of one clock that never goes back.

What is slow depends on the others: on a busy machine everybody takes 100 ms, and to leave drives out then would only
make work for the healer. So a drive is *slow* when it takes several times as long as half of the drives do for the same
kind of call, again and again; when it lets one call wait for much longer than that; or when it did not answer at all.
No more than M drives of a set are slow at a time: the worst.

One long answer says nothing: disks stall, caches are cold, a batch waits behind a checkpoint and comes back together.
So of calls that overlap only one counts, for not more than so much, and it takes three in a row. A drive is slow no
longer when it has been as quick as it should for some calls, or nobody has asked it for a while.

A drive is *late* from the moment when a read turned to another drive because this one had not answered, until it does:
the reads of that time ask it last.
"""

import math
from collections.abc import Collection, Hashable, Sequence
from typing import Final

from liteio_contracts.storage_errors import DriveFull, DriveUnavailable, StorageError

SLOW_SECONDS_MIN: Final = 0.05  # below this nothing is slow
SLOW_TIMES: Final = 4.0  # the usual answer time of the same kind of call
WAITING_SECONDS_MIN: Final = 0.25  # a call that waits for longer than this, and
WAITING_TIMES: Final = 8.0  # so many times the usual answer time, makes its drive slow while it waits
MEMORY_SECONDS: Final = 5.0  # a verdict that nothing renewed is dropped: somebody must ask to find out
PROBE_SECONDS: Final = 0.25  # a slow drive that nobody needs is asked beside the others this long after its last answer

# How bad one call counts, in units of what is slow: the smoothed value passes 1 with the third such call in a row, not
# with the second (0.44 + 0.8 * (0.44 + 0.8 / 4) < 1), and falls below the half by seven quick ones at most.
_WEIGHT: Final = 0.2
_WORST: Final = 2.2
_UNANSWERED: Final = 1.3  # a call that was given up sooner than that is told: it had the time that is usual, and more
_WELL: Final = 0.5

# A hedge: what nearly all answers keep to, from the mean and the mean deviation, as TCP tells when to send again (RFC
# 6298). With answers as scattered as those of a queue (exponential), one in a thousand takes longer.
HEDGE_SECONDS_MIN: Final = 0.01  # an answer that takes less is not worth another call
HEDGE_SECONDS_MAX: Final = 0.15
_DEVIATIONS: Final = 8.0
_ANSWERS_MIN: Final = 16  # before so many of a drive nothing is usual for it
_ANSWERS_KEPT: Final = 64  # the weight of the newest is one in so many
# How long what is usual is kept before it is worked out again: less than three slow calls in a row take, so that nobody
# is slow where all take long since a moment ago.
_USUAL_SECONDS: Final = 0.1
_NEVER: Final = float("-inf")
_NOBODY: Final[frozenset[int]] = frozenset()


class _Seen:
    """One kind of call on one drive."""

    __slots__ = ("badness", "count", "counted_at", "deviation", "is_slow", "last", "mean", "recent", "seen_at")

    def __init__(self) -> None:
        self.mean = self.deviation = 0.0
        self.last = self.recent = 0.0  # the last that counted, and the mean of the last few
        self.count = 0  # of answers, up to _ANSWERS_KEPT
        self.seen_at = self.counted_at = _NEVER  # the last answer; the last call that counted for `badness`
        self.badness = 0.0
        self.is_slow = False


class Pace:
    """One kind of call on all drives of a set."""

    __slots__ = ("_hedge", "_known_at", "_paces", "_slots", "_slow_seconds", "hedges", "usual", "what")

    def __init__(self, paces: "Paces", what: str, width: int) -> None:
        self._paces, self.what = paces, what
        self._slots = [_Seen() for _ in range(width)]
        self.usual = 0.0  # what half of the drives keep to just now
        self._slow_seconds, self._hedge, self._known_at = SLOW_SECONDS_MIN, HEDGE_SECONDS_MAX, _NEVER
        self.hedges = 0
        """Calls made so far because another drive was late, or failed."""

    def saw_answer(self, slot: int, began: float, now: float) -> None:
        """A call that began at `began` is answered; a refusal is an answer, too."""
        seen, seconds = self._slots[slot], now - began
        seen.seen_at = now
        if seen.count < _ANSWERS_KEPT:
            seen.count += 1
        off = seconds - seen.mean
        seen.mean += off / seen.count
        seen.deviation += (abs(off) - seen.deviation) / seen.count
        if began >= seen.counted_at:
            self._count(seen, slot, seconds, 0.0, now)
            self._paces.saw_life(slot)

    def saw_error(self, slot: int, error: StorageError, began: float, now: float) -> None:
        """A call that began at `began` failed."""
        if not isinstance(error, DriveUnavailable):
            self.saw_answer(slot, began, now)
        elif not isinstance(error, DriveFull):
            self._paces.saw_failure(slot, now)

    def saw_end_of_patience(self, slot: int, began: float, now: float) -> None:
        """A call was given up; when it would have been answered will not be seen."""
        seen, seconds = self._slots[slot], now - began
        if seconds >= self.hedge_seconds(now) and began >= seen.counted_at:
            self._count(seen, slot, max(seconds, seen.recent), _UNANSWERED, now)

    def begin_waiting(self, call: Hashable, slot: int, began: float) -> None:
        """A call that began at `began` goes on, and nobody waits for its answer."""
        self._paces.begin_waiting(call, slot, began, self)

    def end_waiting(self, slot: int, call: Hashable) -> None:
        self._paces.end_waiting(call, slot)

    def hedge_seconds(self, now: float) -> float:
        """How long an answer is waited for before another drive is asked as well."""
        if now - self._known_at >= _USUAL_SECONDS:
            self._learn(now)
        return self._hedge

    def badness(self, slot: int, now: float) -> float:
        """Of a drive that is slow, above 0; else 0."""
        seen = self._slots[slot]
        if seen.is_slow and now - seen.counted_at >= MEMORY_SECONDS:
            seen.is_slow = False
        return seen.badness if seen.is_slow else 0.0

    def recent_seconds(self, slot: int) -> float:
        return self._slots[slot].recent

    def counted_at(self, slot: int) -> float:
        return self._slots[slot].counted_at

    def _count(self, seen: _Seen, slot: int, seconds: float, badness_min: float, now: float) -> None:
        seen.counted_at, seen.last = now, seconds
        seen.recent += _WEIGHT * (seconds - seen.recent)
        if now - self._known_at >= _USUAL_SECONDS:
            self._learn(now)
        badness = max(badness_min, seconds / self._slow_seconds)
        seen.badness += _WEIGHT * (min(badness, _WORST) - seen.badness)
        if seen.badness > 1.0:
            seen.is_slow = True
            self._paces.suspect(slot)
        elif seen.badness < _WELL:
            seen.is_slow = False

    def _learn(self, now: float) -> None:
        self._known_at = now
        lately = [one for one in self._slots if one.count >= _ANSWERS_MIN and now - one.seen_at < MEMORY_SECONDS]
        if lately:
            self.usual = _half_keep_to([max(one.last, one.recent) for one in lately])
            self._slow_seconds = max(SLOW_SECONDS_MIN, SLOW_TIMES * self.usual)
            nearly_all = _half_keep_to([one.mean + _DEVIATIONS * one.deviation for one in lately])
            self._hedge = min(max(HEDGE_SECONDS_MIN, nearly_all), HEDGE_SECONDS_MAX)


class Paces:
    """Those of the drives of one set, for one process."""

    def __init__(self, width: int, slow_max: int) -> None:
        """At most `slow_max` drives are slow at a time."""
        self._slow_max = slow_max
        self.reads = Pace(self, "read a key", width)
        self.listings = Pace(self, "list", width)
        self.commits = Pace(self, "commit", width)
        self.opens = Pace(self, "open a shard", width)
        self.fetches = Pace(self, "read a shard", width)
        self.closes = Pace(self, "finish a shard", width)
        self.statuses = Pace(self, "tell their state", width)
        self._kinds: Sequence[Pace] = (
            self.reads,
            self.listings,
            self.commits,
            self.opens,
            self.fetches,
            self.closes,
            self.statuses,
        )
        self._suspects: set[int] = set()  # slots that may be slow or late: nearly always none
        self._failed_at = [_NEVER] * width
        self._waiting: list[dict[Hashable, tuple[float, Pace]]] = [{} for _ in range(width)]  # the oldest first

    @property
    def is_calm(self) -> bool:
        """No drive is slow or late."""
        return not self._suspects

    def slow(self, now: float) -> Collection[int]:
        """The slots of the drives that are slow."""
        if not self._suspects:
            return _NOBODY
        found = {slot: badness for slot in self._suspects if (badness := self._badness(slot, now)) > 0.0}
        self._suspects.intersection_update([*found, *(slot for slot in self._suspects if self._waiting[slot])])
        return sorted(found, key=lambda slot: -found[slot])[: self._slow_max]

    def late(self, now: float) -> Collection[int]:
        """The slots of the drives that are slow or late: reads ask them last."""
        if not self._suspects:
            return _NOBODY
        slow = self.slow(now)
        return {*slow, *(slot for slot in self._suspects if self._is_late(slot, now))}

    def due_for_probe(self, now: float) -> int | None:
        """A slow drive that must be asked so that it is seen when it has become quick: none of its calls is waited for,
        and the last read that it answered was a while ago."""
        for slot in self.slow(now):
            is_asked = self._waiting[slot] or now - self.reads.counted_at(slot) < PROBE_SECONDS
            if not is_asked and now - self._failed_at[slot] >= PROBE_SECONDS:
                return slot
        return None

    def reason(self, slot: int, now: float) -> str:
        """Why the drive is slow, for people; "" when it is not."""
        if slot not in self.slow(now):
            return ""
        if now - self._failed_at[slot] < MEMORY_SECONDS:
            return "it did not answer a call just now"
        worst = max(self._kinds, key=lambda pace: pace.badness(slot, now))
        if worst.badness(slot, now):
            return (
                f"it takes {worst.recent_seconds(slot) * 1000:.0f} ms to {worst.what}, "
                f"others of its set {worst.usual * 1000:.0f} ms"
            )
        began, pace = self._oldest(slot)
        return f"it was asked to {pace.what} {now - began:.1f} s ago and has not answered"

    # --- told by the kinds of calls

    def suspect(self, slot: int) -> None:
        self._suspects.add(slot)

    def saw_life(self, slot: int) -> None:
        self._failed_at[slot] = _NEVER

    def saw_failure(self, slot: int, now: float) -> None:
        self._failed_at[slot] = now
        self._suspects.add(slot)

    def begin_waiting(self, call: Hashable, slot: int, began: float, pace: Pace) -> None:
        self._waiting[slot][call] = (began, pace)
        self._suspects.add(slot)

    def end_waiting(self, call: Hashable, slot: int) -> None:
        self._waiting[slot].pop(call, None)

    # --- inside

    def _oldest(self, slot: int) -> tuple[float, Pace]:
        return next(iter(self._waiting[slot].values()))

    def _badness(self, slot: int, now: float) -> float:
        if now - self._failed_at[slot] < MEMORY_SECONDS:
            return math.inf
        badness = max(pace.badness(slot, now) for pace in self._kinds)
        if self._waiting[slot]:
            began, pace = self._oldest(slot)
            times = (now - began) / max(WAITING_SECONDS_MIN, WAITING_TIMES * pace.usual)
            if times > 1.0:
                badness = max(badness, _WORST * times)
        return badness

    def _is_late(self, slot: int, now: float) -> bool:
        if not self._waiting[slot]:
            return False
        began, pace = self._oldest(slot)
        return now - began >= pace.hedge_seconds(now)


def _half_keep_to(values: list[float]) -> float:
    return sorted(values)[(len(values) - 1) // 2]
