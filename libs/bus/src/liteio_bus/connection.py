"""`Bus`: one process's connection to NATS. It comes and goes; nobody waits for it unless they say so.

Connecting, and connecting again, goes on in the background for ever. What is published while the bus is away is
refused at once (BusUnavailable) instead of being held: whoever publishes keeps what matters in a place that survives
(the drives' outboxes) and drops what does not.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Self

import nats.errors
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js import JetStreamContext
from nats.js.errors import APIError, NoStreamResponseError

from liteio_base.limits import MIB
from liteio_bus.streams import ensure_streams

_log = logging.getLogger(__name__)

_RECONNECT_SECONDS: Final = 1
_PING_SECONDS: Final = 20  # a peer that is gone without a word is noticed after two pings
_PENDING_BYTES_MAX: Final = 2 * MIB
_CLOSE_SECONDS: Final = 3.0
_ACK_SECONDS: Final = 5.0
_STREAM_RETRY_SECONDS: Final = 2.0


class BusUnavailable(Exception):
    """The message was not acknowledged: the bus is away, or full, or its streams are. It may have arrived."""


class Bus:
    """Use as an async context manager; entering does not wait for the connection."""

    def __init__(self, url: str, *, name: str, stream_replicas: int = 1) -> None:
        """`url`: nats://[user:password@]host:port, or several with commas. `name` shows in the server's lists."""
        self._urls = url.split(",")
        self._name, self._replicas = name, stream_replicas
        self._client = Client()
        self._jetstream: JetStreamContext = self._client.jetstream(timeout=_ACK_SECONDS)
        self._is_connected, self._has_streams = asyncio.Event(), asyncio.Event()
        self._connecting: asyncio.Task[None] | None = None
        self._has_begun = False

    async def __aenter__(self) -> Self:
        self._connecting = asyncio.create_task(self._connect(), name="bus connection")
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.gather(self._connecting, return_exceptions=True)
        if not self._has_begun:  # nats-py closes only what it has begun to connect
            return
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._client.close()
        except TimeoutError:
            _log.debug("the bus did not take leave in time")

    @property
    def is_ready(self) -> bool:
        """Connected, and the streams were there when last looked at."""
        return self._client.is_connected and self._has_streams.is_set()

    async def wait_until_ready(self) -> None:
        """Wait for the first connection and the streams. Bound it with asyncio.timeout."""
        await self._has_streams.wait()

    async def wait_until_connected(self) -> None:
        """Wait for the first connection, with or without streams."""
        await self._is_connected.wait()

    @property
    def client(self) -> Client:
        """The connection itself, for micro services; only after `wait_until_connected`."""
        return self._client

    @property
    def jetstream(self) -> JetStreamContext:
        """For consumers; only after `wait_until_ready`."""
        return self._jetstream

    async def announce(self, subject: str, payload: bytes) -> None:
        """Tell whoever listens now. Lost without a word while the bus is away: listeners revalidate on their own."""
        if self._client.is_connected:
            try:
                await self._client.publish(subject, payload)
            except nats.errors.Error as problem:
                _log.debug("not announced: %s", problem)

    async def publish(self, subject: str, payload: bytes, *, headers: Mapping[str, str] | None = None) -> bool:
        """Put into a stream and wait until it is kept there. False when the stream already holds one of this
        message id. Raises BusUnavailable. Call many at once: they share round trips."""
        if not self.is_ready:
            raise BusUnavailable("not connected")
        try:
            # Not publish_async: in nats-py 2.16 an error answer never reaches its future, which then waits for ever.
            ack = await self._jetstream.publish(subject, payload, headers=dict(headers) if headers else None)
        except APIError as refusal:
            raise BusUnavailable(str(refusal)) from refusal
        except NoStreamResponseError as problem:  # the server lost its files, or another one answers
            self._has_streams.clear()
            self._connecting = self._connecting or asyncio.create_task(self._make_streams())
            raise BusUnavailable("the streams are gone, making them again") from problem
        except (nats.errors.Error, TimeoutError, OSError) as problem:
            raise BusUnavailable(str(problem) or type(problem).__name__) from problem
        return not ack.duplicate

    async def subscribe(self, subject: str, handler: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Call `handler` for each message announced from now on; outlives reconnections. Raises BusUnavailable."""
        try:
            return await self._client.subscribe(subject, cb=handler)
        except nats.errors.Error as problem:
            raise BusUnavailable(str(problem)) from problem

    async def _connect(self) -> None:
        self._has_begun = True
        await self._client.connect(
            servers=self._urls,
            name=self._name,
            max_reconnect_attempts=-1,
            reconnect_time_wait=_RECONNECT_SECONDS,
            ping_interval=_PING_SECONDS,
            pending_size=_PENDING_BYTES_MAX,
            error_cb=_on_error,
            disconnected_cb=_on_disconnect,
            reconnected_cb=_on_reconnect,
        )
        self._is_connected.set()
        await self._make_streams()

    async def _make_streams(self) -> None:
        """Until it works: the server may have JetStream switched off for now, or no room."""
        while True:
            try:
                await ensure_streams(self._jetstream, replicas=self._replicas)
            except (nats.errors.Error, TimeoutError) as problem:
                _log.warning("the bus's streams can not be made, will try again: %s", problem)
                await asyncio.sleep(_STREAM_RETRY_SECONDS)
                continue
            self._has_streams.set()
            self._connecting = None
            return


async def _on_error(problem: Exception) -> None:
    _log.debug("bus: %s", problem or type(problem).__name__)  # each failed attempt; what matters is logged below


async def _on_disconnect() -> None:
    _log.warning("the bus is away; events and heal tasks wait")


async def _on_reconnect() -> None:
    _log.info("the bus is back")
