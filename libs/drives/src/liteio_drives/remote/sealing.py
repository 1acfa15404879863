"""Who speaks and when: keyed MACs from the cluster secret, and freshness without a clock. Pure; nonces are given.

A client greets with a nonce and a MAC by the cluster key; the node answers with its own nonce, a session id and a MAC,
so both have proved the secret and both have added something fresh. The session key comes from the two nonces. From then
on each request carries the session id, a counter that no request of the session used before, and a MAC over method,
path, counter and body; each answer carries MACs by the same key over that counter. docs/protocols/drive.md.
"""

import hashlib
import hmac
import re
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import msgspec

from liteio_drives.remote.frames import FrameKind
from liteio_drives.remote.limits import (
    HALF_OPEN_SESSIONS_MAX,
    MAC_BYTES,
    NONCE_BYTES,
    PROTOCOL_VERSION,
    REPLAY_WINDOW,
    SECRET_BYTES_MAX,
    SECRET_BYTES_MIN,
    SESSIONS_MAX,
)

_SEAL: Final = re.compile(r"liteio ([0-9a-f]{32})\.([0-9]{1,18})\.([0-9a-f]{32})")
_HELLO_SEAL: Final = re.compile(r"liteio-hello ([0-9a-f]{32})")


class WeakSecret(ValueError):
    """The cluster secret is missing or too short to be one."""


class NotAuthentic(Exception):
    """The request is refused. `reason` is a word that the peer is told: it decides whether sending again helps."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


UNKNOWN_SESSION: Final = "unknown-session"  # greet again, then send again: the request was not looked at
STALE_COUNTER: Final = "stale-counter"  # too late to tell whether it is a replay: send again under a new counter
REPLAYED: Final = "replayed"
BAD_SEAL: Final = "bad-seal"
MAY_SEND_AGAIN: Final = frozenset((UNKNOWN_SESSION, STALE_COUNTER))  # refused for certain before anything was done


class Hello(msgspec.Struct, frozen=True, array_like=True):
    """The greeting's body."""

    version: int
    nonce: bytes


class Welcome(msgspec.Struct, frozen=True, array_like=True):
    """Its answer. `mac` is by the cluster key over the rest and the client's nonce."""

    version: int
    session_id: bytes
    nonce: bytes
    mac: bytes


class Seal(NamedTuple):
    """What the authorization header of a request says."""

    session_id: bytes
    counter: int
    mac: bytes


def cluster_key(secret: bytes) -> bytes:
    """The key that greetings are signed with. Raises WeakSecret: there is no default and no short one."""
    if not SECRET_BYTES_MIN <= len(secret) <= SECRET_BYTES_MAX:
        raise WeakSecret(f"the cluster secret must have {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} bytes")
    return hashlib.blake2b(secret, digest_size=32, person=b"liteio-cluster").digest()


def session_key(key: bytes, client_nonce: bytes, server_nonce: bytes) -> bytes:
    return hashlib.blake2b(client_nonce + server_nonce, key=key, digest_size=32, person=b"liteio-session").digest()


def hello_header(key: bytes, method: str, path: str, body: bytes) -> str:
    return f"liteio-hello {_mac(key, b'liteio-hello', f'{method} {path}', body).hex()}"


def check_hello(key: bytes, header: str, method: str, path: str, body: bytes) -> Hello:
    """Raises NotAuthentic; msgspec.DecodeError or UnicodeDecodeError."""
    found = _HELLO_SEAL.fullmatch(header)
    if found is None or not hmac.compare_digest(header, hello_header(key, method, path, body)):
        raise NotAuthentic(BAD_SEAL)
    hello = msgspec.msgpack.decode(body, type=Hello)
    if len(hello.nonce) != NONCE_BYTES:
        raise msgspec.ValidationError("a nonce has 16 bytes")
    return hello


def welcome_to(key: bytes, hello: Hello, session_id: bytes, nonce: bytes) -> Welcome:
    return Welcome(PROTOCOL_VERSION, session_id, nonce, _welcome_mac(key, hello.nonce, session_id, nonce))


def check_welcome(key: bytes, hello: Hello, welcome: Welcome) -> None:
    """Raises NotAuthentic when the node does not hold the secret or answers another greeting."""
    expected = _welcome_mac(key, hello.nonce, welcome.session_id, welcome.nonce)
    if not hmac.compare_digest(welcome.mac, expected) or len(welcome.session_id) != NONCE_BYTES:
        raise NotAuthentic(BAD_SEAL)


def parse_seal(header: str) -> Seal:
    """Raises NotAuthentic for anything that is no seal."""
    found = _SEAL.fullmatch(header)
    if found is None:
        raise NotAuthentic(BAD_SEAL)
    return Seal(bytes.fromhex(found[1]), int(found[2]), bytes.fromhex(found[3]))


def _welcome_mac(key: bytes, client_nonce: bytes, session_id: bytes, server_nonce: bytes) -> bytes:
    return _mac(key, b"liteio-welcome", str(PROTOCOL_VERSION), client_nonce + session_id + server_nonce)


