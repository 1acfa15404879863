"""A node as somebody sees it who sends what the real client would not."""

from collections.abc import Sequence
from datetime import timedelta

import msgspec
from live_node import SECRET
from pyreqwest.client import Client
from pyreqwest.response import Response

from liteio_drives.remote.limits import PROTOCOL_VERSION
from liteio_drives.remote.messages import SESSION_PATH
from liteio_drives.remote.sealing import ClientSession, Hello, Welcome, cluster_key, hello_header, session_key

KEY = cluster_key(SECRET)
CLIENT_NONCE = bytes(range(16))


class RawNode:
    def __init__(self, client: Client, port: int) -> None:
        self.client, self.url = client, f"http://127.0.0.1:{port}"

    async def ask(self, method: str, path: str, seals: Sequence[str], body: bytes) -> Response:
        """With an authorization header for each of `seals`."""
        request = self.client.request(method, self.url + path).body_bytes(body).timeout(timedelta(seconds=5))
        for seal in seals:
            request = request.header("authorization", seal)
        return await request.build().send()

    async def send(self, method: str, path: str, authorization: str | None, body: bytes) -> int:
        """The status."""
        return (await self.ask(method, path, [] if authorization is None else [authorization], body)).status

    async def greet(self) -> ClientSession:
        hello = Hello(PROTOCOL_VERSION, CLIENT_NONCE)
        body = msgspec.msgpack.encode(hello)
        response = await self.ask("POST", SESSION_PATH, [hello_header(KEY, "POST", SESSION_PATH, body)], body)
        welcome = msgspec.msgpack.decode(bytes(await response.bytes()), type=Welcome)
        return ClientSession(welcome.session_id, session_key(KEY, hello.nonce, welcome.nonce))
