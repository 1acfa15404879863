"""The least an ASGI application can do: 4 KiB for whatever is asked."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

_BODY: Final = b"b" * 4096
_HEADERS: Final = [(b"content-length", str(len(_BODY)).encode())]

Message = MutableMapping[str, Any]


async def app(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})
