"""Which processor the threads of a serving process stay on, and that they do not push one another off it.

Threads of one interpreter take turns. Where the kernel spreads them over processors, each turn wakes another processor
up: on a machine with two, a small PUT took 1.14 ms of processor time like that and 0.76 ms with the loop and the index
threads of each worker on one. What lets go of the interpreter's lock for long (shard files, hashing large bodies) gains
from other processors and stays free.

A thread that is woken up may push out the one that runs, which here is the one that woke it and that has the
interpreter's lock: it could do nothing but wait. Linux's SCHED_BATCH (sched(7)) is this policy without that: 6 % more
PUTs and 10 % more HEADs where clients leave no processor idle, no difference where one is.

Threads that libraries made for themselves count, too: that of the HTTP/2 client takes turns with the loop.
"""

import asyncio
import logging
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final

_log = logging.getLogger(__name__)
_FREE_THREADS: Final = ("liteio-data-",)


def hold_on_core(core: int) -> None:
    """Keep this process's threads on one processor, those of shard files apart, and none from waiting its turn. Call in
    the running loop once all is open: the loop's default executor is replaced by one whose threads are free. Threads
    begin where the thread is that begins them. What the kernel refuses is logged.
    """
    everywhere = os.sched_getaffinity(0)
    free = partial(os.sched_setaffinity, 0, everywhere)
    pool = ThreadPoolExecutor(thread_name_prefix="liteio-pool", initializer=free)
    asyncio.get_running_loop().set_default_executor(pool)
    free_ids = {thread.native_id for thread in threading.enumerate() if thread.name.startswith(_FREE_THREADS)}
    try:
        for thread_id in map(int, os.listdir("/proc/self/task")):
            _hold(thread_id, everywhere if thread_id in free_ids else {core})
    except OSError as refused:
        _log.warning("could not stay on processor %d: %s", core, refused)


def _hold(thread_id: int, cores: set[int]) -> None:
    """Raises OSError."""
    try:
        os.sched_setscheduler(thread_id, os.SCHED_BATCH, os.sched_param(0))
        os.sched_setaffinity(thread_id, cores)
    except ProcessLookupError:
        pass  # it has ended meanwhile


def usual_worker_count(node_count: int) -> int:
    """One gateway worker for each processor that this process may use. Each of the machine's storage nodes gets one of
    its own where there are more: workers that share its processor wait for it, and it for them (docs/performance.md).
    """
    core_count = len(os.sched_getaffinity(0))
    return max(1, core_count - node_count)


def core_of_worker(index: int) -> int:
    """The processor of a worker: those that this process may use, in turn."""
    cores = sorted(os.sched_getaffinity(0))
    return cores[index % len(cores)]
