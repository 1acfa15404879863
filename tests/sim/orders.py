"""Whether a history can be put in one order: linearizability over any state.

As `liteio_testkit.history`, whose state is one value, but for actions that say themselves what they do to a state of
their own. An operation takes effect at one moment between its call and its answer; one whose outcome is unknown at some
moment after its call, or never. The search is Wing and Gong's, remembering what it has tried.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from liteio_testkit.history import NEVER

TRIES_MAX = 100_000

State = TypeVar("State", bound=Hashable)


class Action(Protocol):
    """What an operation does. `changes` False: it only looks, so that it may be placed as soon as it fits."""

    @property
    def changes(self) -> bool: ...

    def nexts(self, state: Any) -> Sequence[Any]:
        """The states that it may lead to; none when it can not have happened in `state`."""


class OrderUndecided(Exception):
    """Too many orders to try."""


@dataclass(frozen=True, slots=True)
class Step:
    """`started` and `ended` count events; `ended` is NEVER while the outcome is unknown."""

    number: int
    client: str
    action: Action
    started: int
    ended: int

    def __str__(self) -> str:
        ended = "?" if self.ended == NEVER else str(self.ended)
        return f"#{self.number} {self.client} [{self.started}..{ended}] {self.action}"


@dataclass(frozen=True, slots=True)
class Stuck:
    """The history can not be ordered: how far it went, and what did not fit there."""

    placed: int
    wanted: int
    state: object
    steps: tuple[Step, ...]

    def __str__(self) -> str:
        head = f"after {self.placed} of {self.wanted} operations the state is {self.state}, and none fits of:"
        return "\n    ".join((head, *map(str, self.steps)))


def find_order(steps: Sequence[Step], initial: object) -> Stuck | None:
    """None when there is an order. Raises OrderUndecided."""
    return _Search(sorted(steps, key=lambda step: step.started)).run(initial)


class _Search:
    """Depth first over (steps placed, state), each tried once. Steps are bits, in order of their start."""

    def __init__(self, steps: Sequence[Step]) -> None:
        self._steps = steps
        self._must = sum(1 << at for at, step in enumerate(steps) if step.ended != NEVER)

    def run(self, initial: object) -> Stuck | None:
        tried: set[tuple[int, object]] = set()
        todo: list[tuple[int, object]] = [(0, initial)]
        deepest = (0, initial)
        while todo:
            placed, state = self._with_lookers(*todo.pop())
            if placed & self._must == self._must:
                return None
            if (placed, state) in tried:
                continue
            tried.add((placed, state))
            if len(tried) > TRIES_MAX:
                raise OrderUndecided(f"{len(self._steps)} operations")
            deepest = max(deepest, (placed, state), key=lambda found: (found[0] & self._must).bit_count())
            for at in self._next_ones(placed):
                if self._steps[at].action.changes:
                    todo.extend((placed | 1 << at, after) for after in self._steps[at].action.nexts(state))
        return self._explain(*deepest)

    def _with_lookers(self, placed: int, state: object) -> tuple[int, object]:
        """Place what only looks and fits: at once is never worse than later."""
        is_changed = True
        while is_changed:
            is_changed = False
            for at in self._next_ones(placed):
                action = self._steps[at].action
                if not action.changes and action.nexts(state):
                    placed |= 1 << at
                    is_changed = True
        return placed, state

    def _next_ones(self, placed: int) -> list[int]:
        """Steps that began before every one not yet placed had ended."""
        waiting = [at for at in range(len(self._steps)) if not placed >> at & 1]
        earliest_end = min((self._steps[at].ended for at in waiting), default=NEVER)
        return [at for at in waiting if self._steps[at].started <= earliest_end]

    def _explain(self, placed: int, state: object) -> Stuck:
        stuck = tuple(self._steps[at] for at in self._next_ones(placed))
        return Stuck((placed & self._must).bit_count(), self._must.bit_count(), state, stuck)
