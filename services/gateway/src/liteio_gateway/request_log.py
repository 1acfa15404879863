"""One line a request: who, what, how it ended, how long it took. Never signatures, secrets or query values.

Lines are gathered for a moment and written together: one system call for many small requests.
"""

import asyncio
import io
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol

import msgspec

from liteio_base.clock import Clock
from liteio_gateway.asgi import App, Receive, Scope, Send
from liteio_gateway.exchange import Exchange, exchange_of

_FLUSH_SECONDS: Final = 0.05
_HELD_LINES_MAX: Final = 512

LogSink = Callable[[Mapping[str, object]], None]


class _ByteStream(Protocol):
    def write(self, data: bytes, /) -> object: ...

    def flush(self) -> None: ...


class RequestLog:
    def __init__(self, app: App, *, clock: Clock, sink: LogSink) -> None:
        self._app, self._clock, self._sink = app, clock, sink

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            self._sink(facts_of(exchange_of(scope), self._clock))


def facts_of(exchange: Exchange, clock: Clock) -> dict[str, object]:
    """The line's fields. `status` 0: the client left before there was an answer."""
    facts: dict[str, object] = {
        "time_ns": clock.now_ns(),
        "event": "request",
        "request_id": exchange.request_id,
        "client": exchange.client,
        "caller": exchange.caller,
        "method": exchange.method,
        "operation": exchange.operation,
        "bucket": exchange.bucket,
        "key": exchange.key,
        "status": exchange.status,
        "bytes_in": exchange.bytes_in,
        "bytes_out": exchange.bytes_out,
        "seconds": round(clock.monotonic() - exchange.started, 6),
    }
    if exchange.error_code:
        facts["error"] = exchange.error_code
    return facts


class LineLog:
    """A LogSink that writes JSON or plain lines to a byte stream, gathered over a twentieth of a second."""

    def __init__(self, stream: _ByteStream, *, is_json: bool = True) -> None:
        self._stream, self._is_json = stream, is_json
        self._held: list[Mapping[str, object]] = []
        self._encoder = msgspec.json.Encoder()
        self._timer: asyncio.TimerHandle | None = None

    def __call__(self, facts: Mapping[str, object]) -> None:
        self._held.append(facts)
        if len(self._held) >= _HELD_LINES_MAX:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(_FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Write what was gathered. A closed or full stream loses lines, never requests."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        held, self._held = self._held, []
        if not held:
            return
        try:
            self._stream.write(self._encoder.encode_lines(held) if self._is_json else _plain_lines(held))
            self._stream.flush()
        except (OSError, ValueError):
            pass


def standard_error() -> _ByteStream:
    stream = getattr(sys.stderr, "buffer", None)
    return stream if stream is not None else io.BytesIO()


def _plain_lines(held: Sequence[Mapping[str, object]]) -> bytes:
    # Keys may hold line breaks; repr keeps one request on one line.
    lines = (" ".join(f"{name}={value!r}" for name, value in facts.items()) for facts in held)
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "replace")
