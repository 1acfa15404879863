"""Nobody without the secret is heard, and nothing sealed is heard twice. The cases come from the router itself."""

from collections.abc import AsyncIterator
from datetime import timedelta

import msgspec
import pytest
from live_node import SECRET, connection_to, serving
from pyreqwest.client import Client

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_contracts.storage_errors import DriveOffline
from liteio_drives.remote.frames import FrameKind, encode_frame
from liteio_drives.remote.messages import CALLS_PATH, HEALTH_PATH, READ_PATH, SESSION_PATH, WRITE_PATH
from liteio_drives.remote.node_client import build_client
from liteio_drives.remote.sealing import (
    ClientSession,
    Hello,
    WeakSecret,
    Welcome,
    cluster_key,
    hello_header,
    session_key,
)
from liteio_storage_node.app import build_app
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.seeded_randomness import SeededRandomness

PATHS = [
    route.path  # type: ignore[attr-defined]  # every route of ours is a Route
    for route in build_app((), SECRET, SystemClock(), SystemRandomness()).routes
]
GUARDED = [path for path in PATHS if path != HEALTH_PATH]
SESSION_SEALED = [path for path in GUARDED if path != SESSION_PATH]


class RawNode:
    """A node, and a client that sends what the real one would not."""

    def __init__(self, client: Client, port: int) -> None:
        self.client, self.url = client, f"http://127.0.0.1:{port}"

    async def send(self, method: str, path: str, authorization: str | None, body: bytes) -> int:
        request = self.client.request(method, self.url + path).body_bytes(body).timeout(timedelta(seconds=5))
        if authorization is not None:
            request = request.header("authorization", authorization)
        return (await request.build().send()).status

    async def greet(self, secret: bytes = SECRET) -> ClientSession:
        hello = Hello(1, bytes(range(16)))
        body = msgspec.msgpack.encode(hello)
        header = hello_header(cluster_key(secret), "POST", SESSION_PATH, body)
        request = self.client.post(self.url + SESSION_PATH).header("authorization", header).body_bytes(body)
        answer = msgspec.msgpack.decode(bytes(await (await request.build().send()).bytes()), type=Welcome)
        return ClientSession(answer.session_id, session_key(cluster_key(secret), hello.nonce, answer.nonce))


@pytest.fixture
async def node() -> AsyncIterator[RawNode]:
    async with serving([MemoryDrive(0, ManualClock(), SeededRandomness("auth"))]) as server:
        client = build_client(None)
        yield RawNode(client, server.port)
        await client.close()


def sealed_part(path: str, body: bytes) -> bytes:
    """What the seal of a request covers: of an upload its first frame's payload, else the body."""
    return body[5:] if path == WRITE_PATH else body


def body_for(path: str, payload: bytes) -> bytes:
    return encode_frame(FrameKind.OPEN, payload) if path == WRITE_PATH else payload


def test_the_table_is_not_empty() -> None:
    assert set(GUARDED) == {SESSION_PATH, CALLS_PATH, READ_PATH, WRITE_PATH}


@pytest.mark.parametrize("path", GUARDED)
@pytest.mark.parametrize("authorization", [None, "", "Basic eDp5", "liteio x", f"liteio {'0' * 32}.1.{'0' * 32}"])
async def test_a_stranger_is_refused(node: RawNode, path: str, authorization: str | None) -> None:
    assert await node.send("POST", path, authorization, b"") == 401
    assert await node.send("POST", path, authorization, b"x" * 100_000) == 401


async def test_the_life_sign_asks_for_nothing_and_tells_nothing(node: RawNode) -> None:
    response = await node.client.get(node.url + HEALTH_PATH).build().send()
    assert (response.status, bytes(await response.bytes())) == (200, b"")
    assert {name.lower() for name, _ in response.headers.items()} <= {"server", "date", "content-length"}


@pytest.mark.parametrize("path", PATHS)
async def test_other_methods_do_nothing(node: RawNode, path: str) -> None:
    assert await node.send("DELETE", path, None, b"") == 405


@pytest.mark.parametrize("path", SESSION_SEALED)
async def test_a_replay_is_refused(node: RawNode, path: str) -> None:
    session = await node.greet()
    body = body_for(path, b"\x90")
    header, _ = session.seal("POST", path, sealed_part(path, body))
    assert await node.send("POST", path, header, body) == 400
    assert await node.send("POST", path, header, body) == 401


@pytest.mark.parametrize("path", SESSION_SEALED)
async def test_a_seal_does_not_serve_another_route_or_body(node: RawNode, path: str) -> None:
    session = await node.greet()
    body = body_for(path, b"\x90")
    for other in SESSION_SEALED:
        header, _ = session.seal("POST", other, b"\x91\x00" if other == path else sealed_part(path, body))
        assert await node.send("POST", path, header, body) == 401


@pytest.mark.parametrize("path", GUARDED)
async def test_random_bytes_from_one_who_holds_the_secret_are_malformed_and_the_node_lives(
    node: RawNode, path: str
) -> None:
    session = await node.greet()
    noise = SeededRandomness(path)
    for length in [0, 1, 2, 3, 7, 16, 60, 200] * 4:
        payload = noise.token_bytes(length)
        if path == SESSION_PATH:
            header = hello_header(cluster_key(SECRET), "POST", path, payload)
        else:
            header, _ = session.seal("POST", path, payload)
        assert await node.send("POST", path, header, body_for(path, payload)) == 400
    assert await node.send("GET", HEALTH_PATH, None, b"") == 200


async def test_a_body_beyond_the_bound_is_not_kept(node: RawNode) -> None:
    session = await node.greet()
    body = bytes(100_000)
    header, _ = session.seal("POST", READ_PATH, body)
    assert await node.send("POST", READ_PATH, header, body) == 413


@pytest.mark.parametrize(
    "call",
    [
        ["", "commit", 1.0, []],  # a drive's method asked of the node
        ["d", "drives", 1.0, []],  # and the other way round
        ["d", "__class__", 1.0, []],
        ["d", "status", -1.0, []],
        ["d", "status", 1e30, []],
        ["d", "status", 1.0, [1]],
        ["d", "walk", 1.0, [None, -1]],
        ["", "lock.acquire", 1.0, [b"short", [b"x"]]],
        ["", "lock.acquire", 1.0, [b"o" * 16, []]],
    ],
)
async def test_a_call_that_is_none_is_malformed(node: RawNode, call: list[object]) -> None:
    session = await node.greet()
    body = msgspec.msgpack.encode([call])
    assert await node.send("POST", CALLS_PATH, session.seal("POST", CALLS_PATH, body)[0], body) == 400


@pytest.mark.parametrize("secret", [b"", b"short"])
def test_there_is_no_node_without_a_secret(secret: bytes) -> None:
    with pytest.raises(WeakSecret):
        build_app((), secret, SystemClock(), SystemRandomness())


async def test_another_secret_is_no_way_in() -> None:
    async with serving([]) as server, connection_to(server.port, b"another secret of 16 bytes") as stranger:
        with pytest.raises(DriveOffline):
            await stranger.drives(deadline=Deadline.after(5, SystemClock()))
        assert stranger.is_down
