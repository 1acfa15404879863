"""A process that can not outlive its parent: run as a script, it ties itself and then becomes the command.

    python -I -S leash.py PARENT_PID COMMAND [ARGUMENT…]

The kernel is told to kill the process when its parent dies (PR_SET_PDEATHSIG), which also holds for what it becomes by
exec. A parent that died before that is noticed by the parent's id having changed. It stands between fork and exec as a
program of its own because a preexec function would run Python in a forked copy of a process with threads.

`watch_pipe` is the second line for Python processes: it ends the process when the other end of a pipe that the parent
holds is closed, which the kernel does for a parent that dies in any way. This module imports nothing of ours, so that
it starts in about 20 ms.
"""

import os
import signal
import sys
import threading
from typing import Final

LEASH_VARIABLE: Final = "LITEIO_LEASH_FD"
_PR_SET_PDEATHSIG: Final = 1


def tie_to(parent_pid: int) -> None:
    """Be killed (SIGKILL) when the parent dies; at once if it is dead already. Raises OSError if the kernel refuses."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def watch_pipe() -> None:
    """Die when the supervisor does, if it gave a pipe to watch (LITEIO_LEASH_FD). Call once, early in `main`."""
    text = os.environ.pop(LEASH_VARIABLE, "")
    if text.isdigit():
        os.set_inheritable(int(text), False)  # a grandchild that held it open would not matter, but need not
        threading.Thread(target=_die_at_end_of, args=(int(text),), name="leash", daemon=True).start()


def _die_at_end_of(fd: int) -> None:
    while os.read(fd, 1):
        pass
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    tie_to(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])
