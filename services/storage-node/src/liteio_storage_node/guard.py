"""The guard of every route but the life sign: nothing is looked at before its seal is checked.

`Sealed` is for routes whose body is read whole and sealed whole. `SealedStream` is for those whose body goes on after a
sealed first frame; what follows must end in a sealed marker, which the handler checks.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

from liteio_drives.remote.answer_stream import REASON_HEADER
from liteio_drives.remote.frames import Frame, FrameDecoder, FrameError, FrameKind
from liteio_drives.remote.limits import UNPROVED_REQUEST_BYTES
from liteio_drives.remote.messages import UNREADABLE
from liteio_drives.remote.sealing import BAD_SEAL, ExchangeKey, NotAuthentic, Seal, ServerSessions, parse_seal
from liteio_storage_node.asgi import (
    ClientGone,
    Receive,
    Scope,
    Send,
    TooLarge,
    TooMany,
    Unproved,
    answer,
    read_body,
    read_chunk,
)
from liteio_storage_node.errors import log
from liteio_storage_node.peers import Peers

_REASON: Final = REASON_HEADER.encode()


@dataclass(frozen=True, slots=True)
class SealedRequest:
    """A request that is proved: its body, and the key that seals the answer."""

    body: bytes
    key: ExchangeKey
    send: Send


@dataclass(slots=True)
class SealedUpload:
    """A request whose first frame is proved. `frames` goes on behind it."""

    head: bytes
    key: ExchangeKey
    send: Send
    _receive: Receive
    _decoder: FrameDecoder
    _early: list[Frame]
    _has_more: bool

    async def frames(self) -> list[Frame]:
        """The frames that came next; none when the body has ended. Raises FrameError, ClientGone."""
        if self._early:
            early, self._early = self._early, []
            return early
        while self._has_more:
            chunk, self._has_more = await read_chunk(self._receive)
            if found := self._decoder.receive(chunk):
                return found
        return []


def authorization_of(scope: Scope) -> str:
    """Raises NotAuthentic when the header is missing or there are two."""
    found = [value for name, value in scope["headers"] if name == b"authorization"]
    if len(found) != 1:
        raise NotAuthentic(BAD_SEAL)
    return str(found[0], "latin-1")


async def refuse(send: Send, problem: Exception) -> None:
    """401 with a word that tells whether sending again helps, 413, 503, or 400; never a detail."""
    if isinstance(problem, NotAuthentic):
        await answer(send, 401, [(_REASON, problem.reason.encode())])
    elif isinstance(problem, TooMany):
        await answer(send, 503)
    else:
        await answer(send, 413 if isinstance(problem, TooLarge) else 400)


@dataclass(frozen=True, slots=True)
class Guard:
    """What all guarded routes of a node share."""

    sessions: ServerSessions
    peers: Peers
    unproved: Unproved = field(default_factory=Unproved)

    def admit(self, seal: Seal, scope: Scope, body: bytes) -> ExchangeKey:
        """Check the seal over what is there, and spend its counter. Raises NotAuthentic."""
        key = self.sessions.admit(seal, scope["method"], scope["path"], body)
        self.peers.prove(scope.get("client"))
        return key


MALFORMED: Final = (*UNREADABLE, FrameError, TooLarge, TooMany)


@dataclass(frozen=True, slots=True)
class Sealed:
    """ASGI app around a handler of whole requests."""

    guard: Guard
    handler: Callable[[SealedRequest], Awaitable[None]]
    limit_bytes: int

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await guarded(self._serve(scope, receive, send), send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        seal = parse_seal(authorization_of(scope))
        self.guard.sessions.find(seal)  # A stranger's body is not read.
        body = await read_body(receive, self.limit_bytes, self.guard.unproved)
        key = self.guard.admit(seal, scope, body)
        await self.handler(SealedRequest(body, key, send))


@dataclass(frozen=True, slots=True)
class SealedStream:
    """ASGI app around a handler of uploads."""

    guard: Guard
    handler: Callable[[SealedUpload], Awaitable[None]]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await guarded(self._serve(scope, receive, send), send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        seal = parse_seal(authorization_of(scope))
        self.guard.sessions.find(seal)
        decoder = FrameDecoder(first=FrameKind.OPEN)  # Nothing is proved yet: only a small frame is taken.
        frames: list[Frame] = []
        has_more = True
        held_bytes = self.guard.unproved.take(UNPROVED_REQUEST_BYTES)
        try:
            while has_more and not frames:
                chunk, has_more = await read_chunk(receive)
                frames = decoder.receive(chunk)
        finally:
            self.guard.unproved.give_back(held_bytes)
        if not frames:
            raise FrameError("a write stream begins with its head")
        head = frames[0].payload
        key = self.guard.admit(seal, scope, head)
        await self.handler(SealedUpload(head, key, send, receive, decoder, frames[1:], has_more))


async def guarded(serving: Awaitable[None], send: Send) -> None:
    """Refuse what is not sound. Once an answer has begun there is nothing to say any more: the stream just ends."""
    try:
        await serving
    except (NotAuthentic, *MALFORMED) as problem:
        await refuse(send, problem)
    except ClientGone:
        pass
    except Exception:
        log.exception("a request failed in an unexpected way")
        raise
