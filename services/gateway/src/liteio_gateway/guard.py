"""The outermost middleware: request id, last-resort 500, exact body length.

What stands inside may fail in any way; the client still gets an answer with a request id, or a broken connection, and
never a body that ends cleanly but short.
"""

import logging
from collections.abc import Awaitable
from typing import Final

from liteio_base.clock import Clock, Randomness
from liteio_gateway.asgi import App, BrokenAnswer, ClientGone, Message, Receive, Scope, Send
from liteio_gateway.exchange import Exchange, attach_exchange
from liteio_s3.errors import INTERNAL_ERROR, render_error

log: Final = logging.getLogger("liteio.gateway")


class Guard:
    def __init__(self, app: App, *, clock: Clock, randomness: Randomness, host_id: str) -> None:
        self._app, self._clock, self._randomness, self._host_id = app, clock, randomness, host_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = self._new_exchange(scope)
        attach_exchange(scope, exchange)
        answer = _GuardedSend(send, exchange)
        try:
            await self._app(scope, receive, answer)
        except ClientGone:
            pass
        except BrokenAnswer:
            raise
        except Exception:
            log.exception("request %s failed (%s)", exchange.request_id, exchange.operation or exchange.method)
            exchange.error_code = INTERNAL_ERROR.code
            if not answer.has_started:
                await _send_last_resort(exchange, answer)
        if answer.has_started and not answer.is_complete:
            # Returning quietly would let some servers end the answer cleanly. Raising makes all of them break it.
            raise BrokenAnswer(exchange.request_id)

    def _new_exchange(self, scope: Scope) -> Exchange:
        client = scope.get("client")
        return Exchange(
            request_id=self._randomness.token_bytes(8).hex().upper(),
            host_id=self._host_id,
            started=self._clock.monotonic(),
            client=client[0] if client else "",
            method=scope["method"],
        )


class _GuardedSend:
    """Adds the request id, and holds every answer to the length that it declared."""

    __slots__ = ("_exchange", "_left", "_send", "has_started", "is_complete")

    def __init__(self, send: Send, exchange: Exchange) -> None:
        self._send, self._exchange = send, exchange
        self._left = 0
        self.has_started = self.is_complete = False

    def __call__(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self._begin(message)
        else:
            self._count(len(message.get("body", b"")), more=message.get("more_body", False))
        return self._send(message)

    def _begin(self, message: Message) -> None:
        exchange = self._exchange
        exchange.status = message["status"]
        headers = message["headers"]
        declared = dict(headers).get(b"content-length")
        bodiless = exchange.method == "HEAD" or message["status"] in (204, 304)
        if declared is None and not bodiless:
            raise RuntimeError("an answer must declare its length")
        self._left = 0 if bodiless or declared is None else int(declared)
        ids = ((b"x-amz-request-id", exchange.request_id.encode()), (b"x-amz-id-2", exchange.host_id.encode()))
        message["headers"] = [*headers, *ids]
        self.has_started = True

    def _count(self, size: int, *, more: bool) -> None:
        self._left -= size
        self._exchange.bytes_out += size
        if self._left < 0:
            raise RuntimeError("an answer is longer than it declared")
        if self._left and not more:
            raise RuntimeError("an answer is shorter than it declared")
        self.is_complete = not more


async def _send_last_resort(exchange: Exchange, send: _GuardedSend) -> None:
    body = render_error(INTERNAL_ERROR, None, exchange.request_id, exchange.host_id, "")
    headers = [
        (b"content-type", b"application/xml"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # whatever is left of the request's body is not worth reading
    ]
    await send({"type": "http.response.start", "status": INTERNAL_ERROR.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if exchange.method == "HEAD" else body})
