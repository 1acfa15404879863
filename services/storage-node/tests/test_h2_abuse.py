"""HTTP/2 turned against a node process: it lives, spends bounded processor time and memory, and serves others on.

The attackers know no secret, except where it is said; some know a session's id, which crosses an h2c link in clear.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Final

import pytest
from raw_h2 import (
    ACK,
    END_HEADERS,
    PREFACE,
    SETTINGS,
    Kind,
    data_frame,
    frame,
    frames_of,
    header_block,
    headers_frame,
    request_block,
    settings_frame,
)
from test_process import connection, running, served

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_base.ids import DriveId
from liteio_drives.remote.limits import CONNECTION_WINDOW_BYTES, STREAMS_MAX, UNPROVED_BYTES_MAX
from liteio_drives.remote.messages import CALLS_PATH, HEALTH_PATH, SESSION_PATH, WRITE_PATH
from liteio_drives.remote.node_connection import NodeConnection
from liteio_drives.remote.remote_drive import RemoteDrive

SECONDS: Final = 1.0  # an attack lasts, if it is not cut off before
CONNECTIONS: Final = 4
# What one connection may have in flight times the connections, and what unproved requests may hold together.
GROWTH_BYTES_MAX: Final = CONNECTIONS * CONNECTION_WINDOW_BYTES + UNPROVED_BYTES_MAX
CPU_SECONDS_MAX: Final = 1.5 * SECONDS  # the loop and the network's thread take turns at one processor
REST_CPU_SECONDS_MAX: Final = 0.25  # in half a second
HEALTHY_SECONDS_MAX: Final = 2.0
_PAGE: Final = os.sysconf("SC_PAGESIZE")
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Node:
    pid: int
    port: int
    target: DriveId
    client: NodeConnection

    @property
    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS

    @property
    def memory_bytes(self) -> int:
        return int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * _PAGE


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with running(tmp_path) as (process, port), connection(port) as client:
        first, _ = await served(client)
        yield Node(process.pid, port, first.target, client)


# -- attacks: what is sent behind the connection's preface, piece by piece


def odd() -> Iterator[int]:
    return count(1, 2)


Attack = Callable[["Node"], Iterator[bytes]]


def known_seal(node: Node) -> tuple[bytes, bytes]:
    """Of a session that is overheard, with a MAC that is not right: the node reads the body before it can tell."""
    session = node.client.client._session
    assert session is not None
    return b"authorization", f"liteio {session.session_id.hex()}.77.{'0' * 32}".encode()


def many_streams(node: Node) -> Iterator[bytes]:
    for stream in odd():
        yield headers_frame(stream, CALLS_PATH, known_seal(node))


def many_bodies(node: Node) -> Iterator[bytes]:
    """As many bytes as the windows take, of bodies that never end."""
    for stream in odd():
        yield headers_frame(stream, CALLS_PATH, known_seal(node)) + data_frame(stream, bytes(16384)) * 16


def many_uploads(node: Node) -> Iterator[bytes]:
    """Each the beginning of a frame that would be large."""
    for stream in odd():
        begun = (33 * 2**20).to_bytes(4, "big") + b"\x07"
        yield headers_frame(stream, WRITE_PATH, known_seal(node)) + data_frame(stream, begun + bytes(16000))


def rapid_reset(node: Node) -> Iterator[bytes]:
    """CVE-2023-44487."""
    for stream in odd():
        yield headers_frame(stream, CALLS_PATH, known_seal(node)) + frame(Kind.RST_STREAM, 0, stream, bytes(4))


def made_you_reset(node: Node) -> Iterator[bytes]:
    """CVE-2025-8671: frames that make the node itself reset the stream."""
    for stream in odd():
        yield headers_frame(stream, CALLS_PATH, known_seal(node)) + frame(Kind.WINDOW_UPDATE, 0, stream, bytes(4))


def zero_window(node: Node) -> Iterator[bytes]:
    """Answers that nobody makes room for."""
    yield settings_frame((0x4, 0))
    for stream in odd():
        yield headers_frame(stream, SESSION_PATH, method="GET", ends=True)


def continuation_flood(node: Node) -> Iterator[bytes]:
    """CVE-2024-27316: headers that never end."""
    yield frame(Kind.HEADERS, 0, 1, request_block(CALLS_PATH))
    for number in count():
        yield frame(Kind.CONTINUATION, 0, 1, header_block((b"x-%d" % number, bytes(4000).replace(b"\0", b"a"))))


def empty_continuations(node: Node) -> Iterator[bytes]:
    yield frame(Kind.HEADERS, 0, 1, request_block(CALLS_PATH))
    while True:
        yield frame(Kind.CONTINUATION, 0, 1) * 100


def large_headers(node: Node) -> Iterator[bytes]:
    for stream in odd():
        block = request_block(CALLS_PATH, (b"x-large", b"a" * 15_000))
        yield frame(Kind.HEADERS, END_HEADERS, stream, block)


def header_bomb(node: Node) -> Iterator[bytes]:
    """One header of 4,000 bytes kept in the table and named 4,000 times: 16 MB out of 4 KB."""
    kept = b"\x40\x06x-bomb" + b"\x7f\xa1\x1e" + b"b" * 4000
    for stream in odd():
        yield frame(Kind.HEADERS, END_HEADERS, stream, request_block(CALLS_PATH) + kept + b"\xbe" * 4000)


def ping_flood(node: Node) -> Iterator[bytes]:
    while True:
        yield frame(Kind.PING, 0, 0, b"pingping") * 100


def settings_flood(node: Node) -> Iterator[bytes]:
    while True:
        yield settings_frame((0x4, 65535)) * 100


def empty_data(node: Node) -> Iterator[bytes]:
    """CVE-2019-9518."""
    yield headers_frame(1, CALLS_PATH, known_seal(node))
    while True:
        yield data_frame(1, b"") * 100


def priorities(node: Node) -> Iterator[bytes]:
    for stream in odd():
        yield frame(Kind.PRIORITY, 0, stream, (stream + 2).to_bytes(4, "big") + b"\x10") * 20


def small_window_updates(node: Node) -> Iterator[bytes]:
    yield settings_frame((0x4, 0))
    yield headers_frame(1, HEALTH_PATH, method="GET")
    while True:
        yield frame(Kind.WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 100


def noise(node: Node) -> Iterator[bytes]:
    while True:
        yield os.urandom(1000)


def silence(node: Node) -> Iterator[bytes]:
    return iter(())


ATTACKS: Final[tuple[Attack, ...]] = (
    many_streams,
    many_bodies,
    many_uploads,
    rapid_reset,
    made_you_reset,
    zero_window,
    continuation_flood,
    empty_continuations,
    large_headers,
    header_bomb,
    ping_flood,
    settings_flood,
    empty_data,
    priorities,
    small_window_updates,
    noise,
    silence,
)


async def shaken_hands(node: Node) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection whose windows are the node's own by now."""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port, limit=2**16)
    writer.write(PREFACE + SETTINGS)
    assert await reader.read(65536)
    writer.write(frame(Kind.SETTINGS, ACK, 0))
    return reader, writer


