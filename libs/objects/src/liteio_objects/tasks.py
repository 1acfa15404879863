"""Tasks that outlive the request that began them, owned by the process."""

import asyncio
import logging
from collections.abc import Coroutine
from functools import partial
from typing import Any, TypeVar

from liteio_contracts.storage_errors import StorageError

T = TypeVar("T")
_log = logging.getLogger(__name__)


class OwnedTasks:
    """Keeps tasks alive and reports what no caller is left to hear. `drain` waits for them when the process ends."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        task = asyncio.ensure_future(work)
        self.adopt(task)
        return task

    def adopt(self, task: "asyncio.Future[Any]") -> None:
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    async def to_its_end(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` so that the caller's cancellation loses only the answer. What it raises is for
        the caller to tell."""
        loop = asyncio.get_running_loop()
        task = loop.create_task(work)
        ended = loop.create_future()
        self._tasks.add(task)
        task.add_done_callback(partial(self._forget, ended))
        await ended  # asyncio.shield does the same with two callbacks more.
        return task.result()

    async def drain(self, seconds: float) -> None:
        """Wait for all tasks at most so long; what is left is cancelled."""
        pending = {task for task in self._tasks if not task.done()}
        if pending:
            _, late = await asyncio.wait(pending, timeout=seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def __len__(self) -> int:
        return len(self._tasks)

    def _forget(self, ended: "asyncio.Future[None]", task: "asyncio.Future[Any]") -> None:
        self._tasks.discard(task)
        if not ended.done():
            ended.set_result(None)
        if not task.cancelled():
            task.exception()  # Seen, also when the caller did not stay to hear it.

    def _finished(self, task: "asyncio.Future[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, StorageError):
            _log.error("background work failed", exc_info=error)
