"""Locks on one machine: a queue per name inside the process, then a byte-range lock on one file between processes.

Open-file-description locks (fcntl(2), F_OFD_SETLK) belong to the open file, not to the process: the kernel frees them
when the last descriptor goes, so a killed process holds nothing. Each name locks one byte at its hash; two names that
share a byte only wait for each other. DESIGN section 6.
"""

import asyncio
import fcntl
import hashlib
import os
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from liteio_base.clock import Clock, Randomness
from liteio_base.deadline import Deadline
from liteio_contracts.locks import Lease, LockTimeout

_FLOCK: Final = struct.Struct("hhqqi4x")  # l_type, l_whence, l_start, l_len, l_pid of struct flock on 64-bit Linux
_PAUSE_SECONDS_MIN: Final = 0.001
_PAUSE_SECONDS_MAX: Final = 0.05
_OFFSET_BYTES: Final = 7  # offsets stay below 2**56, well inside off_t


@dataclass(slots=True)
class _Turn:
    """The queue of one name in this process; kept while anyone waits for it or holds it."""

    lock: asyncio.Lock
    users: int = 0


class _HeldLease:
    """A lock that the kernel keeps until it is given back: it is never lost while held."""

    is_held = True


class FileLocks:
    """LockAPI for all processes of one machine that open the same lock file."""

    def __init__(self, path: Path, clock: Clock, randomness: Randomness) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._clock, self._randomness = clock, randomness
        self._turns: dict[int, _Turn] = {}

    def close(self) -> None:
        os.close(self._file)

    @asynccontextmanager
    async def lock(self, names: Sequence[bytes], *, deadline: Deadline) -> AsyncIterator[Lease]:
        """Hold all of `names`. Raises LockTimeout at the deadline."""
        held: list[int] = []
        try:
            for offset in sorted({_offset_of(name) for name in names}):
                await self._take(offset, deadline)
                held.append(offset)
            yield _HeldLease()
        finally:
            for offset in reversed(held):
                self._give_back(offset)

    async def _take(self, offset: int, deadline: Deadline) -> None:
        turn = self._turns.setdefault(offset, _Turn(asyncio.Lock()))
        turn.users += 1
        try:
            await self._wait_turn(turn, deadline)
            try:
                await self._wait_for_file(offset, deadline)
            except BaseException:
                turn.lock.release()
                raise
        except BaseException:
            self._leave(offset, turn)
            raise

    def _give_back(self, offset: int) -> None:
        turn = self._turns[offset]
        self._set(offset, fcntl.F_UNLCK)
        turn.lock.release()
        self._leave(offset, turn)

    def _leave(self, offset: int, turn: _Turn) -> None:
        turn.users -= 1
        if not turn.users:
            del self._turns[offset]

    async def _wait_turn(self, turn: _Turn, deadline: Deadline) -> None:
        if not turn.lock.locked():  # An uncontended lock is had without a timer.
            await turn.lock.acquire()
            return
        try:
            async with asyncio.timeout(deadline.seconds_left()):
                await turn.lock.acquire()
        except TimeoutError as late:
            raise LockTimeout("another writer of this process holds the lock") from late

    async def _wait_for_file(self, offset: int, deadline: Deadline) -> None:
        pause = _PAUSE_SECONDS_MIN
        while not self._set(offset, fcntl.F_WRLCK):
            if deadline.has_passed:
                raise LockTimeout("a writer of another process holds the lock")
            await self._clock.sleep(self._randomness.uniform(pause / 2, pause))
            pause = min(2 * pause, _PAUSE_SECONDS_MAX)

    def _set(self, offset: int, kind: int) -> bool:
        """Try to take or give back the byte at `offset`; never waits. False when another process holds it."""
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, offset, 1, 0))
        except (BlockingIOError, PermissionError):
            return False
        return True


def _offset_of(name: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(name, digest_size=_OFFSET_BYTES).digest(), "big")
