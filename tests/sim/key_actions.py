"""What clients do to one key, as actions on the stack of its versions, oldest first.

A version is named by its content (every put's is unique) or, a delete marker, by the operation that made it. In a
bucket that never had versioning the stack has one element at most: the key is a register.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

from liteio_formats.bodies import Versioning


class Version(NamedTuple):
    ident: str
    tags: str = ""
    is_null: bool = False
    is_marker: bool = False

    def __str__(self) -> str:
        return f"{self.ident}{'+' + self.tags if self.tags else ''}{' null' if self.is_null else ''}"


Stack = tuple[Version, ...]


def top(stack: Stack) -> Version | None:
    """The latest version, unless it is a delete marker."""
    return stack[-1] if stack and not stack[-1].is_marker else None


@dataclass(frozen=True, slots=True)
class Condition:
    """`etag` None: the key must be absent; "*": there; else the content that must be the latest."""

    etag: str | None

    def holds(self, stack: Stack) -> bool:
        latest = top(stack)
        if self.etag is None:
            return latest is None
        return latest is not None and self.etag in ("*", latest.ident)


@dataclass(frozen=True, slots=True)
class Add:
    """A put, a completed upload, or a simple delete in a bucket with versioning (its delete marker).

    is_unknown: nobody was told that it happened. Such a version may come to light below newer ones: it is placed by the
    time of its commit, and may have been invisible until a late message or a settler brought it to K drives.
    """

    version: Version
    mode: Versioning
    condition: Condition | None = None
    is_unknown: bool = False
    changes: ClassVar[bool] = True

    def nexts(self, stack: Stack) -> list[Stack]:
        if self.mode is not Versioning.ENABLED:
            if self.condition is not None and not self.condition.holds(stack):
                return []
            return [(*(version for version in stack if not version.is_null), self.version)]
        places = range(len(stack), -1, -1) if self.is_unknown else [len(stack)]
        return [
            (*stack[:at], self.version, *stack[at:])
            for at in places
            if self.condition is None or self.condition.holds(stack[:at])
        ]


@dataclass(frozen=True, slots=True)
class RemoveNull:
    """A simple delete without versioning, or a delete of the version "null"."""

    changes: ClassVar[bool] = True

    def nexts(self, stack: Stack) -> list[Stack]:
        return [tuple(version for version in stack if not version.is_null)]


@dataclass(frozen=True, slots=True)
class Remove:
    """A delete of one version. Of what is not there it is a success."""

    ident: str
    changes: ClassVar[bool] = True

    def nexts(self, stack: Stack) -> list[Stack]:
        places = [at for at, version in enumerate(stack) if version.ident == self.ident]
        return [(*stack[:at], *stack[at + 1 :]) for at in places] or [stack]


@dataclass(frozen=True, slots=True)
class SetTags:
    """ident None: the outcome is unknown, and so is which version was the latest then."""

    ident: str | None
    tags: str
    changes: ClassVar[bool] = True

    def nexts(self, stack: Stack) -> list[Stack]:
        return list(self._each(stack))

    def _each(self, stack: Stack) -> Iterator[Stack]:
        for at, version in enumerate(stack):
            if not version.is_marker and self.ident in (None, version.ident):
                yield (*stack[:at], version._replace(tags=self.tags), *stack[at + 1 :])


@dataclass(frozen=True, slots=True)
class Refused:
    """A precondition was found not to hold."""

    condition: Condition
    changes: ClassVar[bool] = False

    def nexts(self, stack: Stack) -> list[Stack]:
        return [] if self.condition.holds(stack) else [stack]


@dataclass(frozen=True, slots=True)
class SeeLatest:
    """ident None: nothing there. tags None: not looked at."""

    ident: str | None
    tags: str | None = None
    changes: ClassVar[bool] = False

    def nexts(self, stack: Stack) -> list[Stack]:
        latest = top(stack)
        if latest is None or self.ident is None:
            return [stack] if latest is None and self.ident is None else []
        return [stack] if latest.ident == self.ident and self.tags in (None, latest.tags) else []


@dataclass(frozen=True, slots=True)
class SeeVersion:
    """A version was there, or was not."""

    ident: str
    is_there: bool
    tags: str | None = None
    changes: ClassVar[bool] = False

    def nexts(self, stack: Stack) -> list[Stack]:
        for version in stack:
            if version.ident == self.ident:
                return [stack] if self.is_there and self.tags in (None, version.tags) else []
        return [] if self.is_there else [stack]


@dataclass(frozen=True, slots=True)
class SeeAll:
    """The whole stack, newest first. "?" stands for a delete marker of which nobody knows whose it is."""

    idents: tuple[str, ...]
    changes: ClassVar[bool] = False

    def nexts(self, stack: Stack) -> list[Stack]:
        held = list(reversed(stack))
        if len(held) != len(self.idents):
            return []
        matches = (
            version.ident == seen or (seen == "?" and version.is_marker)
            for version, seen in zip(held, self.idents, strict=True)
        )
        return [stack] if all(matches) else []


def seen(actions: Sequence[object]) -> tuple[set[str], set[str]]:
    """The versions and the tags that some action tells of having been there."""
    idents: set[str] = set()
    tags: set[str] = set()
    for action in actions:
        if isinstance(action, SeeLatest | SeeVersion | SetTags) and action.ident is not None:
            idents.add(action.ident)
        if isinstance(action, SeeLatest | SeeVersion) and action.tags is not None:
            tags.add(action.tags)
        if isinstance(action, SeeAll):
            idents.update(action.idents)
        if isinstance(action, Add | Refused) and action.condition is not None and action.condition.etag is not None:
            idents.add(action.condition.etag)
    return idents, tags
