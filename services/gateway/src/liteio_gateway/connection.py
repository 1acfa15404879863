"""The HTTP/1.1 connection: uvicorn's, with what it lacks against slow and greedy clients.

- At most `connections_max` connections; one more is answered 503 and closed.
- Headers must come whole within `header_seconds` of their first byte (of the connection's start, for the first
  request), and within HEADER_BYTES_ABORT; so must the trailers of a chunked body.
- A client that takes no byte of an answer for `idle_seconds` is cut off. What it takes is asked of the kernel
  (TCP_INFO): over TLS the transport does not count all that it holds back. Pauses while a body is *read* are bounded
  where it is read (body_source.py).
- A connection that was closed and whose client has taken everything is gone within CLOSING_SECONDS_MAX: over TLS,
  closing waits for the client's own farewell (RFC 8446, section 6.1), which a client that is not reading never sends.
- A connection without a request for `timeout_keep_alive` is closed, and one that sends more than PIPELINED_MAX requests
  without waiting for answers. Nothing more is read while any of them waits.
One timer a process looks at all connections, so a request costs some assignments.

What happens to one request, after its headers, is in cycle.py.
"""

import asyncio
import socket
import struct
import time
from collections import deque
from typing import Any, Final, NamedTuple, cast
from urllib.parse import unquote

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from liteio_gateway.asgi import HAS_MESSAGE, Scope
from liteio_gateway.cycle import Cycle, header_lines
from liteio_gateway.limits import HEADER_BYTES_ABORT, PIPELINED_MAX
from liteio_s3.errors import SLOW_DOWN, render_error

WATCH_SECONDS: Final = 1.0
CLOSING_SECONDS_MAX: Final = 2.0
_ASGI: Final = {"version": "3.0", "spec_version": "2.3"}


class GatewayConnection(HttpToolsProtocol):
    """`connections_max` and the two times are set on a subclass by `connection_class`."""

    connections_max: int = 2_000
    header_seconds: float = 15.0
    idle_seconds: float = 30.0
    cycle: Cycle  # type: ignore[assignment]  # it has all that uvicorn's protocol uses of its own

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._headers_since: float | None = None
        self._header_bytes = 0
        self._idle_since: float | None = None
        self._trailer_bytes: int | None = None  # None while what comes are headers
        self._waiting: deque[tuple[Cycle, Scope]] = deque()
        self._default_headers: list[tuple[bytes, bytes]] = []
        self._default_lines = b""
        self._progress = _Progress(taken_bytes=0, is_all_taken=True)
        self._stalled_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(cast(asyncio.Transport, transport))  # uvloop's has all of its methods, no subclass
        if len(self.connections) > self.connections_max:
            self.transport.write(_TOO_MANY)
            self.transport.close()
            return
        self._headers_since = time.monotonic()

    def data_received(self, data: bytes) -> None:
        if self._headers_since is None and (self.cycle is None or self.cycle.response_complete):
            self._headers_since = time.monotonic()
        if self._headers_since is not None:
            self._header_bytes += len(data)
        super().data_received(data)
        # Whole headers were taken off the count by `on_headers_complete`, so what is left are headers still arriving.
        if self._headers_since is not None and self._header_bytes > HEADER_BYTES_ABORT:
            self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self.connections.discard(self)
        if self.cycle is not None:
            self.cycle.take_loss()
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        self.parser = None  # type: ignore[assignment]  # it holds this connection

    def send_400_response(self, msg: str) -> None:
        if not self.transport.is_closing():  # It is when a callback of the parser has cut it.
            super().send_400_response(msg)

    def on_message_begin(self) -> None:
        self.url, self.headers, self.expect_100_continue = b"", [], False
        self._trailer_bytes = None

    def on_header(self, name: bytes, value: bytes) -> None:
        """The parser calls the fields behind a chunked body headers, too; nobody asks for those."""
        if self._trailer_bytes is None:
            super().on_header(name, value)
            return
        self._trailer_bytes += len(name) + len(value)
        if self._trailer_bytes > HEADER_BYTES_ABORT:
            self.transport.abort()
            raise ConnectionAbortedError

    def on_headers_complete(self) -> None:
        self._headers_since = self._idle_since = None
        self._header_bytes = self._trailer_bytes = 0
        scope = self._read_scope()
        before = self.cycle
        self.cycle = Cycle(
            self.transport,
            self.flow,
            self._current_default_lines(),
            expects_continue=self.expect_100_continue,
            keep_alive=scope["http_version"] != "1.0" and self.parser.should_keep_alive(),
            on_answered=self.on_response_complete,
            on_ended=self._on_ended,
        )
        scope["extensions"] = {HAS_MESSAGE: self.cycle.has_message}
        if before is None or before.response_complete:
            self._start(self.cycle, scope)
        else:  # A client that sends its next request before it has the answer: one at a time, in order.
            if len(self._waiting) >= PIPELINED_MAX:  # One read of the socket may bring thousands.
                self.transport.abort()
                raise ConnectionAbortedError
            self.flow.pause_reading()
            self._waiting.append((self.cycle, scope))

    def on_body(self, body: bytes) -> None:
        if not self.cycle.response_complete:
            self.cycle.take_body(body)

    def on_message_complete(self) -> None:
        if not self.cycle.response_complete:
            self.cycle.take_end()

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self._waiting:
            self._start(*self._waiting.popleft())
        else:
            self.flow.resume_reading()
            self._idle_since = time.monotonic()

    def _read_scope(self) -> Scope:
        """As uvicorn gives it for an application at the root."""
        url = httptools.parse_url(self.url)
        path = url.path.decode("ascii")
        return {
            "type": "http",
            "asgi": _ASGI,
            "http_version": self.parser.get_http_version(),
            "server": self.server,
            "client": self.client,
            "scheme": self.scheme,
            "root_path": "",
            "method": self.parser.get_method().decode("ascii"),
            "path": unquote(path) if "%" in path else path,
            "raw_path": url.path,
            "query_string": url.query or b"",
            "headers": self.headers,
        }

    def _current_default_lines(self) -> bytes:
        """uvicorn makes another list each second, with another date."""
        if self.server_state.default_headers is not self._default_headers:
            self._default_headers = self.server_state.default_headers
            self._default_lines = header_lines(self._default_headers)
        return self._default_lines

    def _start(self, cycle: Cycle, scope: Scope) -> None:
        cycle.task = self.loop.create_task(cycle.run(self.app, scope))
        self.tasks.add(cycle.task)

    def _on_ended(self, cycle: Cycle) -> None:
        if cycle.task is not None:
            self.tasks.discard(cycle.task)

    def look(self, now: float) -> None:
        """Cut the connection if its client has been too slow. Called about once a second."""
        if self._headers_since is not None and now - self._headers_since > self.header_seconds:
            self.transport.abort()
            return
        if self._headers_since is None and self._idle_since is not None:
            self._close_if_unused(now - self._idle_since)
        before, self._progress = self._progress, _progress_of(self.transport)
        is_idle = self._progress.is_all_taken and not self.transport.is_closing()
        if is_idle or self._progress != before:
            self._stalled_since = now
        elif now - self._stalled_since > (CLOSING_SECONDS_MAX if self._progress.is_all_taken else self.idle_seconds):
            self.transport.abort()

    def _close_if_unused(self, idle_seconds: float) -> None:
        if idle_seconds > self.timeout_keep_alive and not self.transport.is_closing():
            self.transport.close()


