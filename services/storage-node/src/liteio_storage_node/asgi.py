"""The few ASGI types that this service speaks, and how it reads and answers."""

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from liteio_drives.remote.limits import STREAM_IDLE_SECONDS

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class ClientGone(Exception):
    """The client went away, or is silent for too long."""


class TooLarge(Exception):
    """The body is longer than the route takes."""


async def read_chunk(receive: Receive) -> tuple[bytes, bool]:
    """The next bytes of the body, and whether there may be more. Raises ClientGone."""
    try:
        async with asyncio.timeout(STREAM_IDLE_SECONDS):
            message = await receive()
    except TimeoutError:
        raise ClientGone from None
    if message["type"] != "http.request":
        raise ClientGone
    return message.get("body", b""), message.get("more_body", False)


async def read_body(receive: Receive, limit_bytes: int) -> bytes:
    """The whole body. Raises TooLarge, ClientGone."""
    chunk, has_more = await read_chunk(receive)
    if not has_more and len(chunk) <= limit_bytes:
        return chunk
    chunks = [chunk]
    size_bytes = len(chunk)
    while has_more:
        if size_bytes > limit_bytes:
            raise TooLarge
        chunk, has_more = await read_chunk(receive)
        chunks.append(chunk)
        size_bytes += len(chunk)
    if size_bytes > limit_bytes:
        raise TooLarge
    return b"".join(chunks)


async def start_answer(send: Send, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def send_part(send: Send, body: bytes, *, is_last: bool = False) -> None:
    """Returns when the wire has room again. Raises ClientGone when it has none for too long."""
    try:
        async with asyncio.timeout(STREAM_IDLE_SECONDS):
            await send({"type": "http.response.body", "body": body, "more_body": not is_last})
    except TimeoutError:
        raise ClientGone from None


async def answer(send: Send, status: int, headers: Sequence[tuple[bytes, bytes]] = (), body: bytes = b"") -> None:
    await start_answer(send, status, headers)
    await send_part(send, body, is_last=True)
