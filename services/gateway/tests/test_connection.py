"""Connections under uvicorn: slow, greedy and broken clients, and what they must not cost the others."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from services.gateway.tests.live_server import LiveServer, live_server
from services.gateway.tests.raw_client import RawClient

from liteio_gateway import connection
from liteio_gateway.limits import HEADER_BYTES_ABORT

MIB = 1024 * 1024


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    monkeypatch.setattr(connection, "WATCH_SECONDS", 0.05)
    with live_server(tmp_path, header_seconds=0.3, body_idle_seconds=0.4, connections_max=8, drain_seconds=5) as server:
        yield server


def signed(
    live: LiveServer, method: str, path: str, body: bytes = b"", *, headers: Mapping[str, str] | None = None
) -> bytes:
    """The bytes of one signed request."""
    host = f"127.0.0.1:{live.port}"
    client = RawClient(None, live.layer, host=host)  # type: ignore[arg-type]  # it only signs
    named = {"host": host, "x-amz-content-sha256": "UNSIGNED-PAYLOAD", **(headers or {})}
    if method == "PUT":
        named.setdefault("content-length", str(len(body)))
    lines = [f"{name}: {value}\r\n" for name, value in client.sign(method, path, "", named).items()]
    return f"{method} {path} HTTP/1.1\r\n{''.join(lines)}\r\n".encode() + body


def answer_of(stream: socket.socket) -> tuple[bytes, bytes]:
    """Head and body of the next answer."""
    received = b""
    while b"\r\n\r\n" not in received:
        chunk = stream.recv(65536)
        if not chunk:
            return received, b""
        received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    lines = dict(line.lower().partition(b": ")[::2] for line in head.split(b"\r\n")[1:])
    while len(body) < int(lines.get(b"content-length", b"0")):
        body += stream.recv(65536)
    return head, body


def ask(live: LiveServer, request: bytes) -> tuple[bytes, bytes]:
    with live.connect() as stream:
        stream.sendall(request)
        return answer_of(stream)


def is_closed(stream: socket.socket, seconds: float = 3) -> bool:
    """Whether the server ends the connection in time."""
    stream.settimeout(seconds)
    try:
        while stream.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


def test_every_answer_has_date_server_and_request_id(live: LiveServer) -> None:
    head, body = ask(live, signed(live, "GET", "/"))
    assert head.startswith(b"HTTP/1.1 200 OK\r\n")
    for name in (b"date: ", b"server: liteio", b"x-amz-request-id: ", b"x-amz-id-2: "):
        assert head.count(name) == 1
    assert body.startswith(b"<?xml")


def test_slow_headers_are_cut_off_while_others_are_served(live: LiveServer) -> None:
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(live.connect()) for _ in range(5)]
        for stream in slow:
            stream.sendall(b"GET / HTTP/1.1\r\nx-slow: ")
        assert ask(live, signed(live, "GET", "/"))[0].startswith(b"HTTP/1.1 200")
        for _ in range(3):
            time.sleep(0.05)
            for stream in slow:
                with contextlib.suppress(OSError):
                    stream.sendall(b"a")
        assert all(is_closed(stream) for stream in slow)


def test_slow_headers_of_a_later_request_are_cut_off(live: LiveServer) -> None:
    with live.connect() as stream:
        stream.sendall(signed(live, "GET", "/"))
        assert answer_of(stream)[0].startswith(b"HTTP/1.1 200")
        stream.sendall(b"GET / HT")
        assert is_closed(stream)


def test_a_silent_connection_is_cut_off(live: LiveServer) -> None:
    with live.connect() as stream:
        assert is_closed(stream)


def test_endless_headers_are_cut_off(live: LiveServer) -> None:
    with live.connect() as stream:
        sent = 0
        with contextlib.suppress(OSError):
            stream.sendall(b"GET / HTTP/1.1\r\n")
            while sent < 100 * HEADER_BYTES_ABORT:
                stream.sendall(b"x-more: " + b"y" * 8000 + b"\r\n")
                sent += 8000
        assert sent < 100 * HEADER_BYTES_ABORT
        assert is_closed(stream)


def test_too_long_headers_are_refused_politely(live: LiveServer) -> None:
    head, body = ask(live, signed(live, "GET", "/", headers={"x-amz-meta-long": "y" * 9000}))
    assert head.startswith(b"HTTP/1.1 400")
    assert b"RequestHeaderSectionTooLarge" in body


def test_a_stalled_body_is_answered_and_closed(live: LiveServer) -> None:
    ask(live, signed(live, "PUT", "/bucket"))
    with live.connect() as stream:
        stream.sendall(signed(live, "PUT", "/bucket/k", b"abc", headers={"content-length": "100000"}))
        head, body = answer_of(stream)
        assert head.startswith(b"HTTP/1.1 400")
        assert b"RequestTimeout" in body
        assert is_closed(stream)
    assert live.layer._buckets["bucket"].keys == {}


def test_a_client_that_reads_nothing_is_cut_off(live: LiveServer) -> None:
    ask(live, signed(live, "PUT", "/bucket"))
    ask(live, signed(live, "PUT", "/bucket/k", b"z" * (24 * MIB)))
    with live.connect() as stream:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        stream.sendall(signed(live, "GET", "/bucket/k"))
        end = time.monotonic() + 5
        while not live.layer.readers or not live.layer.readers[-1].is_closed:
            assert time.monotonic() < end, "the read goes on although nobody takes it"
            time.sleep(0.05)


@pytest.mark.parametrize("has_tls", [False, True])
def test_a_client_that_reads_slowly_gets_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_tls: bool
) -> None:
    """Over TLS, what is written but not taken does not all show in the transport's buffer; nor after it was closed."""
    monkeypatch.setattr(connection, "WATCH_SECONDS", 0.05)
    monkeypatch.setattr(connection, "CLOSING_SECONDS_MAX", 0.2)
    with live_server(tmp_path, has_tls=has_tls, body_idle_seconds=0.5) as live:
        ask(live, signed(live, "PUT", "/bucket"))
        ask(live, signed(live, "PUT", "/bucket/k", b"z" * (24 * MIB)))
        with live.connect() as stream:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            stream.sendall(signed(live, "GET", "/bucket/k", headers={"connection": "close"}))
            received, end = 0, time.monotonic() + 3
            while chunk := stream.recv(256 * 1024):
                received += len(chunk)
                time.sleep(0.01 if time.monotonic() < end else 0)
    assert received > 24 * MIB


