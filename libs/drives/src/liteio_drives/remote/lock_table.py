"""`LockTable`: the locks of one node. Pure but for the clock, and lives in exactly one process.

A grant is a lease on the table's monotonic clock. All names of a request are granted together or none is, so a table
never makes two callers wait for each other. A table that has just begun knows nothing of the leases its predecessor
gave, so it grants nothing until the last of them must be over. DESIGN section 6.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from liteio_base.clock import Clock
from liteio_drives.remote.limits import LEASE_SECONDS


@dataclass(slots=True)
class _Grant:
    names: tuple[bytes, ...]
    until: float


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

    @property
    def held_count(self) -> int:
        """Names that are held or not yet seen to be free."""
        return len(self._owners)

    def acquire(self, owner: bytes, names: Sequence[bytes]) -> bool:
        """Grant all of `names` for one lease, or nothing. Asking again with the same owner and names is a renewal."""
        now = self._clock.monotonic()
        if now >= self._sweep_at:  # Callers that died leave names behind that nobody may ask for again.
            self._sweep_at = now + self._lease_seconds
            self.expire()
        if now < self._opens_at or any(self._is_taken(name, owner, now) for name in names):
            return False
        self._drop(owner)
        self._grants[owner] = _Grant(tuple(names), now + self._lease_seconds)
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
        self._drop(owner)

    def expire(self) -> int:
        """Forget the leases that are over, and say how many: callers that died. `acquire` does it once a lease."""
        now = self._clock.monotonic()
        over = [owner for owner, grant in self._grants.items() if grant.until <= now]
        for owner in over:
            self._drop(owner)
        return len(over)

    def _is_taken(self, name: bytes, owner: bytes, now: float) -> bool:
        holder = self._owners.get(name)
        if holder is None or holder == owner:
            return False
        if self._grants[holder].until > now:
            return True
        self._drop(holder)
        return False

    def _drop(self, owner: bytes) -> None:
        grant = self._grants.pop(owner, None)
        for name in grant.names if grant else ():
            if self._owners.get(name) == owner:
                del self._owners[name]
