"""`ShardIO`: what all transfers of shard bytes in a process share: time limits, threads, left-over tasks."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_base.limits import MIB
from liteio_erasure.bitrot import KEEPS_LOCK
from liteio_objects.tasks import OwnedTasks

T = TypeVar("T")

# Below this many bytes the work is done on the loop. Where hashing leaves the interpreter's lock free, handing it to a
# thread and back costs about as much as it takes; where all of it keeps the lock, a thread would only hold up the loop.
HEAVY_BYTES: Final = 4 * MIB if KEEPS_LOCK else MIB

# Blocks of one transfer that are coded, written, read and decoded together, and how many transfers of a process may do
# so at once. An upload holds at most one batch being gathered, one being coded or queued (1 + N/K times its bytes) and
# one being written (N/K times): 6 to 12 MiB; a read the range being sent and the next one: 4 MiB, and one block more
# where it must be decoded. With more transfers an upload works on single blocks and gathers no batch while another is
# coded: 3 to 5 MiB; a read fetches a range no earlier than it sends the last block of the one before: 3 MiB.
BATCH_BLOCKS: Final = 2
CROWD_TRANSFERS: Final = 4  # eight uploads at once then fit a worker of 200 MiB (tests/memory)


class Crowd:
    """Counts the transfers under way, so that many together need less memory each: `with crowd:` around each."""

    def __init__(self) -> None:
        self.transfers = 0

    @property
    def is_dense(self) -> bool:
        return self.transfers > CROWD_TRANSFERS

    @property
    def batch_blocks(self) -> int:
        return 1 if self.is_dense else BATCH_BLOCKS

    def __enter__(self) -> None:
        self.transfers += 1

    def __exit__(self, *_: object) -> None:
        self.transfers -= 1


@dataclass(frozen=True, slots=True)
class ShardIO:
    """How long drives are waited for, and where heavy and left-over work goes.

    call_seconds: without any progress for so long, the drives waited for are given up: below the ten seconds in which
    a read without enough drives must fail.
    grace_seconds: how long a drive may lag behind once enough others have done their part of a write.
    slow_grace_seconds: the same for a slow drive, which may always take as long again as the others did.
    """

    clock: Clock
    tasks: OwnedTasks = field(default_factory=OwnedTasks)
    call_seconds: float = 8.0
    grace_seconds: float = 1.0
    slow_grace_seconds: float = 0.02
    crowd: Crowd = field(default_factory=Crowd)

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
        with suppress(TimeoutError):
            async with asyncio.timeout(self.call_seconds):
                await work
