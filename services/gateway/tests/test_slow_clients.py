"""Five hundred clients that dawdle: each is cut off in its time, and a client in good health hardly notices them."""

import contextlib
import os
import resource
import socket
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from services.gateway.tests.live_server import LiveServer, live_server
from services.gateway.tests.test_connection import answer_of, signed

from liteio_gateway import connection
from liteio_gateway.settings import GatewaySettings

SLOW_HEADERS, STALLED_BODIES, DEAF = 400, 80, 20
HEADER_SECONDS, IDLE_SECONDS = 2.0, 2.5
CONNECTIONS = SLOW_HEADERS + STALLED_BODIES + DEAF


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    """With both ends of all connections in this process, which needs that many files."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(max(soft, 4096), hard), hard))
    monkeypatch.setattr(connection, "WATCH_SECONDS", 0.2)
    with live_server(
        tmp_path, header_seconds=HEADER_SECONDS, body_idle_seconds=IDLE_SECONDS, drain_seconds=5
    ) as server:
        yield server
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def open_connections(live: LiveServer) -> int:
    """As the server counts them: what a deaf client's kernel still holds back is its own."""
    assert live.server is not None
    return len(live.server.server_state.connections)


def request_seconds(live: LiveServer, count: int) -> float:
    """The median time of a small read over one connection."""
    taken = []
    with live.connect() as stream:
        for _ in range(count):
            request = signed(live, "GET", "/bucket/small")
            started = time.perf_counter()
            stream.sendall(request)
            assert answer_of(stream)[0].startswith(b"HTTP/1.1 200")
            taken.append(time.perf_counter() - started)
    return statistics.median(taken)


def trickle(streams: list[socket.socket], ended: threading.Event) -> None:
    """One more byte of a header for each, about once a second."""
    while not ended.wait(0.8):
        for stream in streams:
            with contextlib.suppress(OSError):
                stream.sendall(b"a")


def test_the_defaults_end_slow_clients_within_half_a_minute() -> None:
    defaults = GatewaySettings.model_fields
    assert defaults["header_seconds"].default <= 30
    assert defaults["body_idle_seconds"].default <= 30
    assert defaults["connections_max"].default > CONNECTIONS


def test_five_hundred_slow_clients_are_cut_off_and_cost_the_others_little(live: LiveServer) -> None:
    with live.connect() as stream:
        for request in (
            signed(live, "PUT", "/bucket"),
            signed(live, "PUT", "/bucket/small", b"s" * 1000),
            signed(live, "PUT", "/bucket/large", b"l" * (16 << 20)),
        ):
            stream.sendall(request)
            assert answer_of(stream)[0].startswith(b"HTTP/1.1 200")
    quiet = request_seconds(live, 150)
    files_before = open_files()
    ended = threading.Event()
    with contextlib.ExitStack() as opened:
        streams = [opened.enter_context(live.connect()) for _ in range(CONNECTIONS)]
        headers, bodies = streams[:SLOW_HEADERS], streams[SLOW_HEADERS : SLOW_HEADERS + STALLED_BODIES]
        for stream in headers:
            stream.sendall(b"GET / HTTP/1.1\r\nx-slow: ")
        for number, stream in enumerate(bodies):
            stream.sendall(signed(live, "PUT", f"/bucket/stalled-{number}", b"abc", headers={"content-length": "1000"}))
        for stream in streams[-DEAF:]:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            stream.sendall(signed(live, "GET", "/bucket/large"))
        trickling = threading.Thread(target=trickle, args=(headers, ended))
        trickling.start()
        try:
            crowded = request_seconds(live, 150)
            assert open_connections(live) >= CONNECTIONS
            end = time.monotonic() + 2 * max(HEADER_SECONDS, IDLE_SECONDS)
            while open_connections(live):
                assert time.monotonic() < end, f"{open_connections(live)} connections are still open"
                time.sleep(0.1)
        finally:
            ended.set()
            trickling.join()
    assert crowded < 2 * quiet + 0.005
    assert all(reader.is_closed for reader in live.layer.readers)
    assert set(live.layer._buckets["bucket"].keys) == {"small", "large"}
    time.sleep(0.2)
    assert open_files() <= files_before
