"""Locks on one machine: a queue per name inside the process, then a byte-range lock on a file between processes.

Open-file-description locks (fcntl(2), F_OFD_SETLK) belong to the open file, not to the process: the kernel frees them
when the last descriptor goes, so a killed process holds nothing. Each name locks one byte at its hash; two names that
share a byte only wait for each other. DESIGN section 6.

There are several files, since the kernel keeps a file's locks in a list and looks through it each time: thousands are
held where many keys are removed at once.

The kernel gives a lock to whoever asks next, and that is nearly always a process that has just given it back and has
writers waiting. So whoever has to wait holds a second byte, the name's turnstile, until it has the first one, and
writers who have waited in their process go through the turnstile too: no process is passed over twice.
"""

import ctypes
import errno
import fcntl
import hashlib
import os
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from liteio_base.clock import Clock, Randomness
from liteio_base.deadline import Deadline
from liteio_contracts.locks import Lease, LockTimeout
from liteio_drives.turns import Turns

_FLOCK: Final = struct.Struct("hhqqi4x")  # l_type, l_whence, l_start, l_len, l_pid of struct flock on 64-bit Linux
_PAUSE_SECONDS_MIN: Final = 0.001
_PAUSE_SECONDS_MAX: Final = 0.01
_OFFSET_BYTES: Final = 7  # offsets stay below 2**56, well inside off_t
_TURNSTILE: Final = 1 << 56  # that of a name, behind all names
_FILES: Final = 16

# fcntl(2) as the C library has it, called so that the interpreter's lock is kept: F_OFD_SETLK never waits, and to get
# that lock back from the drives' busy threads takes several times as long as the call.
_fcntl: Final[Any] = ctypes.PyDLL(None, use_errno=True).fcntl
_fcntl.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_char_p)
_fcntl.restype = ctypes.c_int


class FileLocks:
    """LockAPI for all processes of one machine that open the lock files of the same folder."""

    def __init__(self, folder: Path, clock: Clock, randomness: Randomness) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
        self._files = [os.open(folder / str(number), flags, 0o600) for number in range(_FILES)]
        self._clock, self._randomness = clock, randomness
        self._turns: Turns[int] = Turns()  # at the offsets of names

    def close(self) -> None:
        for file in self._files:
            os.close(file)

    def lock(
        self, names: Sequence[bytes], *, deadline: Deadline, on_ask: Callable[[], object] | None = None
    ) -> "_Hold":
        """Hold all of `names`. Raises LockTimeout at the deadline."""
        return _Hold(self, names, deadline)

    async def take(self, offset: int, deadline: Deadline) -> None:
        """Hold the byte at `offset`. Raises LockTimeout."""
        is_first = self._turns.begin(offset)
        if not is_first:
            await self._turns.wait(offset, deadline)
        try:
            if not (is_first and self._set(offset, fcntl.F_WRLCK)):
                await self._queue_up(offset, deadline)
        except BaseException:
            self._turns.end(offset)
            raise

    def give_back(self, offset: int) -> None:
        self._set(offset, fcntl.F_UNLCK)
        self._turns.end(offset)

    async def _queue_up(self, offset: int, deadline: Deadline) -> None:
        await self._wait_for_file(_TURNSTILE + offset, deadline)
        try:
            await self._wait_for_file(offset, deadline)
        finally:
            self._set(_TURNSTILE + offset, fcntl.F_UNLCK)

    async def _wait_for_file(self, offset: int, deadline: Deadline) -> None:
        pause = _PAUSE_SECONDS_MIN
        while not self._set(offset, fcntl.F_WRLCK):
            if deadline.has_passed:
                raise LockTimeout("a writer of another process holds the lock")
            await self._clock.sleep(self._randomness.uniform(pause / 2, pause))
            pause = min(2 * pause, _PAUSE_SECONDS_MAX)

    def _set(self, offset: int, kind: int) -> bool:
        """Try to take or give back the byte at `offset`; never waits. False when another process holds it."""
        if _fcntl(self._files[offset % _FILES], fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, offset, 1, 0)) == 0:
            return True
        code = ctypes.get_errno()
        if code in (errno.EAGAIN, errno.EACCES):
            return False
        raise OSError(code, os.strerror(code))


class _Hold:
    """Locks being held: `async with`. They are its own lease: what the kernel keeps is never lost while held."""

    __slots__ = ("_deadline", "_held", "_locks", "_names")

    is_held = True

    def __init__(self, locks: FileLocks, names: Sequence[bytes], deadline: Deadline) -> None:
        self._locks, self._names, self._deadline = locks, names, deadline
        self._held: list[int] = []

    async def __aenter__(self) -> Lease:
        try:
            for offset in sorted(set(map(_offset_of, self._names))):
                await self._locks.take(offset, self._deadline)
                self._held.append(offset)
        except BaseException:
            self._give_back()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        self._give_back()

    def _give_back(self) -> None:
        for offset in reversed(self._held):
            self._locks.give_back(offset)


def _offset_of(name: bytes) -> int:
    return int.from_bytes(hashlib.blake2b(name, digest_size=_OFFSET_BYTES).digest(), "big")
