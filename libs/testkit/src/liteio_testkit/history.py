"""`Ledger`: what clients asked and were told; and the check that one key's history is that of a register.

A register holds a value or nothing. Every operation takes effect at one moment between its call and its answer; one
whose outcome is unknown takes effect at some moment after its call, or never. `check_register` searches for such an
order (Wing and Gong's algorithm with Lowe's memory of what was tried).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

NEVER: Final = 2**62  # the end of an operation whose outcome is unknown
TRIES_MAX: Final = 2_000_000  # some seconds; reached only by dozens of unknown outcomes at once


class HistoryUndecided(Exception):
    """Too many orders to try: use more keys, or fewer operations a key."""


class Action(StrEnum):
    PUT = "put"
    PUT_IF_ABSENT = "put-if-absent"  # If-None-Match: *
    PUT_IF_MATCH = "put-if-match"  # If-Match: the value in `expected`
    DELETE = "delete"
    READ = "read"


class Outcome(StrEnum):
    DONE = "done"
    REFUSED = "refused"  # a precondition failed: nothing written, and the register was seen not to meet it
    UNKNOWN = "unknown"  # 503, a broken connection, a client that gave up
    FAILED = "failed"  # certainly nothing written, nothing learnt


@dataclass(frozen=True, slots=True)
class Operation:
    """value: what a put writes or a read saw (None: nothing there). started and ended count events of the ledger."""

    number: int
    key: str
    action: Action
    value: str | None
    expected: str | None
    started: int
    ended: int
    outcome: Outcome
    client: str = ""

    def __str__(self) -> str:
        span = f"{self.started}..{'?' if self.ended == NEVER else self.ended}"
        wanted = f" expecting {self.expected}" if self.action is Action.PUT_IF_MATCH else ""
        return f"#{self.number} {self.client} [{span}] {self.action} {self.value}{wanted}: {self.outcome}"

    @property
    def may_write(self) -> bool:
        return self.action is not Action.READ and self.outcome in (Outcome.DONE, Outcome.UNKNOWN)

    def allows(self, state: str | None) -> bool:
        """Whether it may have taken effect with the register like this."""
        if self.action is Action.READ:
            return state == self.value
        if self.action is Action.PUT_IF_ABSENT:
            return (state is None) == (self.outcome is not Outcome.REFUSED)
        if self.action is Action.PUT_IF_MATCH:
            return (state == self.expected) == (self.outcome is not Outcome.REFUSED)
        return True

    def after(self, state: str | None) -> str | None:
        """The register behind it."""
        if not self.may_write:
            return state
        return None if self.action is Action.DELETE else self.value


@dataclass(frozen=True, slots=True)
class Violation:
    """Why a history is not possible. `str` of it is meant to be printed with the seed."""

    key: str
    reason: str
    operations: tuple[Operation, ...] = ()

    def __str__(self) -> str:
        return "\n  ".join((f"key {self.key!r}: {self.reason}", *map(str, self.operations)))


def check_register(history: Iterable[Operation], initial: str | None = None) -> Violation | None:
    """None when the operations of one key can be ordered as a register's. Good for some hundred operations a key.
    Raises HistoryUndecided.
    """
    operations = sorted(_relevant(list(history)), key=lambda operation: operation.started)
    return _Search(operations).run(initial) if operations else None


def _relevant(history: Sequence[Operation]) -> list[Operation]:
    """Without what says nothing: reads and conditions of unknown outcome, failures; and, when no refusal could hang on
    them, writes of unknown outcome whose value nobody ever saw (they may be taken not to have happened).
    """
    telling = [
        operation
        for operation in history
        if operation.outcome is not Outcome.FAILED
        and not (operation.action is Action.READ and operation.outcome is Outcome.UNKNOWN)
    ]
    if any(operation.outcome is Outcome.REFUSED for operation in telling):
        return telling
    seen = {operation.value for operation in telling if operation.action is Action.READ}
    seen |= {operation.expected for operation in telling if operation.action is Action.PUT_IF_MATCH}
    return [
        operation
        for operation in telling
        if operation.outcome is not Outcome.UNKNOWN or operation.action is Action.DELETE or operation.value in seen
    ]


class _Search:
    """Depth first over (operations placed, register), each tried once. Operations are bits, in order of their start."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self._operations = operations
        self._must = sum(1 << at for at, operation in enumerate(operations) if operation.ended != NEVER)
        self._all = (1 << len(operations)) - 1

    def run(self, initial: str | None) -> Violation | None:
        tried: set[tuple[int, str | None]] = set()
        todo = [(0, initial)]
        deepest = (0, initial)
        while todo:
            placed, state = self._with_free_ones(*todo.pop())
            if placed & self._must == self._must:
                return None
            if (placed, state) in tried:
                continue
            tried.add((placed, state))
            if len(tried) > TRIES_MAX:
                raise HistoryUndecided(f"key {self._operations[0].key!r}: {len(self._operations)} operations")
            deepest = max(deepest, (placed, state), key=lambda found: (found[0] & self._must).bit_count())
            todo.extend(
                (placed | 1 << at, self._operations[at].after(state))
                for at in self._next_ones(placed)
                if self._operations[at].allows(state)
            )
        return self._explain(*deepest)

    def _with_free_ones(self, placed: int, state: str | None) -> tuple[int, str | None]:
        """Place reads and refusals that may come next and fit: at once is never worse than later. Not so a write that
        changes nothing here: it may be what has to come later.
        """
        is_changed = True
        while is_changed:
            is_changed = False
            for at in self._next_ones(placed):
                operation = self._operations[at]
                if not operation.may_write and operation.allows(state):
                    placed |= 1 << at
                    is_changed = True
        return placed, state

    def _next_ones(self, placed: int) -> list[int]:
        """Operations that began before every one not yet placed had ended."""
        found = []
        earliest_end = NEVER
        rest = self._all & ~placed
        while rest:
            at = (rest & -rest).bit_length() - 1
            if self._operations[at].started > earliest_end:
                break
            found.append(at)
            earliest_end = min(earliest_end, self._operations[at].ended)
            rest &= rest - 1
        return [at for at in found if self._operations[at].started <= earliest_end]

    def _explain(self, placed: int, state: str | None) -> Violation:
        stuck = tuple(self._operations[at] for at in self._next_ones(placed))
        done = (placed & self._must).bit_count()
        reason = (
            f"not linearizable: after {done} of {self._must.bit_count()} the register is {state}, and none fits of:"
        )
        return Violation(self._operations[0].key, reason, stuck)


