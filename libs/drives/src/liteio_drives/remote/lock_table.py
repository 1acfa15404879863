"""`LockTable`: the locks of one node. Pure but for the clock, and lives in exactly one process.

A grant is a lease on the table's monotonic clock. All names of a request are granted together or none is, so a table
never makes two callers wait for each other. A table that has just begun knows nothing of the leases its predecessor
gave, so it grants nothing until the last of them must be over. DESIGN section 6.

Who was refused may wait here to be told when a name comes free. The longest waiting of all is told, and the name is
kept for it for a moment, so that those who ask all the time do not always come first; as every table goes by the same
waiting times, all tell the same one. It is a courtesy only: a wait promises nothing, and ends by itself.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

from liteio_base.clock import Clock
from liteio_contracts.storage_errors import DriveUnavailable
from liteio_drives.remote.limits import KEPT_SECONDS, LEASE_SECONDS, LOCK_NAMES_SHOWN, LOCK_WAITERS_MAX
from liteio_drives.remote.messages import HeldLock, Holder, LockPage

_NOBODY: Final = Holder()


@dataclass(slots=True)
class _Grant:
    names: tuple[bytes, ...]
    holder: Holder
    since: float
    until: float


@dataclass(slots=True)
class _Waiter:
    owner: bytes
    name: bytes
    since: float
    tell: Callable[[], None]


class LockTable:
    """Owners are random bytes that callers draw, one a grant."""

    def __init__(self, clock: Clock, *, lease_seconds: float = LEASE_SECONDS, is_first: bool = False) -> None:
        """is_first: no table was here before, for certain, so nothing has to be waited for."""
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._opens_at = clock.monotonic() + (0.0 if is_first else lease_seconds)
        self._sweep_at = clock.monotonic() + lease_seconds
        self._owners: dict[bytes, bytes] = {}
        self._grants: dict[bytes, _Grant] = {}
        self._waiters: dict[bytes, _Waiter] = {}  # by owner
        self._queues: dict[bytes, list[_Waiter]] = {}  # by the name that each waits for
        self._kept: dict[bytes, tuple[bytes, float]] = {}  # names that are free, but for one owner until then

    def open_now(self) -> None:
        """Grant from now on: no table was here before, as has come to be known."""
        self._opens_at = self._clock.monotonic()

    @property
    def held_count(self) -> int:
        """Names that are held or not yet seen to be free."""
        return len(self._owners)

    def acquire(self, owner: bytes, names: Sequence[bytes], holder: Holder = _NOBODY) -> bool:
        """Grant all of `names` for one lease, or nothing. Asking again with the same owner and names is a renewal."""
        now = self._clock.monotonic()
        if now >= self._sweep_at:  # Callers that died leave names behind that nobody may ask for again.
            self._sweep_at = now + self._lease_seconds
            self.expire()
        self.stop_waiting(owner)
        if now < self._opens_at or any(self._is_taken(name, owner, now) for name in names):
            return False
        before = self._grants.get(owner)
        since = now if before is None else before.since
        self._drop(owner, tells=False)
        for name in names:
            self._kept.pop(name, None)
        self._grants[owner] = _Grant(tuple(names), holder, since, now + self._lease_seconds)
        self._owners.update(dict.fromkeys(names, owner))
        return True

    def renew(self, owner: bytes) -> bool:
        """One more lease from now. False when the lease is over or was never given here."""
        now = self._clock.monotonic()
        grant = self._grants.get(owner)
        if grant is None or grant.until <= now:
            self._drop(owner)
            return False
        grant.until = now + self._lease_seconds
        return True

    def release(self, owner: bytes) -> None:
        """Give all back; no harm when there is nothing to give."""
        self.stop_waiting(owner)
        self._drop(owner)

    def expire(self) -> int:
        """Forget the leases that are over, and say how many: callers that died. `acquire` does it once a lease."""
        now = self._clock.monotonic()
        over = [owner for owner, grant in self._grants.items() if grant.until <= now]
        for owner in over:
            self._drop(owner)
        for name in [name for name, (_, until) in self._kept.items() if until <= now]:
            del self._kept[name]
        return len(over)

    def wait(self, owner: bytes, names: Sequence[bytes], waited_seconds: float, tell: Callable[[], None]) -> bool:
        """Have `tell` called when asking is likely worth while; it may never be. `waited_seconds`: what the caller has
        waited already. False when there is nothing to wait for. Raises DriveUnavailable when too many wait."""
        now = self._clock.monotonic()
        taken = [name for name in names if self._is_taken(name, owner, now)]
        if not taken:
            return False
        if len(self._waiters) >= LOCK_WAITERS_MAX:
            raise DriveUnavailable("too many wait for locks")
        self.stop_waiting(owner)
        waiter = self._waiters[owner] = _Waiter(owner, taken[0], now - waited_seconds, tell)
        self._queues.setdefault(waiter.name, []).append(waiter)
        return True

    def stop_waiting(self, owner: bytes) -> None:
        waiter = self._waiters.pop(owner, None)
        if waiter is not None:
            queue = self._queues[waiter.name]
            queue.remove(waiter)
            if not queue:
                del self._queues[waiter.name]

    def page(self, limit: int) -> LockPage:
        """What is held, longest first, at most so many."""
        self.expire()
        now = self._clock.monotonic()
        held = tuple(
            HeldLock(
                owner=owner,
                holder=grant.holder,
                names=grant.names[:LOCK_NAMES_SHOWN],
                name_count=len(grant.names),
                held_seconds=now - grant.since,
                left_seconds=grant.until - now,
            )
            for owner, grant in islice(self._grants.items(), limit)
        )
        return LockPage(held, len(self._grants), len(self._waiters), max(0.0, self._opens_at - now))

    def _is_taken(self, name: bytes, owner: bytes, now: float) -> bool:
        holder = self._owners.get(name)
        if holder is None:
            kept_for, until = self._kept.get(name, (owner, 0.0))
            return kept_for != owner and until > now
        if holder == owner:
            return False
        if self._grants[holder].until > now:
            return True
        self._drop(holder)
        return self._is_taken(name, owner, now)

    def _drop(self, owner: bytes, *, tells: bool = True) -> None:
        grant = self._grants.pop(owner, None)
        for name in grant.names if grant else ():
            if self._owners.get(name) == owner:
                del self._owners[name]
                if tells and name in self._queues:
                    self._tell_next(name)

    def _tell_next(self, name: bytes) -> None:
        longest = min(self._queues[name], key=lambda waiter: waiter.since)
        self.stop_waiting(longest.owner)
        self._kept[name] = longest.owner, self._clock.monotonic() + KEPT_SECONDS
        longest.tell()
