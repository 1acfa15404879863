"""Every route of the router, in every way of not being proved: 401, and nothing of the node was touched.

The routes, the methods of drives and those of the node come from the service's own tables, so that a new one is tried
without being named here; its request that is sound (`SOUND`) must be given, which the control test demands.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import msgspec
import pytest
from examples import arguments_of
from live_node import serving
from raw_node import CLIENT_NONCE, KEY, RawNode
from sound_requests import GUARDED, PATHS, ROUTES, SOUND, calls_body, sealed_part
from spies import SpyDrive, open_table, spy_on_node_calls
from starlette.routing import Route

from liteio_base.ids import DriveId
from liteio_drives.remote.frames import FrameDecoder
from liteio_drives.remote.limits import MAC_BYTES, REPLAY_WINDOW
from liteio_drives.remote.messages import (
    CALLS_PATH,
    DRIVE_METHODS,
    HEALTH_PATH,
    METHODS,
    NODE,
    NODE_METHODS,
    READ_PATH,
    SESSION_PATH,
    WRITE_PATH,
    Replies,
)
from liteio_drives.remote.node_client import build_client
from liteio_drives.remote.sealing import ClientSession, cluster_key, hello_header, session_key

OTHER_KEY: Final = cluster_key(b"another secret of the same length")

TOUCHES: Final = {
    CALLS_PATH: {"status", "collect_garbage", "lock.acquire"},
    READ_PATH: {"open_shard"},
    WRITE_PATH: {"create_shard", "shard.write", "shard.abort"},
    SESSION_PATH: set(),
}


@dataclass(slots=True)
class Rig:
    """A node under watch, another of the same cluster, and a session with each."""

    node: RawNode
    session: ClientSession
    elsewhere: ClientSession
    drive_id: DriveId
    seen: list[str] = field(default_factory=list)

    def seal(self, path: str, body: bytes, method: str = "POST") -> str:
        return self.session.seal(method, path, sealed_part(path, body))[0]

    def hello(self, path: str, body: bytes, method: str = "POST", key: bytes = KEY) -> str:
        return hello_header(key, method, path, body)

    def proof(self, path: str, body: bytes) -> str:
        """The one that the route asks for."""
        return self.hello(path, body) if path == SESSION_PATH else self.seal(path, body)


@pytest.fixture
async def rig(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    seen: list[str] = []
    spy_on_node_calls(monkeypatch, seen)
    drive = SpyDrive(seen)
    async with serving([drive], locks=open_table()) as one, serving([]) as other:
        client = build_client(None)
        node = RawNode(client, one.port)
        sessions = await node.greet(), await RawNode(client, other.port).greet()
        yield Rig(node, *sessions, drive.drive_id, seen)
        await client.close()


# -- ways of not being proved: the authorization headers of a request

Way = Callable[[Rig, str, bytes], Awaitable[Sequence[str]]]
WAYS: dict[str, Way] = {}


def way(build: Callable[[Rig, str, bytes], Sequence[str]]) -> Way:
    async def seals(rig: Rig, path: str, body: bytes) -> Sequence[str]:
        return build(rig, path, body)

    WAYS[build.__name__] = seals
    return seals


def slow_way(build: Way) -> Way:
    WAYS[build.__name__] = build
    return build


def always(header: str) -> Way:
    async def seals(rig: Rig, path: str, body: bytes) -> Sequence[str]:
        return [header]

    return seals


WAYS |= {
    "header_empty": always(""),
    "header_basic": always("Basic eDp5"),
    "header_bearer": always("Bearer " + "a" * 43),
    "header_word": always("liteio"),
    "header_garbage": always("liteio x"),
    "header_long": always("liteio " + "0" * 10_000),
    "header_of_a_stranger": always(f"liteio {'0' * 32}.1.{'0' * 32}"),
    "header_of_no_hello": always(f"liteio-hello {'0' * 32}"),
}


@way
def no_header(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    return []


@way
def two_seals(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    return [rig.proof(path, body), rig.proof(path, body)]


@way
def cut_seal(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    return [rig.proof(path, body)[:-1]]


@way
def longer_seal(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    return [rig.proof(path, body) + "0"]


@way
def capital_seal(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    return [rig.proof(path, body).upper()]


@way
def session_known_key_not(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    return [ClientSession(rig.session.session_id, bytes(32)).seal("POST", path, sealed_part(path, body))[0]]


@way
def session_of_another_secret(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    key = session_key(OTHER_KEY, CLIENT_NONCE, CLIENT_NONCE)
    return [ClientSession(rig.session.session_id, key).seal("POST", path, sealed_part(path, body))[0]]


@way
def cluster_key_for_a_session_key(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    return [ClientSession(rig.session.session_id, KEY).seal("POST", path, sealed_part(path, body))[0]]


@way
def session_of_another_node(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    return [rig.elsewhere.seal("POST", path, sealed_part(path, body))[0]]


@way
def seal_of_another_route(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    other = next(one for one in PATHS if one != path)
    return [rig.session.seal("POST", other, sealed_part(path, body))[0]]


@way
def seal_of_another_method(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    return [rig.seal(path, body, method="PUT")]


@way
def seal_of_another_body(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    return [rig.session.seal("POST", path, sealed_part(path, body) + b"x")[0]]


@way
def seal_of_no_body(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    return [rig.session.seal("POST", path, b"")[0]]


@way
def seal_under_another_counter(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    session, counter, mac = rig.seal(path, body).split(".")
    return [f"{session}.{int(counter) + 1}.{mac}"]


@way
def hello_of_another_secret(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    return [rig.hello(path, body, key=OTHER_KEY)]


@way
def hello_to_another_route(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    return [rig.hello("/v1/elsewhere", body)]


@way
def hello_by_another_method(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    return [rig.hello(path, body, method="PUT")]


@way
def hello_with_another_body(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    return [rig.hello(path, body + b"x")]


@way
def the_other_kind_of_proof(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    return [rig.seal(path, body) if path == SESSION_PATH else rig.hello(path, sealed_part(path, body))]


@slow_way
async def replayed(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    """(A greeting may come again: it opens a session of which the sender does not get the key.)"""
    seal = rig.seal(path, body)
    await rig.node.send("POST", path, seal, body)
    return [seal]


@slow_way
async def counter_from_before_the_window(rig: Rig, path: str, body: bytes) -> Sequence[str]:
    late = rig.seal(path, body)
    rig.session._counter += REPLAY_WINDOW
    newest = rig.seal(CALLS_PATH, calls_body(rig.drive_id))
    assert await rig.node.send("POST", CALLS_PATH, newest, calls_body(rig.drive_id)) == 200
    return [late]


# -- the tests


def test_the_router_holds_nothing_but_plain_routes() -> None:
    """What is mounted below a path would not be seen here."""
    assert all(type(route) is Route for route in ROUTES)
    assert len(GUARDED) == len(ROUTES) - 1


@pytest.mark.parametrize("path", GUARDED)
async def test_a_request_that_is_proved_reaches_what_it_asks_for(rig: Rig, path: str) -> None:
    """The control: the requests of these tests would do something, if they were let in."""
    body = SOUND[path](rig.drive_id)
    assert await rig.node.send("POST", path, rig.proof(path, body), body) == 200
    assert set(rig.seen) == TOUCHES[path]


@pytest.mark.parametrize("path", GUARDED)
@pytest.mark.parametrize("name", sorted(WAYS))
async def test_who_is_not_proved_touches_nothing(rig: Rig, path: str, name: str) -> None:
    body = SOUND[path](rig.drive_id)
    seals = await WAYS[name](rig, path, body)
    rig.seen.clear()
    response = await rig.node.ask("POST", path, seals, body)
    assert (response.status, bytes(await response.bytes())) == (401, b"")
    assert rig.seen == []


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
@pytest.mark.parametrize("path", PATHS)
async def test_another_method_does_nothing_even_when_it_is_sealed(rig: Rig, path: str, method: str) -> None:
    body = SOUND[path](rig.drive_id) if path in SOUND else b""
    seals = [] if path == HEALTH_PATH else [rig.session.seal(method, path, sealed_part(path, body))[0]]
    expected = 200 if (method, path) == ("GET", HEALTH_PATH) else 405
    assert (await rig.node.ask(method, path, seals, body)).status == expected
    assert rig.seen == []


@pytest.mark.parametrize(
    "path",
    ["/", "", "/v1", "/v1/", "/v1/calls/", "//v1/calls", "/v1//calls", "/V1/CALLS", "/v1/calls/..", "/v1/calls%00"],
)
async def test_there_is_no_other_path(rig: Rig, path: str) -> None:
    body = calls_body(rig.drive_id)
    seals = [rig.session.seal("POST", path, body)[0]]
    assert (await rig.node.ask("POST", path, seals, body)).status in (400, 404)
    assert rig.seen == []


@pytest.mark.parametrize("method", sorted(METHODS))
async def test_every_method_is_reached_with_a_seal_and_without_one_is_not(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    seen: list[str] = []
    spy_on_node_calls(monkeypatch, seen)
    drive = SpyDrive(seen, is_mute=True)
    async with serving([drive], locks=open_table()) as server:
        client = build_client(None)
        node = RawNode(client, server.port)
        session = await node.greet()
        target = NODE if method in NODE_METHODS else drive.drive_id
        body = msgspec.msgpack.encode([[target, method, 5.0, [arguments_of(method)]]])
        for seals in ([], [session.seal("POST", CALLS_PATH, b"")[0]], [hello_header(KEY, "POST", CALLS_PATH, body)]):
            assert (await node.ask("POST", CALLS_PATH, seals, body)).status == 401
        assert seen == []
        response = await node.ask("POST", CALLS_PATH, [session.seal("POST", CALLS_PATH, body)[0]], body)
        (frame,) = FrameDecoder().receive(bytes(await response.bytes()))
        (reply,) = msgspec.msgpack.decode(frame.payload[MAC_BYTES:], type=Replies)
        assert seen == [method]
        if method in DRIVE_METHODS:
            assert reply.error is not None
            assert reply.error.message == "it only listens"
        await client.close()
