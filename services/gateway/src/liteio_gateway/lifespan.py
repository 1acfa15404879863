"""The process's life: what a gateway needs is opened before the first request and closed after the last."""

import logging
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final

from liteio_base.check import check
from liteio_gateway.asgi import App, Receive, Scope, Send

log: Final = logging.getLogger("liteio.gateway")

Opening = Callable[[], AbstractAsyncContextManager[App]]


class Lifespan:
    """An ASGI app around one that `opening` gives when the server starts."""

    def __init__(self, opening: Opening) -> None:
        self._opening = opening
        self._app: App | None = None

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if scope["type"] == "lifespan":
            return self._live(receive, send)
        check(self._app is not None, "the server starts the lifespan before it takes requests")
        assert self._app is not None
        return self._app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        has_started = False
        try:
            async with self._opening() as app:
                self._app = app
                await send({"type": "lifespan.startup.complete"})
                has_started = True
                await receive()
        except Exception as problem:
            log.exception("the gateway could not %s", "stop in order" if has_started else "start")
            kind = "lifespan.shutdown.failed" if has_started else "lifespan.startup.failed"
            await send({"type": kind, "message": str(problem)})
        else:
            await send({"type": "lifespan.shutdown.complete"})
