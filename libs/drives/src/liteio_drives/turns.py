"""`Turns`: who of this process has something, and who waits for it, in the order of asking.

Of all that want a lock in one process only one asks outside for it; the others would only stand in each other's way
there.
"""

import asyncio
from collections import deque
from collections.abc import Hashable
from typing import Generic, TypeVar

from liteio_base.deadline import Deadline
from liteio_contracts.locks import LockTimeout

Key = TypeVar("Key", bound=Hashable)


class Turns(Generic[Key]):
    """`begin`, and `wait` when that says so; then `end`, exactly once."""

    __slots__ = ("_queues",)

    def __init__(self) -> None:
        self._queues: dict[Key, deque[asyncio.Future[None]]] = {}  # of each key that somebody has

    def begin(self, key: Key) -> bool:
        """Whether it is the caller's at once; else there is a turn to `wait` for."""
        if key in self._queues:
            return False
        self._queues[key] = deque()
        return True

    async def wait(self, key: Key, deadline: Deadline) -> None:
        """Raises LockTimeout."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queues[key].append(turn)
        try:
            async with asyncio.timeout(deadline.seconds_left()):
                await turn
        except BaseException as gone:
            if turn.done() and not turn.cancelled():  # It came at the very moment: the next one's, then.
                self.end(key)
            if isinstance(gone, TimeoutError):
                raise LockTimeout("another writer of this process holds the lock") from gone
            raise

    def end(self, key: Key) -> None:
        """The next one's turn."""
        queue = self._queues[key]
        while queue:
            turn = queue.popleft()
            if not turn.done():  # Those who gave up are still in the queue.
                turn.set_result(None)
                return
        del self._queues[key]