class Ledger:
    """Collects operations of all keys and clients. Events are counted, so that no clock decides what came first.

    call = ledger.begin("gw-1", key, Action.PUT, value=etag)
    try: ...
    then one of call.done(), call.refused(), call.failed(); without any the outcome is unknown.
    """

    def __init__(self) -> None:
        self._events = 0
        self._operations: dict[int, Operation] = {}

    def begin(
        self, client: str, key: str, action: Action, *, value: str | None = None, expected: str | None = None
    ) -> "Call":
        """An operation starts now. Values of puts must be unique over the whole history (an ETag over random bytes)."""
        number = len(self._operations)
        operation = Operation(number, key, action, value, expected, self.tick(), NEVER, Outcome.UNKNOWN, client)
        self._operations[number] = operation
        return Call(self, number)

    def tick(self) -> int:
        """The next event's number."""
        self._events += 1
        return self._events

    def finish(self, number: int, outcome: Outcome, value: str | None) -> None:
        began = self._operations[number]
        seen = value if began.action is Action.READ else began.value
        self._operations[number] = replace(began, ended=self.tick(), outcome=outcome, value=seen)

    def keys(self) -> list[str]:
        return sorted({operation.key for operation in self._operations.values()})

    def history(self, key: str) -> list[Operation]:
        return [operation for operation in self._operations.values() if operation.key == key]

    def add(self, operation: Operation) -> None:
        """An operation learnt of otherwise, such as what a listing said of a key."""
        number = len(self._operations)
        self._operations[number] = replace(operation, number=number)

    def check(self) -> list[Violation]:
        """Every key's violation, in order of keys."""
        return [found for key in self.keys() if (found := check_register(self.history(key))) is not None]

    @property
    def counts(self) -> dict[str, int]:
        """How many operations of each action had each outcome: a run in which nothing succeeded proves nothing."""
        found: dict[str, int] = {}
        for operation in self._operations.values():
            name = f"{operation.action} {operation.outcome}"
            found[name] = found.get(name, 0) + 1
        return dict(sorted(found.items()))


@dataclass(frozen=True, slots=True)
class Call:
    """An operation under way."""

    ledger: Ledger
    number: int

    def done(self, value: str | None = None) -> None:
        """Acknowledged. `value`: what a read saw, None for not found."""
        self.ledger.finish(self.number, Outcome.DONE, value)

    def refused(self) -> None:
        """The precondition failed."""
        self.ledger.finish(self.number, Outcome.REFUSED, None)

    def failed(self) -> None:
        """Certainly nothing was written."""
        self.ledger.finish(self.number, Outcome.FAILED, None)
