"""The vocabulary of ASGI, and the one exception that means "nobody is listening any more"."""

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

HAS_MESSAGE: Final = "liteio.has_message"
"""An extension of the scope: a function that says whether `receive` would answer at once."""


class ClientGone(Exception):
    """The client closed its connection, or stopped taking bytes. There is nobody to answer."""


class BrokenAnswer(Exception):
    """An answer failed after its head was sent. The server must close the connection, so that the client sees it."""