class _Progress(NamedTuple):
    """How far a client is with what was written to it."""

    taken_bytes: int
    """Acknowledged by its kernel since the connection began."""
    is_all_taken: bool


def _progress_of(transport: asyncio.Transport) -> _Progress:
    """From the kernel's TCP_INFO (Linux, include/uapi/linux/tcp.h)."""
    try:
        info = transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
    except OSError:  # closed already
        return _Progress(taken_bytes=0, is_all_taken=True)
    unacknowledged_packets, taken_bytes, unsent_bytes = _TCP_INFO.unpack(info)
    is_all_taken = not unacknowledged_packets and not unsent_bytes and not transport.get_write_buffer_size()
    return _Progress(taken_bytes, is_all_taken)


_TCP_INFO: Final = struct.Struct("=24x I 92x Q 16x I")
"""tcpi_unacked, tcpi_bytes_acked, tcpi_notsent_bytes."""


def connection_class(connections_max: int, header_seconds: float, idle_seconds: float) -> type[GatewayConnection]:
    attributes = {
        "connections_max": connections_max,
        "header_seconds": header_seconds,
        "idle_seconds": idle_seconds,
    }
    return type("BoundGatewayConnection", (GatewayConnection,), attributes)


async def watch_connections(state: ServerState) -> None:
    """Look at all connections, over and over. Runs until it is cancelled."""
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        now = time.monotonic()
        for connection in list(state.connections):
            if isinstance(connection, GatewayConnection):
                connection.look(now)


def _too_many_connections() -> bytes:
    body = render_error(SLOW_DOWN, None, "", "", "")
    head = (
        f"HTTP/1.1 {SLOW_DOWN.status} Service Unavailable\r\ncontent-type: application/xml\r\n"
        f"content-length: {len(body)}\r\nretry-after: 1\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


_TOO_MANY: Final = _too_many_connections()
