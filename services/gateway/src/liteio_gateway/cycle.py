"""One request and its answer on a connection: what uvicorn's RequestResponseCycle does, in fewer steps.

- A small answer is one write: the head waits for the first bytes of the body.
- Every answer declares its length, and holds to it: the guard sees to both, so nothing is counted again here.
- Header lines are checked for bytes that would begin another line, all at once.
"""

import asyncio
import logging
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT, FlowControl
from uvicorn.protocols.http.httptools_impl import HEADER_RE, STATUS_LINE

from liteio_gateway.asgi import App, Message, Scope
from liteio_gateway.limits import JOINED_BYTES_MAX

log: Final = logging.getLogger("uvicorn.error")
_CONTROLS: Final = bytes([*range(9), *range(10, 32), 127])  # RFC 9110, 5.5: what no field value holds; tabs may stand
_LINE_END: Final = b"\r\n"
_CONNECTION_LINE: Final = b"\r\nconnection: "  # in no value, as none holds a line's end
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Cycle:
    """`default_lines`: header lines of every answer, as `header_lines` gives them. `on_answered` is called at the
    answer's end, `on_ended` when the application is done too. The connection calls the `take_` methods."""

    __slots__ = (
        "__weakref__",
        "_default_lines",
        "_expects_continue",
        "_flow",
        "_has_message",
        "_head",
        "_news",
        "_on_answered",
        "_on_ended",
        "_pieces",
        "_pieces_bytes",
        "_transport",
        "disconnected",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
        "task",
    )

    def __init__(
        self,
        transport: asyncio.Transport,
        flow: FlowControl,
        default_lines: bytes,
        *,
        expects_continue: bool,
        keep_alive: bool,
        on_answered: Callable[[], None],
        on_ended: Callable[["Cycle"], None],
    ) -> None:
        self._transport, self._flow, self._default_lines = transport, flow, default_lines
        self._expects_continue, self.keep_alive = expects_continue, keep_alive
        self._on_answered, self._on_ended = on_answered, on_ended
        self._pieces: list[bytes] = []
        self._pieces_bytes = 0
        self._head = b""
        self.task: asyncio.Task[None] | None = None
        self.more_body = True
        self._has_message = False  # something for `receive` to tell
        self._news: asyncio.Event | None = None  # set and dropped by the next message; made by who waits for it
        self.disconnected = self.response_started = self.response_complete = False

    def take_body(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._pieces_bytes += len(piece)
        if self._pieces_bytes > HIGH_WATER_LIMIT:
            self._flow.pause_reading()
        self._tell()

    def take_end(self) -> None:
        self.more_body = False
        self._tell()

    def take_loss(self) -> None:
        """The client is gone."""
        self.disconnected = not self.response_complete
        self._tell()

    def has_message(self) -> bool:
        """Whether `receive` would answer at once."""
        return self._has_message

    async def run(self, app: App, scope: Scope) -> None:
        """Let `app` answer; whatever becomes of it, the client gets a whole answer or a broken connection.

        The scope is not kept: it holds `receive` by way of what the application puts there, and the two would only be
        found by the cycle collector.
        """
        try:
            await app(scope, self.receive, self.send)
        except BaseException as error:
            log.error("Exception in ASGI application\n", exc_info=error)
            await self._give_up()
        else:
            if not self.response_complete and not self.disconnected:
                log.error("The application returned without a whole answer.")
                await self._give_up()
        finally:
            self._on_ended(self)

    async def receive(self) -> Message:
        if self._expects_continue and not self._transport.is_closing():
            self._expects_continue = False
            self._transport.write(_CONTINUE)
        if not self.disconnected and not self.response_complete:
            if self.more_body:  # What comes else is the next request, which waits for this one's answer.
                self._flow.resume_reading()
            if not self._has_message:
                self._news = self._news or asyncio.Event()
                await self._news.wait()
            self._has_message = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        pieces, self._pieces, self._pieces_bytes = self._pieces, [], 0
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        return {"type": "http.request", "body": body, "more_body": self.more_body}

    async def send(self, message: Message) -> None:
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()
        if self.disconnected:
            return
        if self.response_complete or (message["type"] == "http.response.start") == self.response_started:
            raise RuntimeError(f"{message['type']} is out of order")
        if self.response_started:
            self._send_body(message.get("body", b""), more=message.get("more_body", False))
        else:
            self._expects_continue = False
            self._head = self._answer_head(message["status"], message["headers"])
            self.response_started = True

    def _answer_head(self, status: int, headers: list[tuple[bytes, bytes]]) -> bytes:
        lines = STATUS_LINE[status] + self._default_lines + header_lines(headers)
        if _CONNECTION_LINE in lines and b"close" in dict(headers).get(b"connection", b"").lower():
            self.keep_alive = False
        elif not self.keep_alive:
            lines += b"connection: close\r\n"
        return lines + _LINE_END

    def _send_body(self, body: bytes, *, more: bool) -> None:
        head, self._head = self._head, b""
        if not head:
            self._transport.write(body)
        elif len(body) <= JOINED_BYTES_MAX:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))
        if not more:
            self.response_complete = True
            self._tell()
            if not self.keep_alive:
                self._transport.close()
            self._on_answered()

    def _tell(self) -> None:
        self._has_message = True
        if self._news is not None:
            self._news.set()
            self._news = None

    async def _give_up(self) -> None:
        if self.response_started:
            self._transport.close()
            return
        headers = [(b"content-length", b"0"), (b"connection", b"close")]
        await self.send({"type": "http.response.start", "status": 500, "headers": headers})
        await self.send({"type": "http.response.body"})


def header_lines(headers: list[tuple[bytes, bytes]]) -> bytes:
    """`name: value` and a line's end for each. Raises RuntimeError for what would not come back as these headers."""
    lines = b"".join([_line_start(name) + value + _LINE_END for name, value in headers])
    if len(lines) - len(lines.translate(None, _CONTROLS)) != len(headers) * len(_LINE_END):
        raise RuntimeError("Invalid HTTP header value.")
    return lines


@lru_cache(maxsize=512)
def _line_start(name: bytes) -> bytes:
    """Of few names, but for those of user metadata."""
    if not name or HEADER_RE.search(name):
        raise RuntimeError("Invalid HTTP header name.")
    return name.lower() + b": "
