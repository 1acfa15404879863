"""One request and its answer: what reaches the wire, in what order, and what must not."""

import asyncio
import gc
import re
import time
import weakref
from pathlib import Path

import pytest
from services.gateway.tests.live_server import live_server
from services.gateway.tests.test_connection import answer_of, ask, is_closed, signed
from uvicorn.protocols.http.flow_control import FlowControl

from liteio_gateway import connection
from liteio_gateway.asgi import App, Receive, Scope, Send
from liteio_gateway.cycle import Cycle, header_lines
from liteio_gateway.limits import JOINED_BYTES_MAX


class Wire(asyncio.Transport):
    """Keeps what is written, each write apart."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.is_closed = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.writes.append(bytes(data))

    def is_closing(self) -> bool:
        return self.is_closed

    def close(self) -> None:
        self.is_closed = True


def cycle_on(wire: Wire, *, expects_continue: bool = False) -> Cycle:
    return Cycle(
        wire,
        FlowControl(wire),
        b"server: liteio\r\n",
        expects_continue=expects_continue,
        keep_alive=True,
        on_answered=lambda: None,
        on_ended=lambda cycle: None,
    )


def answering(*bodies: bytes) -> App:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", str(sum(map(len, bodies))).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for index, body in enumerate(bodies):
            await send({"type": "http.response.body", "body": body, "more_body": index < len(bodies) - 1})

    return app


async def test_a_small_answer_is_one_write() -> None:
    wire = Wire()
    await cycle_on(wire).run(answering(b"abc"), {})
    assert wire.writes == [b"HTTP/1.1 200 OK\r\nserver: liteio\r\ncontent-length: 3\r\n\r\nabc"]
    assert not wire.is_closed


async def test_what_follows_is_written_as_it_comes() -> None:
    wire, large = Wire(), b"a" * (JOINED_BYTES_MAX + 1)
    await cycle_on(wire).run(answering(large, b"b", b"c"), {})
    assert b"".join(wire.writes).endswith(b"\r\n\r\n" + large + b"bc")


async def test_an_application_that_fails_breaks_the_connection() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        raise ZeroDivisionError

    wire = Wire()
    await cycle_on(wire).run(app, {})
    assert (wire.is_closed, wire.writes[-1][-5:]) == (True, b"\r\n\r\na")


async def test_an_application_that_fails_at_once_is_a_500() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise ZeroDivisionError

    wire = Wire()
    await cycle_on(wire).run(app, {})
    assert wire.writes[0].startswith(b"HTTP/1.1 500 ")
    assert wire.is_closed


async def test_a_body_is_taken_in_the_pieces_that_came() -> None:
    cycle = cycle_on(Wire())
    assert not cycle.has_message()
    cycle.take_body(b"ab")
    cycle.take_body(b"cd")
    assert cycle.has_message()
    assert await cycle.receive() == {"type": "http.request", "body": b"abcd", "more_body": True}
    assert not cycle.has_message()
    cycle.take_end()
    assert await cycle.receive() == {"type": "http.request", "body": b"", "more_body": False}


async def test_a_client_that_leaves_wakes_all_who_wait_for_it() -> None:
    cycle = cycle_on(Wire())
    waiting = [asyncio.create_task(cycle.receive()) for _ in range(2)]
    await asyncio.sleep(0)
    cycle.take_loss()
    assert [await each for each in waiting] == [{"type": "http.disconnect"}] * 2


async def test_continue_is_sent_when_the_body_is_asked_for() -> None:
    wire = Wire()
    cycle = cycle_on(wire, expects_continue=True)
    cycle.take_end()
    await cycle.receive()
    assert wire.writes == [b"HTTP/1.1 100 Continue\r\n\r\n"]


@pytest.mark.parametrize(
    "header",
    [
        (b"etag", b"a\r\nx-more: b"),
        (b"etag", b"a\nb"),
        (b"etag", b"a\rb"),
        (b"etag", b"a\0b"),
        (b"etag", b"a\x7f"),
        (b"x y", b"a"),
        (b"x:y", b"a"),
        (b"x\r\ny", b"a"),
        (b"", b"a"),
    ],
)
def test_a_header_that_would_be_another_is_refused(header: tuple[bytes, bytes]) -> None:
    with pytest.raises(RuntimeError):
        header_lines([(b"content-length", b"1"), header])


def test_header_lines_hold_tabs_and_any_high_byte() -> None:
    assert header_lines([(b"X-A", b"\t\xff"), (b"x-b", b"")]) == b"x-a: \t\xff\r\nx-b: \r\n"


def test_requests_sent_at_once_are_answered_in_order(tmp_path: Path) -> None:
    with live_server(tmp_path) as live, live.connect() as stream:
        ask(live, signed(live, "PUT", "/bucket"))
        requests = [signed(live, "PUT", f"/bucket/k{number}", b"body %d" % number) for number in range(3)]
        requests += [signed(live, "GET", f"/bucket/k{number}") for number in range(3)]
        last = signed(live, "HEAD", "/bucket/k0", headers={"connection": "close"})
        stream.sendall(b"".join(requests) + last)
        received = b"".join(iter(lambda: stream.recv(65536), b""))
    assert received.count(b"HTTP/1.1 200 OK\r\n") == 7
    assert re.findall(b"body .", received) == [b"body 0", b"body 1", b"body 2"]


async def test_a_request_leaves_nothing_to_the_cycle_collector() -> None:
    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        scope["receive"] = receive
        await answering(b"abc")(scope, receive, send)

    cycle = cycle_on(Wire())
    scope: Scope = {"extensions": {"has_message": cycle.has_message}}
    await cycle.run(app, scope)
    gc.collect()
    gc.disable()
    try:
        gone = weakref.ref(cycle)
        del cycle, scope
        assert gone() is None
    finally:
        gc.enable()


def test_a_connection_without_requests_is_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "WATCH_SECONDS", 0.05)
    with live_server(tmp_path, keep_alive_seconds=1) as live, live.connect() as stream:
        stream.sendall(signed(live, "GET", "/"))
        assert answer_of(stream)[0].startswith(b"HTTP/1.1 200")
        began = time.monotonic()
        assert is_closed(stream)
        assert 0.5 < time.monotonic() - began < 2.5
