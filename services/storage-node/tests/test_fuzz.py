"""Any bytes to any route, sealed or not: 200, 400, 401 or 413 is the answer, and the node goes on."""

import asyncio
from collections.abc import Callable
from itertools import pairwise

import msgspec
import pytest
from direct import DirectNode
from examples import arguments_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_node import CLIENT_NONCE, KEY
from sound_requests import GUARDED, SESSION_SEALED, SOUND, sealed_part

from liteio_base.ids import DriveId
from liteio_drives.remote.frames import FrameDecoder, FrameError, FrameKind, encode_frame
from liteio_drives.remote.limits import MAC_BYTES, PROTOCOL_VERSION
from liteio_drives.remote.messages import (
    CALLS_PATH,
    METHODS,
    NODE,
    NODE_METHODS,
    SESSION_PATH,
    WRITE_PATH,
    Replies,
)
from liteio_drives.remote.sealing import ClientSession, Hello, Welcome, hello_header, session_key
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.seeded_randomness import SeededRandomness

MANY = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
NOISE = st.binary(max_size=300)


class Fuzzed:
    """A node of its own for each example, and a session with it."""

    def __init__(self) -> None:
        self.drive = MemoryDrive(0, ManualClock(), SeededRandomness("fuzz"))
        self.node = DirectNode([self.drive])

    async def session(self) -> ClientSession:
        body = msgspec.msgpack.encode(Hello(PROTOCOL_VERSION, CLIENT_NONCE))
        _, said = await self.node.ask(SESSION_PATH, hello_header(KEY, "POST", SESSION_PATH, body), [body])
        welcome = msgspec.msgpack.decode(said, type=Welcome)
        return ClientSession(welcome.session_id, session_key(KEY, CLIENT_NONCE, welcome.nonce))

    async def lives(self) -> None:
        session = await self.session()
        body = msgspec.msgpack.encode([[self.drive.drive_id, "status", 5.0, [[]]]])
        status, said = await self.node.ask(CALLS_PATH, session.seal("POST", CALLS_PATH, body)[0], [body])
        (frame,) = FrameDecoder().receive(said)
        assert (status, frame.kind) == (200, FrameKind.REPLY)


def covered(path: str, body: bytes) -> bytes:
    """`sealed_part` of what may be no frame at all."""
    try:
        return sealed_part(path, body)
    except (FrameError, IndexError):
        return body


def sound_body(path: str, drive_id: DriveId, method: str) -> bytes:
    """`method`: of the calls, where the path takes any."""
    if path == CALLS_PATH:
        target = NODE if method in NODE_METHODS else drive_id
        return msgspec.msgpack.encode([[target, method, 5.0, [arguments_of(method)] * 2]] * 2)
    end = encode_frame(FrameKind.END, bytes(MAC_BYTES), b"\x90") if path == WRITE_PATH else b""
    return SOUND[path](drive_id) + end


def cut(body: bytes, at: int, noise: bytes) -> bytes:
    return body[: at % (len(body) + 1)]


def overwritten(body: bytes, at: int, noise: bytes) -> bytes:
    at %= len(body)
    return body[:at] + noise + body[at + len(noise) :]


def inserted(body: bytes, at: int, noise: bytes) -> bytes:
    at %= len(body)
    return body[:at] + noise + body[at:]


@pytest.mark.parametrize("path", GUARDED)
@given(body=NOISE, header=st.text(max_size=80) | st.none())
@MANY
def test_noise_of_a_stranger_is_not_authentic(path: str, body: bytes, header: str | None) -> None:
    async def run() -> None:
        fuzzed = Fuzzed()
        seal = None if header is None else header.encode("utf-8", "replace").decode("latin-1")
        assert (await fuzzed.node.ask(path, seal, [body]))[0] == 401
        await fuzzed.lives()

    asyncio.run(run())


@pytest.mark.parametrize("path", GUARDED)
@given(body=NOISE, is_framed=st.booleans())
@MANY
def test_sealed_noise_is_malformed(path: str, body: bytes, is_framed: bool) -> None:
    async def run() -> None:
        fuzzed = Fuzzed()
        sent = encode_frame(FrameKind.OPEN, body) if is_framed and path == WRITE_PATH else body
        if path == SESSION_PATH:
            seal = hello_header(KEY, "POST", path, sent)
        else:
            seal = (await fuzzed.session()).seal("POST", path, covered(path, sent))[0]
        status, said = await fuzzed.node.ask(path, seal, [sent])
        assert status in (400, 401, 413)
        assert said == b""
        await fuzzed.lives()

    asyncio.run(run())


@given(
    path=st.sampled_from(SESSION_SEALED),
    method=st.sampled_from(sorted(METHODS)),
    spoil=st.sampled_from([cut, overwritten, inserted]),
    at=st.integers(0, 5000),
    noise=st.binary(min_size=1, max_size=12),
    pieces=st.lists(st.integers(0, 3000), max_size=4),
)
@settings(MANY, max_examples=600)
def test_a_spoilt_request_with_a_right_seal_harms_nothing(
    path: str,
    method: str,
    spoil: Callable[[bytes, int, bytes], bytes],
    at: int,
    noise: bytes,
    pieces: list[int],
) -> None:
    """What decodes by chance is carried out: its sender holds the secret. The node must only stay itself."""

    async def run() -> None:
        fuzzed = Fuzzed()
        body = spoil(sound_body(path, fuzzed.drive.drive_id, method), at, noise)
        session = await fuzzed.session()
        cuts = [0, *sorted(piece % (len(body) + 1) for piece in pieces), len(body)]
        chunks = [body[start:end] for start, end in pairwise(cuts)]
        status, said = await fuzzed.node.ask(path, session.seal("POST", path, covered(path, body))[0], chunks)
        assert status in (200, 400, 401, 413)
        if status == 200 and path == CALLS_PATH:
            for frame in FrameDecoder().receive(said):
                msgspec.msgpack.decode(frame.payload[MAC_BYTES:], type=Replies)
        await fuzzed.lives()

    asyncio.run(run())
