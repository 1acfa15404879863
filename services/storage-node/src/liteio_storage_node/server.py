"""Serving: granian inside this process and loop, HTTP/2 only, in clear (h2c) or with TLS, until told to drain."""

import asyncio
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

from granian.constants import HTTPModes, Interfaces
from granian.http import HTTP2Settings
from granian.net import SocketHolder  # type: ignore[attr-defined]  # it is there, only not in __all__
from granian.server.embed import Server

from liteio_drives.remote.limits import (
    CONNECTION_WINDOW_BYTES,
    HTTP_FRAME_BYTES,
    HTTP_HEADERS_BYTES_MAX,
    PING_EVERY_SECONDS,
    PING_PATIENCE_SECONDS,
    STREAM_WINDOW_BYTES,
    STREAMS_MAX,
)
from liteio_storage_node.asgi import App
from liteio_storage_node.peers import Peers

_BACKLOG: Final = 1024
_CONNECTIONS_MAX: Final = 4096


@dataclass(frozen=True, slots=True)
class ServerTLS:
    """PEM files. With `client_authority` a client must show a certificate by it."""

    certificate: Path
    key: Path
    client_authority: Path | None = None


class NodeServer:
    """One listening socket and its app. The socket is opened here, without SO_REUSEPORT: were it shared, a second node
    on the same port would start unnoticed, and with it a second lock table.
    """

    def __init__(
        self, app: App, host: str, port: int, *, tls: ServerTLS | None = None, peers: Peers | None = None
    ) -> None:
        """Listens at once; port 0 takes any free one. `peers`: whose watch closes the connections of strangers. Raises
        OSError."""
        listener = _listen(host, port)
        self.port: int = listener.getsockname()[1]
        self._server = _EmbeddedServer(
            app,
            address=host,
            port=self.port,
            interface=Interfaces.ASGINL,
            http=HTTPModes.http2,
            websockets=False,
            backlog=_BACKLOG,
            backpressure=_CONNECTIONS_MAX,
            http2_settings=HTTP2Settings(
                initial_connection_window_size=CONNECTION_WINDOW_BYTES,
                initial_stream_window_size=STREAM_WINDOW_BYTES,
                max_frame_size=HTTP_FRAME_BYTES,
                max_headers_size=HTTP_HEADERS_BYTES_MAX,
                max_concurrent_streams=STREAMS_MAX,
                keep_alive_interval=round(PING_EVERY_SECONDS * 1000),
                keep_alive_timeout=round(PING_PATIENCE_SECONDS),
            ),
            log_enabled=False,
            ssl_cert=tls.certificate if tls else None,
            ssl_key=tls.key if tls else None,
            ssl_ca=tls.client_authority if tls else None,
            ssl_client_verify=bool(tls and tls.client_authority),
        )
        self._server.listener = listener
        self._peers = peers
        self._serving: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to serve. Connections wait in the socket's queue until then. Raises what keeps the server from
        starting."""
        self._serving = asyncio.create_task(self._server.serve())
        await asyncio.sleep(0)
        if self._serving.done():
            await self._serving
        if self._peers is not None:
            self._watching = asyncio.create_task(self._peers.watch(self.port))

    async def wait(self) -> None:
        """Until the server has ended, by `stop` or by itself."""
        if self._serving is not None:
            await asyncio.shield(self._serving)

    async def stop(self, drain_seconds: float) -> bool:
        """Take no more requests, let those in flight finish. False when some had to be cut."""
        if self._serving is None:
            return True
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        self._server.stop()  # type: ignore[no-untyped-call]  # granian's own
        done, _ = await asyncio.wait((self._serving,), timeout=drain_seconds)
        if not done:
            for worker in self._server.wrks:
                worker.kill()  # type: ignore[no-untyped-call]  # granian's own
            self._serving.cancel()
            await asyncio.wait((self._serving,), timeout=1.0)
        return bool(done)


class _EmbeddedServer(Server):
    """granian's embedded server over a socket that is already open."""

    listener: socket.socket

    def _init_shared_socket(self) -> None:
        """The descriptor is granian's from here on: it closes it."""
        arguments: Any = (self.listener.detach(), False, _BACKLOG)
        self._ssp, self._shd = cast(Any, None), cast(Any, SocketHolder(*arguments))


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Connections inherit it; granian itself leaves Nagle on. The second small frame of an answer then waited for
        # the client's delayed acknowledgement of the first: 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        listener.bind((host, port))
        listener.listen(_BACKLOG)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
