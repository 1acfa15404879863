"""What clients do to a bucket that comes and goes, with all its keys: one history, since deleting it looks at them all.

The state is None while the bucket is not there, else the keys that are there with their contents.
"""

from dataclasses import dataclass
from typing import ClassVar

Held = frozenset[tuple[str, str]] | None


@dataclass(frozen=True, slots=True)
class CreateIt:
    changes: ClassVar[bool] = True

    def nexts(self, held: Held) -> list[Held]:
        return [frozenset()] if held is None else []


@dataclass(frozen=True, slots=True)
class DeleteIt:
    """Only an empty bucket goes."""

    changes: ClassVar[bool] = True

    def nexts(self, held: Held) -> list[Held]:
        return [None] if held == frozenset() else []


@dataclass(frozen=True, slots=True)
class PutIn:
    key: str
    ident: str
    changes: ClassVar[bool] = True

    def nexts(self, held: Held) -> list[Held]:
        return [] if held is None else [without(held, self.key) | {(self.key, self.ident)}]


@dataclass(frozen=True, slots=True)
class RemoveIn:
    key: str
    changes: ClassVar[bool] = True

    def nexts(self, held: Held) -> list[Held]:
        return [] if held is None else [without(held, self.key)]


@dataclass(frozen=True, slots=True)
class SeeIn:
    """ident None: the bucket is there and the key is not."""

    key: str
    ident: str | None
    changes: ClassVar[bool] = False

    def nexts(self, held: Held) -> list[Held]:
        if held is None:
            return []
        return [held] if dict(held).get(self.key) == self.ident else []


@dataclass(frozen=True, slots=True)
class SeeIt:
    """Whether the bucket itself is there."""

    is_there: bool
    changes: ClassVar[bool] = False

    def nexts(self, held: Held) -> list[Held]:
        return [held] if (held is not None) == self.is_there else []


def without(held: frozenset[tuple[str, str]], key: str) -> frozenset[tuple[str, str]]:
    return frozenset(pair for pair in held if pair[0] != key)
