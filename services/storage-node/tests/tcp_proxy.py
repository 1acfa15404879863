"""`TcpProxy`: a byte-level proxy on loopback that a test can reset, or make swallow everything."""

import asyncio
import socket
import struct
from typing import Self

_LINGER_RESET = struct.pack("ii", 1, 0)  # closing sends RST instead of FIN


class TcpProxy:
    """Forwards to a port of this machine. `is_blackhole`: takes bytes and passes none on, either way. `heard`: what
    clients sent, a connection each."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.is_blackhole = False
        self.refuses = False
        self.connection_count = 0
        self.heard: list[bytearray] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for writer in list(self._writers):
            writer.close()

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def reset(self) -> None:
        """Break every connection now."""
        for writer in list(self._writers):
            peer: socket.socket = writer.get_extra_info("socket")
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connection_count += 1
        if self.refuses:
            writer.transport.abort()
            return
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._target_port)
        self._writers |= {writer, inner_writer}
        heard = bytearray()
        self.heard.append(heard)
        for source, sink, record in ((reader, inner_writer, heard), (inner_reader, writer, bytearray())):
            task = asyncio.create_task(self._pump(source, sink, record))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, record: bytearray) -> None:
        try:
            while chunk := await source.read(65536):
                record += chunk
                if not self.is_blackhole:
                    sink.write(chunk)
                    await sink.drain()
        except OSError:
            pass
        finally:
            self._writers.discard(sink)
            sink.close()
