"""`Reply`: what a handler answers, and how it reaches the wire."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Final

import msgspec

from liteio_gateway.asgi import ClientGone, Receive, Send

XML: Final = "application/xml"


class Reply(msgspec.Struct):
    """Status, headers (lower-case names), and a body: bytes at hand or a stream of exactly `content-length` bytes.

    `close` releases what the stream holds; it is awaited however sending ends. For HEAD, a handler gives the headers of
    the GET (with its content-length) and no body.
    """

    status: int = 200
    headers: dict[str, str] = {}
    body: bytes = b""
    stream: AsyncIterator[bytes] | None = None
    close: Callable[[], Awaitable[None]] | None = None


def xml_reply(document: bytes, *, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    return Reply(status, {"content-type": XML, **(headers or {})}, document)


async def send_reply(reply: Reply, *, is_head: bool, receive: Receive, send: Send) -> None:
    """Raises ClientGone when the client hangs up midway, and whatever the stream raises."""
    try:
        if reply.stream is None and not is_head and reply.status not in (204, 304):
            reply.headers["content-length"] = str(len(reply.body))
        await send({"type": "http.response.start", "status": reply.status, "headers": _wire(reply.headers)})
        if reply.stream is None or is_head:
            await send({"type": "http.response.body", "body": b"" if is_head else reply.body})
        else:
            await _send_stream(reply.stream, int(reply.headers["content-length"]), receive, send)
    finally:
        if reply.close is not None:
            await reply.close()


def _wire(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    # Stored metadata is kept as the latin-1 reading of the bytes that clients sent, so this gives the same bytes back.
    return [(name.encode("latin-1"), value.encode("latin-1", "replace")) for name, value in headers.items()]


async def _send_stream(stream: AsyncIterator[bytes], size: int, receive: Receive, send: Send) -> None:
    left = size
    watch: asyncio.Task[None] | None = None
    try:
        async for chunk in stream:
            left -= len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": left > 0})
            if left <= 0:
                break
            # Servers swallow what is sent to a client that left. Only a stream of several chunks needs to know.
            if watch is None:
                watch = asyncio.ensure_future(_wait_for_disconnect(receive))
            if watch.done():
                raise ClientGone
        else:
            if size == 0:
                await send({"type": "http.response.body", "body": b""})
    finally:
        if watch is not None:
            watch.cancel()


async def _wait_for_disconnect(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
