"""`BodySource`: the request's body as it comes off the wire, and what is done with one that nobody read."""

import asyncio
from typing import Final

from liteio_gateway.asgi import ClientGone, Message
from liteio_gateway.limits import DRAIN_SECONDS, DRAINED_BYTES_MAX
from liteio_gateway.requests import S3Request
from liteio_s3.errors import REQUEST_TIMEOUT, S3Failure

_EXPECTS_CONTINUE: Final = "100-continue"


class BodySource:
    """Pulls ASGI messages. A client that pauses longer than `idle_seconds` is answered RequestTimeout."""

    __slots__ = ("_exchange", "_has_message", "_idle_seconds", "_receive")

    def __init__(self, request: S3Request, idle_seconds: float) -> None:
        self._receive, self._has_message, self._exchange = request.receive, request.has_message, request.exchange
        self._idle_seconds = idle_seconds

    async def next(self) -> bytes | None:
        """The next piece, perhaps empty; None after the last. Raises ClientGone and S3Failure with RequestTimeout."""
        if self._exchange.body_is_read:
            return None
        # A small body mostly came with its head, and a timer costs more than taking it.
        message = await self._receive() if self._has_message() else await self._receive_in_time()
        if message["type"] != "http.request":
            raise ClientGone
        if not message.get("more_body", False):
            self._exchange.body_is_read = True
        piece: bytes = message.get("body", b"")
        self._exchange.bytes_in += len(piece)
        return piece

    async def _receive_in_time(self) -> Message:
        try:
            async with asyncio.timeout(self._idle_seconds):
                return await self._receive()
        except TimeoutError:
            raise S3Failure(REQUEST_TIMEOUT) from None


def has_unread_body(request: S3Request) -> bool:
    """Whether bytes of the body are, or may be, still on their way."""
    if request.exchange.body_is_read:
        return False
    return "transfer-encoding" in request.headers or request.headers.get("content-length", "0") != "0"


async def drain(request: S3Request, *, bytes_max: int = DRAINED_BYTES_MAX, seconds: float = DRAIN_SECONDS) -> bool:
    """Read and forget what is left of the body, within bounds; True when its end was reached."""
    source = BodySource(request, seconds)
    left = bytes_max
    try:
        async with asyncio.timeout(seconds):
            while left >= 0:
                piece = await source.next()
                if piece is None:
                    return True
                left -= len(piece)
    except (TimeoutError, ClientGone, S3Failure):
        return False
    return request.exchange.body_is_read


def is_sending(request: S3Request) -> bool:
    """Whether the client may be sending its body by now. One that waits for 100 Continue has not sent any of it."""
    return request.headers.get("expect", "").lower() != _EXPECTS_CONTINUE or request.exchange.bytes_in > 0


def drains_cheaply(request: S3Request) -> bool:
    """Whether reading the rest first, to keep the connection, costs little: a short body that is being sent."""
    length = request.headers.get("content-length", "")
    return is_sending(request) and length.isdigit() and len(length) < 10 and int(length) <= DRAINED_BYTES_MAX
