"""Waiting for what happens in another process."""

import asyncio
from collections.abc import Awaitable, Callable

_PAUSE_SECONDS = 0.01


async def until(is_true: Callable[[], bool | Awaitable[bool]], seconds: float = 10.0) -> None:
    """Ask again and again. Raises TimeoutError."""
    async with asyncio.timeout(seconds):
        while not await _ask(is_true):  # noqa: ASYNC110  # nothing in this process knows when it becomes true
            await asyncio.sleep(_PAUSE_SECONDS)


async def _ask(is_true: Callable[[], bool | Awaitable[bool]]) -> bool:
    answer = is_true()
    return answer if isinstance(answer, bool) else await answer
