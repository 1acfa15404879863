"""Serving: uvicorn over an inherited socket or an address, with or without TLS, until told to drain."""

import asyncio
import logging
import socket
from typing import Final

import uvicorn

from liteio_gateway.accepting import ConnectionTally, SharedListener
from liteio_gateway.asgi import App, BrokenAnswer
from liteio_gateway.connection import connection_class, watch_connections
from liteio_gateway.settings import GatewaySettings

log: Final = logging.getLogger("liteio.gateway")
_BACKLOG: Final = 2048


class GatewayServer(uvicorn.Server):
    """uvicorn with a watch over slow connections, and connections spread evenly over workers that share a socket.
    SIGTERM and SIGINT stop accepting and drain."""

    tally: ConnectionTally | None = None
    """Where the workers that share our sockets count their connections; None: they are not shared."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        tally = self.tally
        if sockets is None or tally is None:
            await super().startup(sockets)
        else:
            await super().startup([])
            self.servers = [self._share(listening, tally) for listening in sockets]  # type: ignore[misc]  # close() is all
        self._watch = asyncio.create_task(watch_connections(self.server_state))

    async def on_tick(self, counter: int) -> bool:
        for listener in self.servers:
            if isinstance(listener, SharedListener):
                listener.tell()
        return await super().on_tick(counter)

    def _share(self, listening: socket.socket, tally: ConnectionTally) -> SharedListener:
        config, loop, connections = self.config, asyncio.get_running_loop(), self.server_state.connections

        def protocol() -> asyncio.Protocol:
            return config.http_protocol_class(  # type: ignore[call-arg]  # as uvicorn itself calls it
                config=config, server_state=self.server_state, app_state=self.lifespan.state
            )

        async def take(accepted: socket.socket) -> None:
            await loop.connect_accepted_socket(protocol, accepted, ssl=config.ssl)

        return SharedListener(listening, tally, take, lambda: len(connections))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        self._watch.cancel()


def build_server(app: App, settings: GatewaySettings) -> GatewayServer:
    connection = connection_class(settings.connections_max, settings.header_seconds, settings.body_idle_seconds)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=connection,
        ws="none",
        loop="uvloop",
        lifespan="on",
        interface="asgi3",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=True,
        headers=[("server", "liteio")],
        backlog=_BACKLOG,
        timeout_keep_alive=int(settings.keep_alive_seconds),
        timeout_graceful_shutdown=int(settings.drain_seconds),
        ssl_certfile=settings.cert_file,
        ssl_keyfile=settings.key_file,
    )
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    server = GatewayServer(config)
    if settings.tally_fd is not None:
        server.tally = ConnectionTally(settings.tally_fd, settings.worker_index, settings.workers)
    return server


def inherited_sockets(settings: GatewaySettings) -> list[socket.socket] | None:
    """The listening socket that the supervisor opened, None to open one here."""
    if settings.listen_fd is None:
        return None
    inherited = socket.socket(fileno=settings.listen_fd)
    inherited.setblocking(False)
    return [inherited]


def _is_news(record: logging.LogRecord) -> bool:
    """A broken answer was logged with its cause by the guard; uvicorn's trace of it would only repeat that."""
    return not (record.exc_info and isinstance(record.exc_info[1], BrokenAnswer))
