"""Alarms: many wait, and nearly none waits to its end; one timer of the loop serves them all."""

import asyncio
from typing import Final, Protocol

_SLACK_SECONDS: Final = 0.001  # alarms this close together ring together
_TURNS: Final = 2  # of the loop: one for the answer of a drive, one for who waits for it


class Sleeper(Protocol):
    """Who set an alarm."""

    def ring(self) -> None: ...


class Alarms:
    """Rings sleepers at their times, each once. Setting and dropping one costs a dictionary entry: the timer is left to
    ring for nobody."""

    def __init__(self) -> None:
        self._at: dict[Sleeper, float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = 0.0

    def set(self, sleeper: Sleeper, at: float, loop: asyncio.AbstractEventLoop) -> None:
        """Ring `sleeper` at this time of the running loop, and not at the one set before."""
        self._at[sleeper] = at
        if self._timer is None or at < self._timer_at or loop is not self._loop:
            self._start(at, loop)

    def drop(self, sleeper: Sleeper) -> None:
        """Do not ring it any more. Whoever set an alarm drops it, also after it rang."""
        self._at.pop(sleeper, None)

    def _start(self, at: float, loop: asyncio.AbstractEventLoop) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._loop, self._timer_at = loop, at
        self._timer = loop.call_at(at, self._come_due, loop)

    def _come_due(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self._wait_a_turn(loop, loop.time() + _SLACK_SECONDS, _TURNS)

    def _wait_a_turn(self, loop: asyncio.AbstractEventLoop, now: float, turns: int) -> None:
        """A loop that was busy may come to an alarm before it comes to what it was given meanwhile, for which the alarm
        need not ring any more."""
        if turns:
            loop.call_soon(self._wait_a_turn, loop, now, turns - 1)
        else:
            self._ring(loop, now)

    def _ring(self, loop: asyncio.AbstractEventLoop, now: float) -> None:
        due = [sleeper for sleeper, at in self._at.items() if at <= now]
        for sleeper in due:
            del self._at[sleeper]
        for sleeper in due:
            sleeper.ring()
        if self._at:
            self._start(min(self._at.values()), loop)
