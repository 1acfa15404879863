"""Accepting connections from a socket that several workers share, so that each gets about as many.

Left to itself the worker that wakes first takes all that wait: of twenty connections that a client opened at once,
fourteen went to one of two workers, and clients keep their connections. So workers tell each other how many they have,
in a page of shared memory, and one that has more than another lets the others go first.
"""

import asyncio
import errno
import logging
import mmap
import socket
import struct
from collections.abc import Callable, Coroutine
from typing import Any, Final

_log: Final = logging.getLogger(__name__)

YIELD_SECONDS: Final = 0.001
OUT_OF_DESCRIPTORS_SECONDS: Final = 1.0
_COUNT: Final = struct.Struct("=I")
_NO_WORKER: Final = 0xFFFF_FFFF  # as the supervisor fills the page: nobody there who could go first
_OUT_OF_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class ConnectionTally:
    """How many connections each worker has: one unsigned 32-bit integer a worker, written by that worker alone. One
    that was killed leaves its last count behind; the one that takes its place starts again from none."""

    def __init__(self, fd: int, index: int, workers: int) -> None:
        self._page = mmap.mmap(fd, workers * _COUNT.size)
        self._at, self._workers = index * _COUNT.size, workers
        self.note(0)

    def note(self, connections: int) -> None:
        _COUNT.pack_into(self._page, self._at, connections)

    def is_above_another(self, connections: int) -> bool:
        """`connections`: as noted."""
        fewest: int = min(count for (count,) in _COUNT.iter_unpack(self._page[: self._workers * _COUNT.size]))
        return connections > fewest

    def close(self) -> None:
        self.note(_NO_WORKER)
        self._page.close()


class SharedListener:
    """What uvicorn takes for a server: `close` ends accepting, `wait_closed` waits for what was being taken. `take`
    makes a connection of an accepted socket; `count_connections` tells how many there are."""

    def __init__(
        self,
        listening: socket.socket,
        tally: ConnectionTally,
        take: Callable[[socket.socket], Coroutine[Any, Any, object]],
        count_connections: Callable[[], int],
    ) -> None:
        self._listening, self._tally, self._take = listening, tally, take
        self._count_connections = count_connections
        self._loop = asyncio.get_running_loop()
        self._taking: set[asyncio.Task[object]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._loop.add_reader(listening.fileno(), self._on_ready)

    def close(self) -> None:
        if self._is_closed:
            return
        self._is_closed = True
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._listening.fileno())
        self._tally.close()

    async def wait_closed(self) -> None:
        """uvicorn waits with this before it ends the application: without it the store would not be drained."""
        await asyncio.gather(*self._taking, return_exceptions=True)

    def tell(self) -> None:
        """Let the others know of connections that ended. Called every now and then."""
        if not self._is_closed:
            self._tally.note(self._connections)

    @property
    def _connections(self) -> int:
        return self._count_connections() + len(self._taking)

    def _on_ready(self) -> None:
        connections = self._connections
        self._tally.note(connections)
        if self._tally.is_above_another(connections):
            self._rest(YIELD_SECONDS)
        else:
            self._accept()

    def _rest(self, seconds: float) -> None:
        self._loop.remove_reader(self._listening.fileno())
        self._pause = self._loop.call_later(seconds, self._go_on)

    def _go_on(self) -> None:
        """The others had their chance: what still waits is ours."""
        self._pause = None
        self._loop.add_reader(self._listening.fileno(), self._on_ready)
        self._accept()

    def _accept(self) -> None:
        try:
            accepted, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return  # another worker has it, or its client is gone
        except OSError as problem:
            if problem.errno not in _OUT_OF_DESCRIPTORS:
                raise
            _log.error("no connection can be accepted: %s", problem.strerror)
            self._rest(OUT_OF_DESCRIPTORS_SECONDS)
            return
        accepted.setblocking(False)
        task = self._loop.create_task(self._take(accepted))
        self._taking.add(task)
        task.add_done_callback(self._taken)
        self._tally.note(self._connections)

    def _taken(self, task: "asyncio.Task[object]") -> None:
        self._taking.discard(task)
        if not task.cancelled() and (problem := task.exception()) is not None:
            _log.debug("a connection did not come about: %s", problem)  # a TLS handshake, for example
