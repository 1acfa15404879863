"""When a FaultyDrive fails, and how: by a script, or by chance from a seed."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from liteio_testkit.seeded_randomness import SeededRandomness


class Fault(StrEnum):
    OFFLINE_BEFORE = "offline-before"  # DriveOffline, nothing done
    OFFLINE_AFTER = "offline-after"  # done, but DriveOffline: the reply was lost
    TIMEOUT_BEFORE = "timeout-before"  # DriveTimeout at once, nothing done
    TIMEOUT_AFTER = "timeout-after"  # done, but DriveTimeout at once
    HANG = "hang"  # nothing until the deadline, then DriveTimeout, nothing done
    HANG_AFTER = "hang-after"  # done, and then nothing until the deadline
    DELAY = "delay"  # done after a while
    REPEAT = "repeat"  # done now, and once more when `deliver_late` says so
    LATE = "late"  # DriveTimeout now; done when `deliver_late` says so
    FLIP = "flip"  # done, and one bit of the answer's payload, shard or hash is wrong


class FaultPlan(Protocol):
    def next_fault(self, operation: str) -> Fault | None:
        """What happens to this call. `operation` is the StorageAPI method's name, or "shard.write", "shard.close",
        "shard.abort", "shard.read" for an open shard.
        """


@dataclass(slots=True)
class _Order:
    fault: Fault
    operations: frozenset[str]
    skip: int
    times: int

    def matches(self, operation: str) -> bool:
        return self.times > 0 and (not self.operations or operation in self.operations)


@dataclass(slots=True)
class ScriptedPlan:
    """Faults in the order given, each on the calls that it names."""

    _orders: list[_Order] = field(default_factory=list)

    def add(self, fault: Fault, *operations: str, skip: int = 0, times: int = 1) -> "ScriptedPlan":
        """`fault` on the next `times` calls of these operations (of any, when none is named), behind `skip` of them."""
        self._orders.append(_Order(fault, frozenset(operations), skip, times))
        return self

    def next_fault(self, operation: str) -> Fault | None:
        for order in self._orders:
            if not order.matches(operation):
                continue
            if order.skip:
                order.skip -= 1
                continue
            order.times -= 1
            return order.fault
        return None

    @property
    def is_spent(self) -> bool:
        """Whether every fault asked for has happened: a test that expects one should check."""
        return all(order.times == 0 for order in self._orders)


class SeededPlan:
    """Each call draws once: the faults' rates are probabilities and sum to at most 1."""

    def __init__(
        self,
        randomness: SeededRandomness,
        rates: Mapping[Fault, float],
        operations: Collection[str] | None = None,
        *,
        is_active: bool = True,
    ) -> None:
        self._randomness = randomness
        self._rates = dict(rates)
        self._operations = operations
        self.is_active = is_active

    def next_fault(self, operation: str) -> Fault | None:
        if not self.is_active or (self._operations is not None and operation not in self._operations):
            return None
        return _pick(self._rates.items(), self._randomness.uniform(0.0, 1.0))


def _pick(rates: Iterable[tuple[Fault, float]], drawn: float) -> Fault | None:
    for fault, rate in rates:
        if drawn < rate:
            return fault
        drawn -= rate
    return None
