"""A door into a network namespace: passes connections of a socket that it inherits on to a port where it runs.

    nsenter --net=/run/netns/NAME python -m tests.cluster.namespace_door FD PORT

A socket belongs to the namespace that it was made in, so whoever made the listening one reaches a port in this one.
"""

import asyncio
import socket
import sys
from typing import Final

_CHUNK_BYTES: Final = 1 << 18


async def main(fd: int, port: int) -> None:
    """Until killed."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            writer.close()
            return
        await asyncio.gather(_pass_on(reader, inner_writer), _pass_on(inner_reader, writer))

    server = await asyncio.start_server(serve, sock=socket.socket(fileno=fd))
    await server.serve_forever()


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(_CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        writer.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
