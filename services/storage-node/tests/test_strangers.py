"""Who proves nothing is not kept: connections that say too little are closed, and bodies share one bounded room."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from live_node import SECRET, connection_to, serving
from raw_h2 import PREFACE, SETTINGS, data_frame, headers_frame
from raw_node import CLIENT_NONCE, KEY
from tcp_proxy import TcpProxy

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_drives.remote.limits import PROTOCOL_VERSION, UNPROVED_REQUEST_BYTES
from liteio_drives.remote.messages import CALLS_PATH, HEALTH_PATH, SESSION_PATH
from liteio_drives.remote.sealing import ClientSession, Hello, ServerSessions, hello_header
from liteio_storage_node.app import build_app
from liteio_storage_node.asgi import App, TooMany, Unproved, answer, read_body
from liteio_storage_node.guard import Guard, Sealed, SealedRequest
from liteio_storage_node.peers import STRANGER_SECONDS, Peers
from liteio_storage_node.server import NodeServer
from liteio_testkit.manual_clock import ManualClock

CLOCK = SystemClock()
PATIENCE = 0.5


def soon() -> Deadline:
    return Deadline.after(5, CLOCK)


@pytest.fixture
async def node() -> AsyncIterator[NodeServer]:
    async with serving([], peers=Peers(CLOCK, patience_seconds=PATIENCE)) as server:
        yield server


async def end(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()


def greeting_only() -> bytes:
    """What somebody sends who has overheard a greeting."""
    body = msgspec.msgpack.encode(Hello(PROTOCOL_VERSION, CLIENT_NONCE))
    seal = hello_header(KEY, "POST", SESSION_PATH, body).encode()
    return (
        PREFACE + SETTINGS + headers_frame(1, SESSION_PATH, (b"authorization", seal)) + data_frame(1, body, ends=True)
    )


SAID = {
    "nothing": b"",
    "half_a_preface": PREFACE[:10],
    "http_1": b"GET / HTTP/1.1\r\n",
    "a_handshake": PREFACE + SETTINGS,
    "a_life_sign": PREFACE + SETTINGS + headers_frame(1, HEALTH_PATH, method="GET", ends=True),
    "a_call_without_a_seal": PREFACE + SETTINGS + headers_frame(1, CALLS_PATH, ends=True),
    "a_greeting": greeting_only(),
}


@pytest.mark.parametrize("name", SAID)
async def test_a_connection_that_proves_nothing_is_closed(node: NodeServer, name: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(SAID[name])
    with suppress(ConnectionError):
        async with asyncio.timeout(6 * PATIENCE):
            while await reader.read(65536):
                pass
    await end(writer)


async def test_a_connection_that_is_proved_is_kept_however_long_it_is_idle(node: NodeServer) -> None:
    async with TcpProxy(node.port) as proxy, connection_to(proxy.port) as connection:
        await connection.drives(deadline=soon())
        await asyncio.sleep(4 * PATIENCE)
        await connection.drives(deadline=soon())
        assert proxy.connection_count == 1


async def test_more_strangers_than_the_node_takes_connections_keep_nobody_out_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("liteio_storage_node.server._CONNECTIONS_MAX", 10)
    async with serving([], peers=Peers(CLOCK, patience_seconds=PATIENCE)) as server:
        strangers = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(15)]
        async with connection_to(server.port) as connection:
            assert await connection.drives(deadline=Deadline.after(8 * PATIENCE, CLOCK)) == ()
        for _, writer in strangers:
            await end(writer)


@pytest.mark.parametrize("shares", [False, True])
def test_a_node_never_listens_where_another_does(shares: bool) -> None:
    """Not on the S3 port, which gateways of a machine may share (SO_REUSEPORT), nor on another node's."""
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shares)
        other.bind(("127.0.0.1", 0))
        other.listen()
        with pytest.raises(OSError, match="in use"):
            NodeServer(build_app((), SECRET, CLOCK, SystemRandomness()), "127.0.0.1", other.getsockname()[1])


async def test_nobody_is_closed_before_his_time() -> None:
    assert 10 <= STRANGER_SECONDS <= 30
    async with serving([]) as server:
        clock = ManualClock()
        peers = Peers(clock)
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        await asyncio.sleep(0.1)
        assert peers.close_strangers(server.port) == 0
        clock.advance(STRANGER_SECONDS - 0.1)
        assert peers.close_strangers(server.port) == 0
        clock.advance(0.1)
        assert peers.close_strangers(server.port) == 1
        await end(writer)


async def test_bodies_of_requests_that_are_not_proved_share_one_room() -> None:
    unproved = Unproved(limit_bytes=2 * UNPROVED_REQUEST_BYTES + 1000)
    more: asyncio.Queue[bytes] = asyncio.Queue()

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": await more.get(), "more_body": True}

    first = asyncio.create_task(read_body(receive, 10_000, unproved))
    more.put_nowait(bytes(900))
    await asyncio.sleep(0)
    second = asyncio.create_task(read_body(receive, 10_000, unproved))
    await asyncio.sleep(0.01)
    more.put_nowait(bytes(200))
    await asyncio.wait([first, second], timeout=1.0, return_when="FIRST_COMPLETED")
    (full,) = [task for task in (first, second) if task.done()]
    assert isinstance(full.exception(), TooMany)
    (waiting,) = {first, second} - {full}
    waiting.cancel()
    await asyncio.wait([waiting])
    assert unproved.held_bytes == 0


async def test_where_there_is_no_room_the_answer_is_503_and_nothing_is_done() -> None:
    sessions, done = ServerSessions(), list[SealedRequest]()
    sessions.add(bytes(16), bytes(32))
    session = ClientSession(bytes(16), bytes(32))

    async def note(request: SealedRequest) -> None:
        done.append(request)
        await answer(request.send, 200)

    room = Unproved(limit_bytes=UNPROVED_REQUEST_BYTES)
    app = Sealed(Guard(sessions, Peers(CLOCK), room), note, 1000)
    assert await status_of(app, session.seal("POST", "/", b"body")[0], b"body") == 200
    held = room.take(1)
    assert await status_of(app, session.seal("POST", "/", b"body")[0], b"body") == 503
    room.give_back(held)
    assert len(done) == 1


async def status_of(app: App, seal: str, body: bytes) -> int:
    answers = list[Any]()

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Any) -> None:
        answers.append(message)

    headers = [(b"authorization", seal.encode())]
    await app({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive, send)
    return int(answers[0]["status"])
