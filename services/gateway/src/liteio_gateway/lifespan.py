"""The process's life: what a gateway needs is opened before the first request and closed after the last.

Storage nodes may take their time. After a moment the gateway begins to answer all the same, 503 to whatever needs the
store: so it can be told to stop, a load balancer sees why it is not ready, and clients try again instead of hanging.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from liteio_gateway.asgi import App, Message, Receive, Scope, Send
from liteio_gateway.probes import LIVE_PATHS
from liteio_s3.errors import SLOW_DOWN, render_error

log: Final = logging.getLogger("liteio.gateway")

PATIENCE_SECONDS: Final = 3.0
LOCAL_PATIENCE_SECONDS: Final = 60.0

Opening = Callable[[], AbstractAsyncContextManager[App]]


class Lifespan:
    """An ASGI app around one that `opening` gives. `on_failure` is called when it fails after the server has begun to
    answer; before that the server itself is told."""

    def __init__(
        self,
        opening: Opening,
        *,
        on_failure: Callable[[], None] = lambda: None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._opening, self._patience_seconds = opening, patience_seconds
        self.on_failure = on_failure
        self._app: App = answer_not_yet
        self._is_open, self._told_to_end = asyncio.Event(), asyncio.Event()

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan":
            return self._live(receive, send)
        return self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        holding = asyncio.ensure_future(self._hold())
        has_started = False
        try:
            if not await self._opens(holding):
                log.warning("the store is not open yet; requests are answered 503 until it is")
                holding.add_done_callback(self._note_failure)
            await send({"type": "lifespan.startup.complete"})
            has_started = True
            await receive()
            await self._end(holding)
        except Exception as problem:
            log.exception("the gateway could not %s", "stop in order" if has_started else "start")
            kind = "lifespan.shutdown.failed" if has_started else "lifespan.startup.failed"
            await send({"type": kind, "message": str(problem)})
        else:
            await send({"type": "lifespan.shutdown.complete"})

    async def _hold(self) -> None:
        """The app's whole life in one task: what is opened in a task is best closed in the same."""
        async with self._opening() as app:
            self._app = app
            self._is_open.set()
            await self._told_to_end.wait()

    async def _opens(self, holding: "asyncio.Task[None]") -> bool:
        """Whether it is open before the patience ends. Raises what opening raises."""
        opened = asyncio.ensure_future(self._is_open.wait())
        await asyncio.wait((opened, holding), timeout=self._patience_seconds, return_when=asyncio.FIRST_COMPLETED)
        opened.cancel()
        if holding.done():
            holding.result()
        return self._is_open.is_set()

    async def _end(self, holding: "asyncio.Task[None]") -> None:
        """Raises what closing raises."""
        self._told_to_end.set()
        if not self._is_open.is_set():
            holding.cancel()
            await asyncio.gather(holding, return_exceptions=True)
        else:
            await holding

    def _note_failure(self, holding: "asyncio.Task[None]") -> None:
        if not holding.cancelled() and not self._is_open.is_set():
            log.error("the store can not be opened", exc_info=holding.exception())
            self.on_failure()


async def answer_not_yet(scope: Scope, receive: Receive, send: Send) -> None:
    """The process lives; whatever needs the store is told to try again."""
    if scope["raw_path"] in LIVE_PATHS:
        await _answer(send, 200, b"")
        return
    body = b"" if scope["method"] == "HEAD" else render_error(SLOW_DOWN, None, "", "", "")
    await _answer(send, SLOW_DOWN.status, body, [(b"content-type", b"application/xml"), (b"retry-after", b"1")])


async def _answer(send: Send, status: int, body: bytes, headers: list[tuple[bytes, bytes]] | None = None) -> None:
    """And no more on this connection: the body of the request is not read."""
    all_headers = [(b"content-length", str(len(body)).encode()), (b"connection", b"close"), *(headers or [])]
    start: Message = {"type": "http.response.start", "status": status, "headers": all_headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})
