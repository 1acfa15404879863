"""LockAPI: writers of one key take turns. Correctness never rests on it: the compare-and-set in the drives does."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

from liteio_base.deadline import Deadline


class LockTimeout(Exception):
    """The lock could not be had before the deadline."""


class Lease(Protocol):
    """A lock that is held."""

    @property
    def is_held(self) -> bool:
        """False from the moment that others may hold it: the holder stops itself."""


class LockAPI(Protocol):
    """Mutual exclusion by name, for writers only; readers take none."""

    def lock(
        self, names: Sequence[bytes], *, deadline: Deadline, on_ask: Callable[[], object] | None = None
    ) -> AbstractAsyncContextManager[Lease]:
        """Hold all of `names` (taken in sorted order, so that two callers never wait for each other). Raises
        LockTimeout.

        on_ask: called each time just before other machines are asked for the lock, and never where none is. What it
        has drives read in the same turn of the loop travels with that request and is read behind the grant; after the
        last time the lock was given.
        """
