"""Seals: only the secret's holder speaks, only once, and only to the route that was meant."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_drives.remote.frames import FrameKind
from liteio_drives.remote.limits import HALF_OPEN_SESSIONS_MAX, PROTOCOL_VERSION, REPLAY_WINDOW, SESSIONS_MAX
from liteio_drives.remote.sealing import (
    BAD_SEAL,
    REPLAYED,
    STALE_COUNTER,
    UNKNOWN_SESSION,
    ClientSession,
    Hello,
    NotAuthentic,
    ReplayWindow,
    ServerSessions,
    WeakSecret,
    check_hello,
    check_welcome,
    cluster_key,
    hello_header,
    parse_seal,
    session_key,
    welcome_to,
)

KEY = cluster_key(b"0123456789abcdef")
OTHER_KEY = cluster_key(b"0123456789abcdeg")


def admit(sessions: ServerSessions, header: str, method: str = "POST", path: str = "/p", body: bytes = b"b") -> None:
    sessions.admit(parse_seal(header), method, path, body)


def opened(count: int = 0) -> tuple[ServerSessions, ClientSession]:
    sessions = ServerSessions()
    key = session_key(KEY, bytes(16), bytes(16))
    sessions.add(bytes(16), key)
    return sessions, ClientSession(bytes(16), key, count)


@pytest.mark.parametrize("secret", [b"", b"fifteen bytes..", bytes(5000)])
def test_no_short_or_endless_secret_is_taken(secret: bytes) -> None:
    with pytest.raises(WeakSecret):
        cluster_key(secret)


def test_greeting_proves_both_sides() -> None:
    hello = Hello(PROTOCOL_VERSION, bytes(16))
    body = msgspec.msgpack.encode(hello)
    assert check_hello(KEY, hello_header(KEY, "POST", "/s", body), "POST", "/s", body) == hello
    welcome = welcome_to(KEY, hello, b"s" * 16, b"n" * 16)
    check_welcome(KEY, hello, welcome)
    with pytest.raises(NotAuthentic):
        check_hello(OTHER_KEY, hello_header(KEY, "POST", "/s", body), "POST", "/s", body)
    with pytest.raises(NotAuthentic):
        check_hello(KEY, hello_header(KEY, "POST", "/other", body), "POST", "/s", body)
    with pytest.raises(NotAuthentic):
        check_welcome(KEY, Hello(PROTOCOL_VERSION, b"x" * 16), welcome)
    with pytest.raises(NotAuthentic):
        check_welcome(OTHER_KEY, hello, welcome)


@pytest.mark.parametrize("change", ["method", "path", "body"])
def test_a_seal_holds_for_one_method_path_and_body(change: str) -> None:
    sessions, client = opened()
    header, _ = client.seal("POST", "/p", b"b")
    other = {"method": "PUT", "path": "/q", "body": b"c"}[change]
    with pytest.raises(NotAuthentic, match=BAD_SEAL):
        admit(sessions, header, **{change: other})  # type: ignore[arg-type]  # texts and bytes by name
    admit(sessions, header)


def test_a_replay_is_refused_and_so_is_a_changed_counter() -> None:
    sessions, client = opened()
    header, _ = client.seal("POST", "/p", b"b")
    admit(sessions, header)
    with pytest.raises(NotAuthentic, match=REPLAYED):
        admit(sessions, header)
    with pytest.raises(NotAuthentic, match=BAD_SEAL):
        admit(sessions, header.replace(".1.", ".2."))


def test_another_sessions_seal_is_refused() -> None:
    sessions, client = opened()
    with pytest.raises(NotAuthentic, match=UNKNOWN_SESSION):
        admit(sessions, ClientSession(b"x" * 16, client.key).seal("POST", "/p", b"b")[0])


@pytest.mark.parametrize(
    "header", ["", "liteio", "liteio ab.1.cd", "Bearer x", "liteio " + "0" * 32 + ".-1." + "0" * 32]
)
def test_what_is_no_seal_is_refused(header: str) -> None:
    with pytest.raises(NotAuthentic):
        parse_seal(header)


@given(st.lists(st.integers(1, 3 * REPLAY_WINDOW), max_size=60))
def test_the_window_admits_a_counter_once_and_only_while_it_can_tell(counters: list[int]) -> None:
    window = ReplayWindow()
    used: set[int] = set()
    highest = 0
    for counter in counters:
        if counter <= highest - REPLAY_WINDOW:
            expected: str | None = STALE_COUNTER
        else:
            expected = REPLAYED if counter in used else None
        if expected is None:
            window.use(counter)
            used.add(counter)
            highest = max(highest, counter)
        else:
            with pytest.raises(NotAuthentic, match=expected):
                window.use(counter)


def test_greetings_push_out_only_each_other() -> None:
    sessions, client = opened()
    admit(sessions, client.seal("POST", "/p", b"b")[0])
    for number in range(HALF_OPEN_SESSIONS_MAX + 50):
        sessions.add(number.to_bytes(16, "big")[::-1], bytes(32))
    assert len(sessions) <= HALF_OPEN_SESSIONS_MAX + 1
    admit(sessions, client.seal("POST", "/p", b"b")[0])


def test_sessions_are_bounded_and_the_least_used_goes_first() -> None:
    sessions = ServerSessions()
    clients = [ClientSession(number.to_bytes(16, "big"), bytes(32)) for number in range(SESSIONS_MAX + 1)]
    for client in clients:
        sessions.add(client.session_id, client.key)
        admit(sessions, client.seal("POST", "/p", b"b")[0])
    assert len(sessions) == SESSIONS_MAX
    with pytest.raises(NotAuthentic, match=UNKNOWN_SESSION):
        admit(sessions, clients[0].seal("POST", "/p", b"b")[0])


def test_an_answer_is_sealed_for_its_request_and_kind() -> None:
    _, client = opened()
    _, first = client.seal("POST", "/p", b"b")
    _, second = client.seal("POST", "/p", b"b")
    sealed = first.seal_answer(FrameKind.REPLY, b"yes") + b"yes"
    assert first.open_answer(FrameKind.REPLY, sealed) == b"yes"
    for key, kind, answer in [
        (second, FrameKind.REPLY, sealed),
        (first, FrameKind.ERROR, sealed),
        (first, FrameKind.REPLY, sealed[:-1] + b"S"),
        (first, FrameKind.REPLY, b""),
    ]:
        with pytest.raises(NotAuthentic):
            key.open_answer(kind, answer)
