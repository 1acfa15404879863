"""The HTTP/1.1 connection: uvicorn's, with what it lacks against slow and greedy clients.

- At most `connections_max` connections; one more is answered 503 and closed.
- Headers must come whole within `header_seconds` of their first byte (of the connection's start, for the first
  request), and within HEADER_BYTES_ABORT.
- A client that takes no byte of an answer for `idle_seconds` is cut off. What it takes is asked of the kernel
  (TCP_INFO): over TLS the transport does not count all that it holds back. Pauses while a body is *read* are bounded
  where it is read (body_source.py).
- A connection that was closed and whose client has taken everything is gone within CLOSING_SECONDS_MAX: over TLS,
  closing waits for the client's own farewell (RFC 8446, section 6.1), which a client that is not reading never sends.
One timer a process looks at all connections, so a request costs two assignments.

And what a small answer needs is written in one system call: uvicorn writes an answer's head and body apart.
"""

import asyncio
import socket
import struct
import time
from typing import Any, Final, NamedTuple, cast

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from liteio_gateway.limits import CORKED_BYTES_MAX, HEADER_BYTES_ABORT
from liteio_s3.errors import SLOW_DOWN, render_error

WATCH_SECONDS: Final = 1.0
CLOSING_SECONDS_MAX: Final = 2.0


class GatewayConnection(HttpToolsProtocol):
    """`connections_max` and the two times are set on a subclass by `connection_class`."""

    connections_max: int = 2_000
    header_seconds: float = 15.0
    idle_seconds: float = 30.0

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
        self._progress = _Progress(taken_bytes=0, is_all_taken=True)
        self._stalled_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        stream = cast(asyncio.Transport, transport)  # uvloop's has all of its methods, but is no subclass
        super().connection_made(stream)
        self.transport = CorkedTransport(stream, self.loop)
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

    def on_headers_complete(self) -> None:
        self._headers_since = None
        self._header_bytes = 0
        super().on_headers_complete()

    def look(self, now: float) -> None:
        """Cut the connection if its client has been too slow. Called about once a second."""
        if self._headers_since is not None and now - self._headers_since > self.header_seconds:
            self.transport.abort()
            return
        before, self._progress = self._progress, _progress_of(self.transport)
        is_idle = self._progress.is_all_taken and not self.transport.is_closing()
        if is_idle or self._progress != before:
            self._stalled_since = now
        elif now - self._stalled_since > (CLOSING_SECONDS_MAX if self._progress.is_all_taken else self.idle_seconds):
            self.transport.abort()


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


class CorkedTransport(asyncio.Transport):
    """Holds a short write back until the next one, or the end of the loop's turn, and sends both together."""

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._transport, self._loop = transport, loop
        self._held: bytes | None = None
        self.get_extra_info = transport.get_extra_info  # type: ignore[method-assign]  # one call less
        self.is_closing = transport.is_closing  # type: ignore[method-assign]  # the same

    def write(self, data: bytes | bytearray | memoryview) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._transport.writelines((held, data))
        elif len(data) > CORKED_BYTES_MAX:
            self._transport.write(data)
        else:
            self._held = bytes(data)
            self._loop.call_soon(self._flush)

    def close(self) -> None:
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        self._held = None
        self._transport.abort()

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size() + len(self._held or b"")

    def _flush(self) -> None:
        held, self._held = self._held, None
        if held is not None:
            self._transport.write(held)


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