def _mac(key: bytes, purpose: bytes, head: str, body: bytes) -> bytes:
    """`head` holds no line break, so head and body can not be told apart wrongly."""
    mac = hashlib.blake2b(head.encode() + b"\n", key=key, digest_size=MAC_BYTES, person=purpose)
    mac.update(body)
    return mac.digest()


@dataclass(frozen=True, slots=True)
class ExchangeKey:
    """One request and its answer: what is sealed here belongs to them and to no other."""

    key: bytes
    counter: int

    def request_mac(self, method: str, path: str, body: bytes) -> bytes:
        return _mac(self.key, b"liteio-request", f"{method} {path} {self.counter}", body)

    def seal_end(self, payload: bytes) -> bytes:
        """For the end marker of what a client streams."""
        return _mac(self.key, b"liteio-end", str(self.counter), payload)

    def seal_answer(self, kind: FrameKind, payload: bytes) -> bytes:
        return _mac(self.key, b"liteio-answer", f"{self.counter} {int(kind)}", payload)

    def open_answer(self, kind: FrameKind, sealed: bytes) -> bytes:
        """The payload behind its MAC. Raises NotAuthentic."""
        payload = sealed[MAC_BYTES:]
        if not hmac.compare_digest(sealed[:MAC_BYTES], self.seal_answer(kind, payload)):
            raise NotAuthentic(BAD_SEAL)
        return payload

    def open_end(self, sealed: bytes) -> bytes:
        """As `open_answer`, for the end marker of a client's stream."""
        payload = sealed[MAC_BYTES:]
        if not hmac.compare_digest(sealed[:MAC_BYTES], self.seal_end(payload)):
            raise NotAuthentic(BAD_SEAL)
        return payload


@dataclass(slots=True)
class ClientSession:
    """The client's side of a session: gives each request its own counter."""

    session_id: bytes
    key: bytes
    _counter: int = 0

    def seal(self, method: str, path: str, body: bytes) -> tuple[str, ExchangeKey]:
        """The authorization header, and the key to check the answer with."""
        self._counter += 1
        exchange = ExchangeKey(self.key, self._counter)
        mac = exchange.request_mac(method, path, body)
        return f"liteio {self.session_id.hex()}.{self._counter}.{mac.hex()}", exchange


@dataclass(slots=True)
class ReplayWindow:
    """Which counters were used: the highest, and a bit for each of the REPLAY_WINDOW at and below it."""

    _highest: int = 0
    _used: int = 1  # bit i stands for highest - i; counter 0 is never given out

    def use(self, counter: int) -> None:
        """Raises NotAuthentic for a counter that was used, or that is too old to know."""
        ahead = counter - self._highest
        if ahead > 0:
            kept = self._used << ahead if ahead < REPLAY_WINDOW else 0
            self._used = (kept | 1) & ((1 << REPLAY_WINDOW) - 1)
            self._highest = counter
            return
        if -ahead >= REPLAY_WINDOW:
            raise NotAuthentic(STALE_COUNTER)
        if self._used >> -ahead & 1:
            raise NotAuthentic(REPLAYED)
        self._used |= 1 << -ahead


@dataclass(slots=True)
class _ServerSession:
    key: bytes
    window: ReplayWindow = field(default_factory=ReplayWindow)


class ServerSessions:
    """The node's sessions. Bounded: the least lately used goes first, and greetings never push out sessions in use."""

    def __init__(self) -> None:
        self._half_open: OrderedDict[bytes, _ServerSession] = OrderedDict()
        self._proven: OrderedDict[bytes, _ServerSession] = OrderedDict()

    def __len__(self) -> int:
        return len(self._half_open) + len(self._proven)

    def add(self, session_id: bytes, key: bytes) -> None:
        self._half_open[session_id] = _ServerSession(key)
        if len(self._half_open) > HALF_OPEN_SESSIONS_MAX:
            self._half_open.popitem(last=False)

    def find(self, seal: Seal) -> ExchangeKey:
        """Before the body is read: the session is known. Raises NotAuthentic."""
        session = self._proven.get(seal.session_id) or self._half_open.get(seal.session_id)
        if session is None:
            raise NotAuthentic(UNKNOWN_SESSION)
        return ExchangeKey(session.key, seal.counter)

    def admit(self, seal: Seal, method: str, path: str, body: bytes) -> ExchangeKey:
        """Check the MAC, then spend the counter. Raises NotAuthentic."""
        exchange = self.find(seal)
        if not hmac.compare_digest(seal.mac, exchange.request_mac(method, path, body)):
            raise NotAuthentic(BAD_SEAL)
        self._touch(seal.session_id).window.use(seal.counter)
        return exchange

    def _touch(self, session_id: bytes) -> _ServerSession:
        session = self._half_open.pop(session_id, None)
        if session is None:
            self._proven.move_to_end(session_id)
            return self._proven[session_id]
        self._proven[session_id] = session
        if len(self._proven) > SESSIONS_MAX:
            self._proven.popitem(last=False)
        return session