async def attack(node: Node, pieces: Iterator[bytes], *, reads: bool) -> int:
    """How many bytes went out until the node hung up, or the time was over."""
    reader, writer = await shaken_hands(node)
    sent = 0

    async def send() -> None:
        nonlocal sent
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            sent += len(piece)
            await asyncio.sleep(0)
        await asyncio.sleep(SECONDS)

    async def read() -> None:
        while reads and await reader.read(65536):
            pass
        if not reads:
            await asyncio.sleep(SECONDS)

    tasks = [asyncio.create_task(send()), asyncio.create_task(read())]
    await asyncio.wait(tasks, timeout=SECONDS, return_when=asyncio.FIRST_COMPLETED)
    writer.transport.abort()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return sent


@dataclass(slots=True)
class Healthy:
    """A client at work meanwhile: how long each of its calls took."""

    seconds: list[float] = field(default_factory=list)


@asynccontextmanager
async def healthy_client(node: Node) -> AsyncIterator[Healthy]:
    seen, clock = Healthy(), SystemClock()
    remote = RemoteDrive(node.client, node.target, 0)

    async def work() -> None:
        while True:
            started = time.monotonic()
            await remote.status(deadline=Deadline.after(5, clock))
            seen.seconds.append(time.monotonic() - started)
            await asyncio.sleep(0.02)

    working = asyncio.create_task(work())
    yield seen
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working


async def used_when_over(node: Node) -> float:
    """Processor time of half a second, once what was sent is worked off: in five seconds at most."""
    end = time.monotonic() + 5
    while True:
        cpu = node.cpu_seconds
        await asyncio.sleep(0.5)
        used = node.cpu_seconds - cpu
        if used < REST_CPU_SECONDS_MAX or time.monotonic() > end:
            return used


@pytest.mark.parametrize("kind", ATTACKS, ids=lambda kind: kind.__name__)
async def test_abuse_harms_neither_the_node_nor_its_other_clients(node: Node, kind: Attack) -> None:
    memory, cpu = node.memory_bytes, node.cpu_seconds
    async with healthy_client(node) as healthy:
        attacks = [attack(node, kind(node), reads=number % 2 == 0) for number in range(CONNECTIONS)]
        sent = sum(await asyncio.gather(*attacks))
        used, grown = node.cpu_seconds - cpu, node.memory_bytes - memory
        used_later = await used_when_over(node)
    slowest = max(healthy.seconds)
    print(
        f"{sent:,} bytes sent, {used:.2f} s of processor time, then {used_later:.2f} s, {grown / 2**20:.0f} MiB more, "
        f"{len(healthy.seconds)} healthy calls, the slowest {slowest * 1000:.0f} ms"
    )
    assert used < CPU_SECONDS_MAX
    assert used_later < REST_CPU_SECONDS_MAX, "it is still at work when the attack is over"
    assert grown < GROWTH_BYTES_MAX
    assert len(healthy.seconds) > 1, "it is served meanwhile"
    assert slowest < HEALTHY_SECONDS_MAX


async def test_a_thousand_streams_of_one_connection_are_open_and_no_more(node: Node) -> None:
    """The others are refused; those that wait for nothing end with their connection."""
    reader, writer = await shaken_hands(node)
    streams = [stream for stream, _ in zip(odd(), range(STREAMS_MAX + 50), strict=False)]
    writer.write(b"".join(headers_frame(stream, CALLS_PATH, known_seal(node)) for stream in streams))
    said = bytearray()
    with suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            while chunk := await reader.read(65536):
                said += chunk
    writer.transport.abort()
    refused = {one.stream for one in frames_of(bytes(said)) if one.kind in (Kind.RST_STREAM, Kind.GOAWAY)}
    assert refused
    assert len(refused) <= 50
    assert await node.client.drives(deadline=Deadline.after(5, SystemClock()))
