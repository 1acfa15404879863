"""`NodeClient`: one node as an HTTP/2 client sees it. Greets, seals, and knows whether the node is there.

Up or down: a node that refuses a connection, or the greeting, is *down*. Calls then fail at once instead of waiting for
a connect time-out each, while one task greets it again now and then until it answers.
"""

import asyncio
import logging
import socket
from collections.abc import AsyncIterable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from urllib.parse import urlsplit

import msgspec
from pyreqwest.client import Client, ClientBuilder
from pyreqwest.exceptions import ConnectTimeoutError, DetailedPyreqwestError, PyreqwestError, RequestTimeoutError

from liteio_base.clock import Clock, Randomness
from liteio_contracts.storage_errors import DriveOffline, DriveTimeout, DriveUnavailable, StorageError
from liteio_drives.remote.answer_stream import AnswerStream
from liteio_drives.remote.frames import FrameError
from liteio_drives.remote.limits import (
    CONNECT_SECONDS,
    CONNECTION_WINDOW_BYTES,
    HTTP_FRAME_BYTES,
    HTTP_HEADERS_BYTES_MAX,
    NONCE_BYTES,
    PING_EVERY_SECONDS,
    PING_PATIENCE_SECONDS,
    PROTOCOL_VERSION,
    STREAM_WINDOW_BYTES,
)
from liteio_drives.remote.messages import SESSION_PATH, UNREADABLE
from liteio_drives.remote.sealing import (
    ClientSession,
    ExchangeKey,
    Hello,
    NotAuthentic,
    Welcome,
    check_welcome,
    cluster_key,
    hello_header,
    session_key,
)

log: Final = logging.getLogger("liteio.drives.remote")
_GREET_SECONDS: Final = CONNECT_SECONDS + 3.0
_PROBE_SECONDS_MIN: Final = 0.2
_PROBE_SECONDS_MAX: Final = 2.0
_NOBODY_THERE: Final = frozenset(("client error (Connect)", "keep-alive timed out"))
TROUBLE: Final = (PyreqwestError, FrameError, NotAuthentic, *UNREADABLE)  # whatever an exchange can end in


@dataclass(frozen=True, slots=True)
class NodeTLS:
    """PEM texts. `identity`: this client's key and certificate chain, one behind the other, for mutual TLS.
    `server_name`: the name that the nodes' certificates bear, where it is not the one in their URLs."""

    authority: bytes
    identity: bytes | None = None
    server_name: str = ""


