"""What is done to HTTP/2 servers, as far as it can be done to this one, which speaks HTTP/1.1 alone; and what the
storage port would be told, told to the S3 port."""

import contextlib
import re
import resource
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from services.gateway.tests.live_server import LiveServer, live_server
from services.gateway.tests.test_connection import answer_of, is_closed, signed

from liteio_gateway import connection
from liteio_gateway.limits import PIPELINED_MAX

SECONDS = 1.5
H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
GET = b"GET /bucket/small HTTP/1.1\r\nhost: x\r\n\r\n"
CHUNKED = b"PUT /bucket/key HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n"


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LiveServer]:
    monkeypatch.setattr(connection, "WATCH_SECONDS", 0.1)
    with live_server(tmp_path, header_seconds=1.0, body_idle_seconds=1.0, drain_seconds=5) as server:
        with server.connect() as stream:
            for request in (signed(server, "PUT", "/bucket"), signed(server, "PUT", "/bucket/small", b"s" * 100)):
                stream.sendall(request)
                assert answer_of(stream)[0].startswith(b"HTTP/1.1 200")
        yield server


def without_end(piece: bytes) -> Callable[[], Iterator[bytes]]:
    def pieces() -> Iterator[bytes]:
        while True:
            yield piece

    return pieces


def after(first: bytes, piece: bytes) -> Callable[[], Iterator[bytes]]:
    def pieces() -> Iterator[bytes]:
        yield first
        yield from without_end(piece)()

    return pieces


FLOODS = {
    "pipelined_requests": without_end(GET * 100),
    "empty_lines": without_end(b"\r\n" * 1000),
    "headers_without_end": after(b"GET / HTTP/1.1\r\nhost: x\r\n", b"x-more: " + b"a" * 1000 + b"\r\n"),
    "small_headers_without_end": after(b"GET / HTTP/1.1\r\nhost: x\r\n", b"a:\r\n" * 100),
    "path_without_end": after(b"GET /", b"a" * 10_000),
    "chunks_of_one_byte": after(CHUNKED, b"1\r\na\r\n" * 100),
    "chunk_extension_without_end": after(CHUNKED + b"1;", b"x" * 10_000),
    "trailers_without_end": after(CHUNKED + b"0\r\n", b"x-more: " + b"a" * 1000 + b"\r\n"),
}


def flood(live: LiveServer, pieces: Iterator[bytes], *, reads: bool, ends: float) -> int:
    """Send until the server hangs up or the time is over; how much it took."""
    taken = 0
    with live.connect() as stream, contextlib.suppress(OSError):
        stream.settimeout(0.2)
        while time.monotonic() < ends:
            piece = next(pieces)
            try:
                stream.sendall(piece)
                taken += len(piece)
            except TimeoutError:
                break  # it reads no more: that is an answer, too
            if reads:
                stream.setblocking(False)
                with contextlib.suppress(BlockingIOError):
                    stream.recv(65536)
                stream.settimeout(0.2)
    return taken


@pytest.mark.parametrize("name", FLOODS)
def test_a_flood_is_bounded_and_others_are_served(live: LiveServer, name: str) -> None:
    ends = time.monotonic() + SECONDS
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    floods = [
        threading.Thread(target=flood, args=(live, FLOODS[name]()), kwargs={"reads": reads, "ends": ends})
        for reads in (True, False)
    ]
    for thread in floods:
        thread.start()
    slowest, served = 0.0, 0
    with live.connect() as stream:
        is_flooded = True
        while is_flooded:  # Once at least: a flood may be cut off before the first request.
            is_flooded = any(thread.is_alive() for thread in floods)
            started = time.monotonic()
            stream.sendall(signed(live, "GET", "/bucket/small"))
            assert answer_of(stream)[0].startswith(b"HTTP/1.1 200")
            slowest, served = max(slowest, time.monotonic() - started), served + 1
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    print(f"{name}: {served} requests of others, the slowest {slowest * 1000:.0f} ms, {grown / 1024:.0f} MiB more")
    assert served
    assert slowest < 2.0
    assert grown < 100 * 1024


def test_requests_sent_before_their_answers_are_answered_in_order(live: LiveServer) -> None:
    count = PIPELINED_MAX
    with live.connect() as stream:
        stream.sendall(b"".join(signed(live, "GET", f"/bucket/{number}") for number in range(count)))
        heads = b""
        while heads.count(b"HTTP/1.1 404") < count:
            heads += stream.recv(65536)
    resources = re.findall(rb"<Resource>/bucket/(\d+)</Resource>", heads)
    assert [int(number) for number in resources] == list(range(count))


def test_nothing_more_is_read_while_requests_wait_for_their_turn(live: LiveServer) -> None:
    """Else each answer would bring in another read's worth of them."""
    ends = time.monotonic() + SECONDS
    assert flood(live, without_end(GET * 100)(), reads=False, ends=ends) < 8 << 20


def test_trailers_without_end_are_cut_off(live: LiveServer) -> None:
    with live.connect() as stream, contextlib.suppress(ConnectionError):
        stream.sendall(CHUNKED + b"0\r\n")
        for _ in range(100):
            stream.sendall(b"x-more: " + b"a" * 1000 + b"\r\n")
        assert is_closed(stream)


def test_http_2_is_not_spoken_here(live: LiveServer) -> None:
    with live.connect() as stream:
        stream.sendall(H2_PREFACE)
        assert answer_of(stream)[0].startswith(b"HTTP/1.1 400")
        assert is_closed(stream)


def test_an_upgrade_to_http_2_is_passed_over(live: LiveServer) -> None:
    wish = b"connection: upgrade, http2-settings\r\nupgrade: h2c\r\nhttp2-settings: AA\r\n"
    with live.connect() as stream:
        stream.sendall(b"GET / HTTP/1.1\r\nhost: x\r\n" + wish + b"\r\n")
        assert not answer_of(stream)[0].startswith(b"HTTP/1.1 101")


@pytest.mark.parametrize("path", ["/v1/session", "/v1/calls", "/v1/shards/read", "/v1/shards/write"])
def test_the_drive_protocol_is_not_spoken_on_the_s3_port(live: LiveServer, path: str) -> None:
    """A gateway's process has no code that would answer; a path of that name is a key in a bucket, and forbidden."""
    seal = f"authorization: liteio {'0' * 32}.1.{'0' * 32}\r\n"
    with live.connect() as stream:
        stream.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\n{seal}content-length: 1\r\n\r\n\x90".encode("latin-1"))
        head, body = answer_of(stream)
        assert head.split(b" ")[1] in (b"400", b"403", b"404", b"405", b"501")
        assert b"<Code>" in body
        assert b"x-liteio-reason" not in head.lower()
