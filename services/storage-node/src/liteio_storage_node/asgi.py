"""The few ASGI types that this service speaks, and how it reads and answers."""

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from liteio_drives.remote.deadlines import Deadlines
from liteio_drives.remote.limits import STREAM_IDLE_SECONDS, UNPROVED_BYTES_MAX, UNPROVED_REQUEST_BYTES

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Result = TypeVar("Result")


class ClientGone(Exception):
    """The client went away, or is silent for too long."""


class TooLarge(Exception):
    """The body is longer than the route takes."""


class TooMany(Exception):
    """Too much has come of other requests that are not proved yet."""


@dataclass(slots=True)
class Unproved:
    """What a node keeps of requests whose seal can not be checked yet, all together at most `limit_bytes`."""

    limit_bytes: int = UNPROVED_BYTES_MAX
    held_bytes: int = 0

    def take(self, size_bytes: int) -> int:
        """Raises TooMany. Give back what it returns."""
        if self.held_bytes + size_bytes > self.limit_bytes:
            raise TooMany
        self.held_bytes += size_bytes
        return size_bytes

    def give_back(self, size_bytes: int) -> None:
        self.held_bytes -= size_bytes


@dataclass(frozen=True, slots=True)
class Patient:
    """ASGI app around another. Its peer is waited for STREAM_IDLE_SECONDS at a time: until it sends, or until the wire
    has room again."""

    app: App
    deadlines: Deadlines

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def receive_in_time() -> Message:
            return await self._in_time(receive())

        async def send_in_time(message: Message) -> None:
            await self._in_time(send(message))

        await self.app(scope, receive_in_time, send_in_time)

    async def _in_time(self, wait: Awaitable[Result]) -> Result:
        try:
            return await self.deadlines.bound(STREAM_IDLE_SECONDS, wait)
        except TimeoutError:
            raise ClientGone from None


async def read_chunk(receive: Receive) -> tuple[bytes, bool]:
    """The next bytes of the body, and whether there may be more. Raises ClientGone."""
    message = await receive()
    if message["type"] != "http.request":
        raise ClientGone
    return message.get("body", b""), message.get("more_body", False)


async def read_body(receive: Receive, limit_bytes: int, unproved: Unproved) -> bytes:
    """The whole body. Raises TooLarge, TooMany, ClientGone."""
    held_bytes = unproved.take(UNPROVED_REQUEST_BYTES)
    try:
        chunk, has_more = await read_chunk(receive)
        if not has_more and len(chunk) <= limit_bytes:
            return chunk
        chunks = [chunk]
        size_bytes = len(chunk)
        while has_more:
            if size_bytes > limit_bytes:
                raise TooLarge
            held_bytes += unproved.take(len(chunk))
            chunk, has_more = await read_chunk(receive)
            chunks.append(chunk)
            size_bytes += len(chunk)
        if size_bytes > limit_bytes:
            raise TooLarge
        return b"".join(chunks)
    finally:
        unproved.give_back(held_bytes)


async def start_answer(send: Send, status: int = 200, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def send_part(send: Send, body: bytes, *, is_last: bool = False) -> None:
    """Returns when the wire has room again. Raises ClientGone when it has none for too long."""
    await send({"type": "http.response.body", "body": body, "more_body": not is_last})


async def answer(send: Send, status: int, headers: Sequence[tuple[bytes, bytes]] = (), body: bytes = b"") -> None:
    await start_answer(send, status, headers)
    await send_part(send, body, is_last=True)