def test_no_continue_for_a_denied_upload(live: LiveServer) -> None:
    with live.connect() as stream:
        request = b"PUT /bucket/k HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\nexpect: 100-continue\r\n\r\n"
        stream.sendall(request)
        head, body = answer_of(stream)
        assert head.startswith(b"HTTP/1.1 403")
        assert b"AccessDenied" in body
        assert is_closed(stream)


def test_continue_for_an_allowed_upload(live: LiveServer) -> None:
    ask(live, signed(live, "PUT", "/bucket"))
    with live.connect() as stream:
        stream.sendall(signed(live, "PUT", "/bucket/k", headers={"content-length": "3", "expect": "100-continue"}))
        assert stream.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        stream.sendall(b"abc")
        assert answer_of(stream)[0].startswith(b"HTTP/1.1 200")


def test_a_refused_upload_leaves_the_connection_usable_or_closed(live: LiveServer) -> None:
    denied = b"PUT /bucket/k HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"
    with live.connect() as stream:
        stream.sendall(denied % 1000 + b"G" * 1000)
        assert answer_of(stream)[0].startswith(b"HTTP/1.1 403")
        stream.sendall(signed(live, "GET", "/"))
        assert answer_of(stream)[0].startswith(b"HTTP/1.1 200")
    with live.connect() as stream:
        with contextlib.suppress(OSError):
            stream.sendall(denied % (4 * MIB) + b"G" * (4 * MIB))
        head, _ = answer_of(stream)
        assert head.startswith(b"HTTP/1.1 403")
        assert b"connection: close" in head
        assert is_closed(stream)


def test_one_connection_too_many_is_told_to_slow_down(live: LiveServer) -> None:
    with contextlib.ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(live.connect()).sendall(b"GET")
        time.sleep(0.1)
        extra = stack.enter_context(live.connect())
        head, body = answer_of(extra)
        assert head.startswith(b"HTTP/1.1 503")
        assert b"SlowDown" in body
    time.sleep(0.2)
    assert ask(live, signed(live, "GET", "/"))[0].startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"NONSENSE\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost : x\r\n\r\n",
    ],
)
def test_broken_http_is_400_and_closed(live: LiveServer, request_bytes: bytes) -> None:
    with live.connect() as stream:
        stream.sendall(request_bytes)
        head, _ = answer_of(stream)
        assert head.startswith(b"HTTP/1.1 400")
        assert is_closed(stream)


def test_requests_in_flight_finish_when_the_server_stops(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        running = stack.enter_context(live_server(tmp_path))
        ask(running, signed(running, "PUT", "/bucket"))
        stream = stack.enter_context(running.connect())
        body = b"q" * (2 * MIB)
        request = signed(running, "PUT", "/bucket/k", body)
        stream.sendall(request[:-1000])
        time.sleep(0.2)
        finishing = threading.Timer(0.5, stream.sendall, [request[-1000:]])
        finishing.start()
        running.stop()
        head, _ = answer_of(stream)
        assert head.startswith(b"HTTP/1.1 200")
        finishing.join()
    assert running.layer._buckets["bucket"].keys["k"][0].content == body


def test_a_stop_does_not_wait_for_the_farewell_of_a_client_that_is_not_reading(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        stopped = time.monotonic()
        with live_server(tmp_path, has_tls=True, drain_seconds=15) as running:
            stream = stack.enter_context(running.connect())
            stream.sendall(signed(running, "PUT", "/bucket"))
            assert answer_of(stream)[0].startswith(b"HTTP/1.1 200")
            stopped = time.monotonic()
        assert time.monotonic() - stopped < 10
