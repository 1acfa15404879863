"""What clients know of the keys they wrote: the oracle of every test that breaks the store.

Each key belongs to one client, so its operations follow each other. An operation that was acknowledged decides the key;
one that got no answer, or a 5xx, leaves open whether it was carried out. What is read later must be one of the values
that may be there, byte for byte, and settles the matter: older ones may not come back.
"""

import hashlib
import random
from dataclasses import dataclass, field


class LedgerBroken(AssertionError):
    """The store lost, mixed up or brought back something."""


@dataclass(frozen=True, slots=True)
class Value:
    """What a key may hold. `number` counts the client's operations; sha256 "" is a key that is absent."""

    number: int
    size: int
    sha256: str

    @property
    def is_absent(self) -> bool:
        return not self.sha256

    def __str__(self) -> str:
        return f"#{self.number} " + ("absent" if self.is_absent else f"{self.size} bytes {self.sha256[:12]}")


NEVER_WRITTEN = Value(0, 0, "")


def body_of(seed: int, size: int) -> bytes:
    """The bytes of one write; no two seeds share a block, so that a mixed object matches nothing."""
    return random.Random(seed).randbytes(size)


def value_of(number: int, body: bytes) -> Value:
    return Value(number, len(body), hashlib.sha256(body).hexdigest())


@dataclass
class KeyLedger:
    """One key. `possible` is what it may hold, oldest first."""

    name: str
    possible: list[Value] = field(default_factory=lambda: [NEVER_WRITTEN])

    def begin(self, value: Value) -> None:
        """An operation is about to be sent."""
        self.possible.append(value)

    def acknowledge(self, value: Value) -> None:
        """It was carried out."""
        self.possible = [one for one in self.possible if one.number >= value.number]

    def refuse(self, value: Value) -> None:
        """It was certainly not carried out (a 4xx)."""
        self.possible.remove(value)

    def observe(self, body: bytes | None) -> None:
        """What a read gave; None for absent. Raises LedgerBroken."""
        sha256 = "" if body is None else hashlib.sha256(body).hexdigest()
        self.observe_hash(sha256, 0 if body is None else len(body))

    def observe_hash(self, sha256: str, size: int) -> None:
        matching = [one for one in self.possible if one.sha256 == sha256]
        if not matching:
            held = "absent" if not sha256 else f"{size} bytes {sha256[:12]}"
            raise LedgerBroken(f"{self.name} is {held}, but may only be: {', '.join(map(str, self.possible))}")
        # The oldest that fits: two deletes look alike, and nothing proves that the later one was carried out.
        self.possible = [one for one in self.possible if one.number >= matching[0].number]

    @property
    def may_be_absent(self) -> bool:
        return any(one.is_absent for one in self.possible)

    @property
    def must_be_absent(self) -> bool:
        return all(one.is_absent for one in self.possible)


@dataclass
class VersionsLedger:
    """A key of a versioned bucket: the versions whose PUT, and the removals whose DELETE, were acknowledged."""

    name: str
    versions: dict[str, Value] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    doubtful: set[str] = field(default_factory=set)  # removals that got no answer
