"""What who holds the secret may send, and what is refused from him too. (Strangers: test_unauthenticated.)"""

from collections.abc import AsyncIterator

import msgspec
import pytest
from live_node import SECRET, connection_to, serving
from raw_node import RawNode
from sound_requests import GUARDED

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_contracts.storage_errors import DriveOffline
from liteio_drives.remote.frames import FrameKind, encode_frame
from liteio_drives.remote.messages import CALLS_PATH, HEALTH_PATH, READ_PATH, SESSION_PATH, WRITE_PATH
from liteio_drives.remote.node_client import build_client
from liteio_drives.remote.sealing import (
    WeakSecret,
    cluster_key,
    hello_header,
)
from liteio_storage_node.app import build_app
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.seeded_randomness import SeededRandomness


@pytest.fixture
async def node() -> AsyncIterator[RawNode]:
    async with serving([MemoryDrive(0, ManualClock(), SeededRandomness("auth"))]) as server:
        client = build_client(None)
        yield RawNode(client, server.port)
        await client.close()


def body_for(path: str, payload: bytes) -> bytes:
    return encode_frame(FrameKind.OPEN, payload) if path == WRITE_PATH else payload


async def test_the_life_sign_asks_for_nothing_and_tells_nothing(node: RawNode) -> None:
    response = await node.client.get(node.url + HEALTH_PATH).build().send()
    assert (response.status, bytes(await response.bytes())) == (200, b"")
    assert {name.lower() for name, _ in response.headers.items()} <= {"server", "date", "content-length"}


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
        ["", "commit", 1.0, [[]]],  # a drive's method asked of the node
        ["d", "drives", 1.0, [[]]],  # and the other way round
        ["d", "__class__", 1.0, [[]]],
        ["d", "status", -1.0, [[]]],
        ["d", "status", 1e30, [[]]],
        ["d", "status", 1.0, []],
        ["d", "status", 1.0, [[]] * 257],
        ["d", "status", 1.0, [[1]]],
        ["d", "status", 1.0, [[], [1]]],
        ["d", "walk", 1.0, [[None, -1]]],
        ["", "lock.acquire", 1.0, [[b"short", [b"x"], ["host", "program", 1]]]],
        ["", "lock.acquire", 1.0, [[b"o" * 16, [], ["host", "program", 1]]]],
        ["", "lock.acquire", 1.0, [[b"o" * 16, [b"x"], ["host" * 100, "program", 1]]]],
        ["", "lock.wait", 1.0, [[b"o" * 16, [b"x"], -1.0]]],
        ["", "lock.list", 1.0, [[501]]],
    ],
)
async def test_a_call_that_is_none_is_malformed(node: RawNode, call: list[object]) -> None:
    session = await node.greet()
    body = msgspec.msgpack.encode([call])
    assert await node.send("POST", CALLS_PATH, session.seal("POST", CALLS_PATH, body)[0], body) == 400


async def test_more_calls_than_a_request_may_hold_are_malformed(node: RawNode) -> None:
    session = await node.greet()
    body = msgspec.msgpack.encode([["d", "status", 1.0, [[]] * 129]] * 2)
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
