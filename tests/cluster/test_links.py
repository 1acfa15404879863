"""The proxy that stands between the processes of a cluster, tried alone: a socket that echoes in place of a node."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from tests.support.link_rules import CUT, FREE, Deed, Door, Rule, Strike, Way
from tests.support.links import Links
from tests.support.server import free_port


class Echo:
    """Sends back what it gets, connection by connection."""

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", port))
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _serve(self) -> None:
        served = []
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                break
            served.append(threading.Thread(target=self._echo, args=(connection,)))
            served[-1].start()
        for one in served:
            one.join()

    def _echo(self, connection: socket.socket) -> None:
        with connection:
            try:
                while data := connection.recv(65536):
                    connection.sendall(data)
            except OSError:
                return


@contextmanager
def dialled(port: int) -> Iterator[socket.socket]:
    """Waits until the door is open."""
    end = time.monotonic() + 10
    while True:
        try:
            connection = socket.create_connection(("127.0.0.1", port), timeout=5)
            break
        except OSError:
            assert time.monotonic() < end, "the door stays closed"
            time.sleep(0.02)
    with connection:
        yield connection


@pytest.fixture
def door() -> Door:
    return Door("node0", free_port(), free_port())


@pytest.fixture
def links(door: Door) -> Iterator[Links]:
    with closing(Echo(door.node_port)), Links([door]) as links:
        links.know("me", os.getpid())
        yield links


def ask(connection: socket.socket, content: bytes = b"hello") -> bytes:
    connection.sendall(content)
    answer = b""
    while len(answer) < len(content):
        piece = connection.recv(65536)
        if not piece:
            break
        answer += piece
    return answer


def test_what_no_rule_touches_passes_and_is_counted_by_who_sent_it(links: Links, door: Door) -> None:
    with dialled(door.port) as connection:
        content = os.urandom(3_000_000)
        sender = threading.Thread(target=connection.sendall, args=(content,))
        sender.start()
        got = b""
        while len(got) < len(content):
            got += connection.recv(1 << 20)
        sender.join()
        assert got == content
        seen = links.seen()["me", "node0"]
        assert (seen.connections, seen.request_bytes, seen.reply_bytes) == (1, len(content), len(content))


def test_a_late_link_keeps_order_and_a_free_one_is_quick_again(links: Links, door: Door) -> None:
    with dialled(door.port) as connection:
        assert ask(connection) == b"hello"
        links.rule("me", "node0", Rule(latency_seconds=0.1, jitter_seconds=0.05))
        began = time.monotonic()
        assert ask(connection, bytes(range(256)) * 100) == bytes(range(256)) * 100
        assert 0.1 <= time.monotonic() - began < 2
        links.free()
        began = time.monotonic()
        assert ask(connection) == b"hello"
        assert time.monotonic() - began < 0.1


def test_a_rate_bounds_how_fast_it_goes(links: Links, door: Door) -> None:
    with dialled(door.port) as connection:
        links.rule("me", "node0", Rule(bytes_per_second=100_000))
        began = time.monotonic()
        ask(connection, bytes(50_000))
        assert 0.5 <= time.monotonic() - began < 5


@pytest.mark.parametrize("rule", [CUT, Rule(holds_requests=True), Rule(holds_replies=True)])
def test_what_is_held_comes_when_the_link_is_free(links: Links, door: Door, rule: Rule) -> None:
    with dialled(door.port) as connection:
        ask(connection)
        links.rule("me", "node0", rule)
        connection.settimeout(0.3)
        connection.sendall(b"late")
        with pytest.raises(TimeoutError):
            connection.recv(10)
        with dialled(door.port) as another:  # half open
            another.settimeout(0.3)
            another.sendall(b"nobody")
            with pytest.raises(TimeoutError):
                another.recv(10)
        links.rule("me", "node0", FREE)
        connection.settimeout(5)
        assert connection.recv(10) == b"late"


def test_replies_alone_are_held(links: Links, door: Door) -> None:
    with dialled(door.port) as connection:
        ask(connection)
        before = links.seen()["me", "node0"]
        links.rule("me", "node0", Rule(holds_replies=True))
        connection.sendall(b"12345")
        time.sleep(0.3)
        assert links.seen()["me", "node0"].request_bytes == before.request_bytes + 5
        assert links.seen()["me", "node0"].reply_bytes == before.reply_bytes


def test_a_reset_comes_behind_the_byte_that_was_named(links: Links, door: Door) -> None:
    with dialled(door.port) as connection:
        ask(connection)
        links.rule("me", "node0", Rule(strikes=(Strike(Way.REPLIES, 3, Deed.RESET),)))
        connection.sendall(b"hello")
        got = b""
        with pytest.raises(ConnectionResetError):  # noqa: PT012  # it comes behind the bytes
            while True:
                got += connection.recv(1)
        assert got in (b"hel", b"")  # a reset may overtake what was not read yet
        assert links.seen()["me", "node0"].struck == 1


def test_one_bit_is_flipped_and_a_piece_comes_twice(links: Links, door: Door) -> None:
    with dialled(door.port) as connection:
        ask(connection)
        links.rule("me", "node0", Rule(strikes=(Strike(Way.REQUESTS, 2, Deed.FLIP),)))
        assert ask(connection, b"\0\0\0\0") == b"\0\0\4\0"
        links.rule("me", "node0", Rule(strikes=(Strike(Way.REQUESTS, 0, Deed.REPEAT),)))
        connection.sendall(b"ab")
        assert ask(connection, b"") == b""
        time.sleep(0.2)
        assert connection.recv(100) == b"abab"


def test_a_door_is_closed_while_nobody_is_behind_it(door: Door) -> None:
    with Links([door]) as links:
        with closing(Echo(door.node_port)), dialled(door.port) as connection:
            ask(connection)
            links.reset("", "node0")  # nobody told it who this is
            with pytest.raises(ConnectionResetError):
                ask(connection)
        end = time.monotonic() + 5
        while True:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", door.port)):
                    break
            assert time.monotonic() < end, "the door stays open"
            time.sleep(0.05)
        with closing(Echo(door.node_port)), dialled(door.port) as connection:
            assert ask(connection) == b"hello"
