"""The outermost middleware: request id, last-resort 500, exact body length.

What stands inside may fail in any way; the client still gets an answer with a request id, or a broken connection, and
never a body that ends cleanly but short.
"""

import logging
from collections.abc import Iterator
from typing import Final

from liteio_base.clock import Clock, Randomness
from liteio_gateway.asgi import App, BrokenAnswer, ClientGone, Message, Receive, Scope, Send
from liteio_gateway.exchange import Exchange, attach_exchange
from liteio_s3.errors import INTERNAL_ERROR, render_error

log: Final = logging.getLogger("liteio.gateway")
_USER_AGENT_CHARACTERS_MAX: Final = 256
_ID_BYTES: Final = 8
_IDS_AT_ONCE: Final = 64


class Guard:
    def __init__(self, app: App, *, clock: Clock, randomness: Randomness, host_id: str) -> None:
        self._app, self._clock, self._host_id = app, clock, host_id
        self._request_ids = _request_ids(randomness)

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
        exchange = Exchange(
            request_id=next(self._request_ids),
            host_id=self._host_id,
            started=self._clock.monotonic(),
            client=client[0] if client else "",
            method=scope["method"],
        )
        for name, value in scope["headers"]:
            if name == b"user-agent":
                exchange.user_agent = value[:_USER_AGENT_CHARACTERS_MAX].decode("latin-1")
        return exchange


def _request_ids(randomness: Randomness) -> Iterator[str]:
    """Ids of 16 hexadecimal digits, without end. Drawn many at once: asking the kernel costs as much as ten HMACs."""
    while True:
        digits = randomness.token_bytes(_ID_BYTES * _IDS_AT_ONCE).hex().upper()
        for start in range(0, len(digits), 2 * _ID_BYTES):
            yield digits[start : start + 2 * _ID_BYTES]


class _GuardedSend:
    """Adds the request id, and holds every answer to the length that it declared."""

    __slots__ = ("_exchange", "_left", "_send", "has_started", "is_complete")

    def __init__(self, send: Send, exchange: Exchange) -> None:
        self._send, self._exchange = send, exchange
        self._left = 0
        self.has_started = self.is_complete = False

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._begin(message)
        elif message["type"] == "http.response.body":
            self._count(message)
        await self._send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.is_complete = True

    def _begin(self, message: Message) -> None:
        exchange = self._exchange
        exchange.status = message["status"]
        headers = list(message["headers"])
        declared = next((value for name, value in headers if name == b"content-length"), None)
        bodiless = exchange.method == "HEAD" or message["status"] in (204, 304)
        if declared is None and not bodiless:
            raise RuntimeError("an answer must declare its length")
        self._left = 0 if bodiless or declared is None else int(declared)
        headers.append((b"x-amz-request-id", exchange.request_id.encode()))
        headers.append((b"x-amz-id-2", exchange.host_id.encode()))
        message["headers"] = headers
        self.has_started = True

    def _count(self, message: Message) -> None:
        size = len(message.get("body", b""))
        self._left -= size
        self._exchange.bytes_out += size
        if self._left < 0:
            raise RuntimeError("an answer is longer than it declared")
        if self._left and not message.get("more_body", False):
            raise RuntimeError("an answer is shorter than it declared")


async def _send_last_resort(exchange: Exchange, send: _GuardedSend) -> None:
    body = render_error(INTERNAL_ERROR, None, exchange.request_id, exchange.host_id, "")
    headers = [
        (b"content-type", b"application/xml"),
        (b"content-length", str(len(body)).encode()),
        (b"connection", b"close"),  # whatever is left of the request's body is not worth reading
    ]
    await send({"type": "http.response.start", "status": INTERNAL_ERROR.status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if exchange.method == "HEAD" else body})
