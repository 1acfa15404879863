"""How a process ends once everything is closed: at once, without taking the interpreter apart.

pyreqwest's threads may still drop what a cancelled request held, for which they take the interpreter's lock. When that
falls into the interpreter's finalization, Python aborts the process (seen with 3.11: "PyGILState_Release: thread state
must be current when releasing", exit code 134), about once in thirty ends beside a node that can not be reached. A
command that had done its work then failed, and a service that had drained looked as if it had crashed.
"""

import contextlib
import logging
import os
import sys
from typing import NoReturn


def leave(code: int) -> NoReturn:
    """End with this exit code. What was printed and logged is out; what `atexit` holds is not run."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads it
            stream.flush()
    os._exit(code)
