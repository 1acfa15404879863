"""`Deadlines`: many waits bounded by one timer of the loop. A timer for each wait costs more than most waits."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

_SLACK_SECONDS: Final = 0.001  # deadlines this close together expire together

Result = TypeVar("Result")


class Expiring(Protocol):
    """What happens at `at`, by the loop's clock, unless it is dropped before."""

    at: float

    def expire(self) -> object: ...


@dataclass(eq=False, slots=True)
class Expiry:
    """`Expiring` of any function."""

    at: float
    expire: Callable[[], object]


@dataclass(eq=False, slots=True)
class Deadlines:
    """For one event loop. The timer stands at the earliest deadline that was set, also when that one was dropped: it
    then finds nothing to do and moves on."""

    _expiries: set[Expiring] = field(default_factory=set)
    _timer: asyncio.Handle | None = None
    _timer_at: float = 0.0  # uvloop's timers of a time that has passed do not say when they are

    def add(self, seconds: float, expire: Callable[[], object]) -> Expiry:
        """Call `expire` in `seconds`."""
        expiry = Expiry(asyncio.get_running_loop().time() + seconds, expire)
        self.watch(expiry)
        return expiry

    def watch(self, expiry: Expiring) -> None:
        """As `add`, for who is told itself."""
        self._expiries.add(expiry)
        if self._timer is None or expiry.at < self._timer_at:
            self._set_timer(asyncio.get_running_loop(), expiry.at)

    def drop(self, expiry: Expiring) -> None:
        """It is not needed any more; no harm when it has happened."""
        self._expiries.discard(expiry)

    async def bound(self, seconds: float, wait: Awaitable[Result]) -> Result:
        """`await wait`. Raises TimeoutError when it takes longer; as asyncio.timeout does, by cancelling the task."""
        task = asyncio.current_task()
        assert task is not None
        cancel_count = task.cancelling()
        has_expired = False

        def expire() -> None:
            nonlocal has_expired
            has_expired = True
            task.cancel()

        expiry = self.add(seconds, expire)
        try:
            return await wait
        except asyncio.CancelledError:
            if has_expired and task.uncancel() <= cancel_count:
                raise TimeoutError from None
            raise
        finally:
            self.drop(expiry)

    def close(self) -> None:
        """Nothing expires any more."""
        self._expiries.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _set_timer(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._timer_at = loop.call_at(at, self._expire), at

    def _expire(self) -> None:
        self._timer = None
        loop = asyncio.get_running_loop()
        now = loop.time() + _SLACK_SECONDS
        for expiry in [expiry for expiry in self._expiries if expiry.at <= now]:
            self._expiries.discard(expiry)
            expiry.expire()
        if self._expiries and self._timer is None:
            self._set_timer(loop, min(expiry.at for expiry in self._expiries))
