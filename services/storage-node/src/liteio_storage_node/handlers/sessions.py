"""POST /v1/session: both sides prove the cluster secret to each other and add something fresh."""

from dataclasses import dataclass

import msgspec

from liteio_base.clock import Randomness
from liteio_drives.remote.limits import HELLO_BYTES_MAX, NONCE_BYTES, PROTOCOL_VERSION
from liteio_drives.remote.sealing import (
    BAD_SEAL,
    NotAuthentic,
    check_hello,
    session_key,
    welcome_to,
)
from liteio_storage_node.asgi import Receive, Scope, Send, TooLarge, answer, read_body
from liteio_storage_node.guard import Guard, authorization_of, guarded


@dataclass(frozen=True, slots=True)
class SessionHandler:
    """ASGI app. Its seal is by the cluster key itself, there being no session yet."""

    guard: Guard
    key: bytes
    randomness: Randomness

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await guarded(self._serve(scope, receive, send), send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        header = authorization_of(scope)
        try:
            body = await read_body(receive, HELLO_BYTES_MAX, self.guard.unproved)
        except TooLarge:
            raise NotAuthentic(BAD_SEAL) from None  # No greeting is this long, so no seal of one can be right.
        hello = check_hello(self.key, header, scope["method"], scope["path"], body)
        if hello.version != PROTOCOL_VERSION:
            raise msgspec.ValidationError("another version of the drive protocol")
        session_id, nonce = self.randomness.token_bytes(NONCE_BYTES), self.randomness.token_bytes(NONCE_BYTES)
        self.guard.sessions.add(session_id, session_key(self.key, hello.nonce, nonce))
        await answer(send, 200, body=msgspec.msgpack.encode(welcome_to(self.key, hello, session_id, nonce)))
