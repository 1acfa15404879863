"""`ShardIO`: what all transfers of shard bytes in a process share: time limits, threads, left-over tasks."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_base.limits import MIB
from liteio_objects.tasks import OwnedTasks

T = TypeVar("T")

# Below this many bytes the work is done on the loop: handing it to a thread and back costs about as much, and it takes
# well below a millisecond.
HEAVY_BYTES: Final = MIB


@dataclass(frozen=True, slots=True)
class ShardIO:
    """How long drives are waited for, and where heavy and left-over work goes.

    call_seconds: without any progress for so long, the drives waited for are given up: below the ten seconds in which
    a read without enough drives must fail.
    grace_seconds: how long a drive may lag behind once enough others have done their part of a write.
    slow_grace_seconds: the same for a drive marked slow.
    hedge_seconds: after so long without an answer a read asks another drive too.
    """

    clock: Clock
    tasks: OwnedTasks = field(default_factory=OwnedTasks)
    call_seconds: float = 8.0
    grace_seconds: float = 1.0
    slow_grace_seconds: float = 0.1
    hedge_seconds: float = 0.15

    def deadline(self) -> Deadline:
        """For one call to a drive that begins now."""
        return Deadline.after(self.call_seconds, self.clock)

    async def compute(self, work_bytes: int, work: Callable[[], T]) -> T:
        """Run `work`, which treats `work_bytes` bytes: in a thread of the loop's pool when they are many."""
        if work_bytes < HEAVY_BYTES:
            return work()
        return await asyncio.get_running_loop().run_in_executor(None, work)

    def retire(self, work: Coroutine[Any, Any, None]) -> None:
        """Let cleaning up go on in the background, however long a drive in trouble takes: no caller waits for it."""
        self.tasks.start(self._bounded(work))

    async def _bounded(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        try:
            await asyncio.wait({task}, timeout=self.call_seconds)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def first_done(tasks: Collection["asyncio.Task[Any]"], seconds: float) -> "set[asyncio.Task[Any]]":
    """Wait until one of `tasks` is done, at most so long. Those that are; none is cancelled."""
    done, _ = await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    return done