class NodeClient:
    """Exchanges with one node. Close it when done."""

    def __init__(
        self, url: str, secret: bytes, clock: Clock, randomness: Randomness, *, tls: NodeTLS | None = None
    ) -> None:
        """`url`: "http://host:port", or "https://host:port" with `tls`. Raises WeakSecret."""
        self._url = url.rstrip("/")
        self._key = cluster_key(secret)
        self._clock, self._randomness = clock, randomness
        self._tls = tls
        self._base, self._client, self._address = self._url, build_client(tls), ""
        self._session: ClientSession | None = None
        self._greeting: asyncio.Task[ClientSession] | None = None
        self._probing: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def url(self) -> str:
        return self._url

    @property
    def is_down(self) -> bool:
        """True while the node was not there when last looked for."""
        return self._probing is not None

    async def close(self) -> None:
        self._is_closed = True
        tasks = [task for task in (self._greeting, self._probing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    async def seal(self, path: str, body: bytes) -> tuple[str, ExchangeKey]:
        """The authorization header of a POST, under a session that is opened when there is none. Raises
        DriveOffline."""
        session = self._session or await self._open_session()
        return session.seal("POST", path, body)

    async def exchange(self, path: str, body: bytes, seconds: float = 0.0) -> AnswerStream:
        """POST a whole body. The answer is to be closed; `seconds` bounds it, 0 leaves that to the reader. Raises
        TROUBLE, DriveOffline."""
        header, key = await self.seal(path, body)
        request = self._client.post(self._base + path).header("authorization", header).body_bytes(body)
        if seconds:
            request = request.timeout(timedelta(seconds=seconds))
        return await AnswerStream.open(request.streamed_read_buffer_limit(1).build_streamed(), key)

    async def stream(self, path: str, head: bytes, body: AsyncIterable[bytes]) -> tuple[AnswerStream, ExchangeKey]:
        """POST a body that is made while it is sent; `head`, its first frame's payload, is what the seal covers."""
        header, key = await self.seal(path, head)
        request = self._client.post(self._base + path).header("authorization", header).body_stream(body)
        return await AnswerStream.open(request.streamed_read_buffer_limit(1).build_streamed(), key), key

    # -- trouble

    def judge(self, trouble: Exception) -> StorageError:
        """What an exchange's failure means for the drives behind it; also draws the conclusions for this client."""
        if _is_unreachable(trouble):
            self._mark_down()
            return DriveOffline("the node can not be reached", node=self._url)
        if isinstance(trouble, ConnectTimeoutError):
            return DriveOffline("the connection to the node broke", node=self._url)
        if isinstance(trouble, RequestTimeoutError):
            return DriveTimeout("the node did not answer in time", node=self._url)
        if isinstance(trouble, NotAuthentic):
            self._session = None
            return DriveOffline("the node refused the request", node=self._url, reason=trouble.reason)
        if isinstance(trouble, PyreqwestError):
            return DriveOffline("the connection to the node broke", node=self._url)
        return DriveUnavailable("the node's answer can not be read", node=self._url)

    def forget_session(self) -> None:
        """The node does not know it (any more): the next request greets again."""
        self._session = None

    # -- sessions

    async def _open_session(self) -> ClientSession:
        if self._probing is not None or self._is_closed:
            raise DriveOffline("the node can not be reached", node=self._url)
        if self._greeting is None:
            self._greeting = asyncio.create_task(self._greet_once())
            self._greeting.add_done_callback(_retrieve)
        return await asyncio.shield(self._greeting)

    async def _greet_once(self) -> ClientSession:
        try:
            self._session = await self._greet()
        except TROUBLE as trouble:
            self._mark_down()
            reason = trouble.reason if isinstance(trouble, NotAuthentic) else type(trouble).__name__
            raise DriveOffline("the node did not welcome us", node=self._url, reason=reason) from trouble
        finally:
            self._greeting = None
        return self._session

    async def _greet(self) -> ClientSession:
        if self._tls is not None and self._tls.server_name:
            await self._dial_by_name(self._tls, self._tls.server_name)
        hello = Hello(PROTOCOL_VERSION, self._randomness.token_bytes(NONCE_BYTES))
        body = msgspec.msgpack.encode(hello)
        header = hello_header(self._key, "POST", SESSION_PATH, body)
        request = self._client.post(self._base + SESSION_PATH).header("authorization", header).body_bytes(body)
        response = await request.timeout(timedelta(seconds=_GREET_SECONDS)).build().send()
        if response.status != 200:
            raise NotAuthentic(f"status-{response.status}")
        welcome = msgspec.msgpack.decode(memoryview(await response.bytes()), type=Welcome)
        check_welcome(self._key, hello, welcome)
        return ClientSession(welcome.session_id, session_key(self._key, hello.nonce, welcome.nonce))

    async def _dial_by_name(self, tls: NodeTLS, server_name: str) -> None:
        """Connect to the host's present address and ask for `server_name`. The host is looked up at each greeting: it
        may have moved while it was away."""
        parts = urlsplit(self._url)
        port = parts.port or 443
        try:
            found = await asyncio.get_running_loop().getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
        except OSError as trouble:
            raise NotAuthentic(f"its name is not known: {trouble.strerror}") from trouble
        address = str(found[0][4][0])
        if address == self._address:
            return
        before = self._client
        self._base, self._address = f"https://{server_name}:{port}", address
        self._client = build_client(tls, (server_name, address, port))
        await before.close()

    def _mark_down(self) -> None:
        self._session = None
        if self._probing is None and not self._is_closed:
            log.warning("node %s is down", self._url)
            self._probing = asyncio.create_task(self._probe())

    async def _probe(self) -> None:
        pause = _PROBE_SECONDS_MIN
        try:
            while True:
                await self._clock.sleep(self._randomness.uniform(pause / 2, pause))
                pause = min(2 * pause, _PROBE_SECONDS_MAX)
                try:
                    self._session = await self._greet()
                except TROUBLE:
                    continue
                log.info("node %s is back", self._url)
                return
        finally:
            self._probing = None


def build_client(tls: NodeTLS | None, known_host: tuple[str, str, int] | None = None) -> Client:
    """HTTP/2 only, with the windows both sides use. Proxies and redirects have no place between our own machines.
    `known_host`: a name, and the address and port that stand for it."""
    builder = (
        ClientBuilder()
        .http2_prior_knowledge()
        .http2_initial_stream_window_size(STREAM_WINDOW_BYTES)
        .http2_initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_max_frame_size(HTTP_FRAME_BYTES)
        .http2_max_header_list_size(HTTP_HEADERS_BYTES_MAX)
        .http2_keep_alive_interval(timedelta(seconds=PING_EVERY_SECONDS))
        .http2_keep_alive_timeout(timedelta(seconds=PING_PATIENCE_SECONDS))
        .http2_keep_alive_while_idle(True)
        .connect_timeout(timedelta(seconds=CONNECT_SECONDS))
        .tcp_nodelay(True)
        .no_proxy()
        .follow_redirects(False)
        .referer(False)
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
        .user_agent("liteio")
    )
    if tls is not None:
        builder = builder.https_only(True).add_root_certificate_pem(tls.authority)
        if tls.identity is not None:
            builder = builder.identity_pem(tls.identity)
    if known_host is not None:
        builder = builder.resolve(*known_host)
    return builder.build()


def _is_unreachable(trouble: Exception) -> bool:
    """Whether there is nobody at the other end. The class does not tell: pyreqwest 0.15 says ConnectError also when an
    open connection is reset under a request, which may have arrived. Its causes do; were their wording to change, a
    node that is gone would only be noticed later.
    """
    if not isinstance(trouble, DetailedPyreqwestError):
        return False
    return any(cause["message"] in _NOBODY_THERE for cause in trouble.details["causes"] or ())


def _retrieve(task: asyncio.Task[ClientSession]) -> None:
    """A greeting that nobody waits for any more may fail unheard."""
    if not task.cancelled():
        task.exception()
