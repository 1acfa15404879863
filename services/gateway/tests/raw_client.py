"""A client that sends what SDKs refuse to send: signed by botocore's SigV4, spoken straight to the ASGI app."""

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final
from unittest import mock
from urllib.parse import quote, urlencode

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from lxml import etree
from pydantic import SecretStr
from services.gateway.tests.memory_layer import MemoryLayer

from liteio_base.clock import Clock
from liteio_gateway.app import build_app
from liteio_gateway.asgi import App, Message
from liteio_gateway.settings import GatewaySettings
from liteio_s3.credentials import RootCredentials

ACCESS_KEY: Final = "test-root"
SECRET_KEY: Final = "a-secret-of-the-tests"
REGION: Final = "us-east-1"
HOST: Final = "127.0.0.1:9000"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    received: int = 0  # messages that the app asked for
    is_complete: bool = True

    @property
    def code(self) -> str:
        """The `<Code>` of an error document."""
        return self.text("Code")

    def text(self, name: str) -> str:
        """The text of the first element of this name, "" without one."""
        found = self.texts(name)
        return found[0] if found else ""

    def texts(self, name: str) -> list[str]:
        root = etree.fromstring(self.body)
        return [element.text or "" for element in root.iter() if etree.QName(element).localname == name]


@dataclass
class RawClient:
    """Requests over the in-process app. `domain` makes virtual-host style; path style else."""

    app: App
    layer: MemoryLayer
    host: str = HOST
    access_key: str = ACCESS_KEY
    secret_key: str = SECRET_KEY
    region: str = REGION
    log: list[Mapping[str, object]] = field(default_factory=list)

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        pieces: Sequence[bytes] | None = None,
        payload: str | None = None,
        is_signed: bool = True,
        declares_length: bool = True,
        extra: Iterable[tuple[bytes, bytes]] = (),
        stalls: bool = False,
        hangs_up: bool = False,
        leaves_after: int | None = None,
    ) -> Answer:
        """`path` is sent as it stands, so it must be escaped. `pieces` cuts the body; `payload` is the
        x-amz-content-sha256, the body's hash by default; `extra` headers are added unsigned."""
        named = {"host": self.host, **{name.lower(): value for name, value in (headers or {}).items()}}
        sent = b"".join(pieces) if pieces is not None else body
        if declares_length and (sent or method in ("PUT", "POST")):
            named.setdefault("content-length", str(len(sent)))
        if is_signed:
            named["x-amz-content-sha256"] = payload or hashlib.sha256(sent).hexdigest()
            named = self.sign(method, path, query, named)
        raw = [(name.lower().encode(), value.encode()) for name, value in named.items()]
        return await self.speak(
            method,
            path.encode("latin-1"),
            query.encode(),
            [*raw, *extra],
            pieces if pieces is not None else [body],
            stalls=stalls,
            hangs_up=hangs_up,
            leaves_after=leaves_after,
        )

    def sign(self, method: str, path: str, query: str, headers: dict[str, str]) -> dict[str, str]:
        url = f"http://{headers['host']}{path}" + (f"?{query}" if query else "")
        signed = {name: value for name, value in headers.items() if name != "content-length"}
        request = AWSRequest(method=method, url=url, headers=signed)
        request.context["payload_signing_enabled"] = True
        signer = _Signer(Credentials(self.access_key, self.secret_key), "s3", self.region)
        with _moment(self.layer.clock):
            signer.add_auth(request)
        return {**{name.lower(): value for name, value in request.headers.items()}, **_length(headers)}

    def presign(
        self,
        method: str,
        path: str,
        *,
        seconds: int = 600,
        query: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """The query string of a presigned URL for `path`."""
        url = f"http://{self.host}{path}" + (f"?{urlencode(query, quote_via=quote)}" if query else "")
        request = AWSRequest(method=method, url=url, headers={"host": self.host, **(headers or {})})
        signer = botocore.auth.S3SigV4QueryAuth(
            Credentials(self.access_key, self.secret_key), "s3", self.region, expires=seconds
        )
        with _moment(self.layer.clock):
            signer.add_auth(request)
        return str(request.url.partition("?")[2])

    def presign_v2(
        self,
        method: str,
        path: str,
        *,
        seconds: int = 600,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        bucket: str = "",
    ) -> str:
        """The same of version 2. `bucket`: of a virtual-hosted `host`, which the signature covers in the path."""
        url = f"http://{self.host}{path}" + (f"?{query}" if query else "")
        auth_path = f"/{bucket}{path}" if bucket else path
        request = AWSRequest(method=method, url=url, headers=dict(headers or {}), auth_path=auth_path)
        signer = botocore.auth.HmacV1QueryAuth(Credentials(self.access_key, self.secret_key), expires=seconds)
        with mock.patch("botocore.auth.time.time", return_value=self.layer.clock.now_ns() / 1e9):
            signer.add_auth(request)
        return str(request.url.partition("?")[2])

    async def speak(
        self,
        method: str,
        raw_path: bytes,
        query: bytes,
        headers: list[tuple[bytes, bytes]],
        pieces: Sequence[bytes] = (b"",),
        *,
        stalls: bool = False,
        hangs_up: bool = False,
        leaves_after: int | None = None,
        scheme: str = "http",
    ) -> Answer:
        """One ASGI exchange. `stalls`: the client goes silent after the pieces; `hangs_up`: it disconnects there.
        `leaves_after`: it disconnects after so many messages of the answer."""
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": method,
            "scheme": scheme,
            "path": "/never-used",
            "raw_path": raw_path,
            "query_string": query,
            "headers": headers,
            "client": ("127.0.0.2", 50000),
            "server": ("127.0.0.1", 9000),
        }
        left = list(pieces)
        answer = Answer(0, {}, b"", is_complete=False)
        has_left = asyncio.Event()
        sent = 0
        if hangs_up:
            has_left.set()

        async def receive() -> Message:
            answer.received += 1
            if left:
                piece = left.pop(0)
                return {"type": "http.request", "body": piece, "more_body": bool(left) or stalls or hangs_up}
            await has_left.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            nonlocal sent
            sent += 1
            if message["type"] == "http.response.start":
                answer.status = message["status"]
                answer.headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in message["headers"]}
            else:
                answer.body += message.get("body", b"")
                answer.is_complete = not message.get("more_body", False)
            if leaves_after is not None and sent >= leaves_after:
                has_left.set()
            await asyncio.sleep(0)

        await self.app(scope, receive, send)
        return answer


class _Signer(botocore.auth.S3SigV4Auth):  # type: ignore[misc]  # botocore carries no types
    """Takes the payload hash as given, and signs every header."""

    def payload(self, request: AWSRequest) -> str:
        return str(request.headers["x-amz-content-sha256"])

    def _should_sha256_sign_payload(self, request: AWSRequest) -> bool:
        return True

    def _modify_request_before_signing(self, request: AWSRequest) -> None:
        given = request.headers["x-amz-content-sha256"]
        super()._modify_request_before_signing(request)
        del request.headers["x-amz-content-sha256"]
        request.headers["x-amz-content-sha256"] = given


@contextmanager
def _moment(clock: Clock) -> Any:
    now = datetime.fromtimestamp(clock.now_ns() / 1e9, UTC)
    with mock.patch("botocore.auth.get_current_datetime", return_value=now):
        yield


def _length(headers: Mapping[str, str]) -> dict[str, str]:
    return {"content-length": headers["content-length"]} if "content-length" in headers else {}


def make_client(layer: MemoryLayer | None = None, *, clock: Clock | None = None, **settings: Any) -> RawClient:
    """A client with a fresh app over `layer`."""
    layer = layer or MemoryLayer(clock)
    chosen = GatewaySettings(access_key=ACCESS_KEY, secret_key=SecretStr(SECRET_KEY), **settings)
    log: list[Mapping[str, object]] = []
    app = build_app(layer, chosen, RootCredentials(ACCESS_KEY, SECRET_KEY), clock or layer.clock, log_sink=log.append)
    return RawClient(app, layer, log=log)


def md5_header(body: bytes) -> dict[str, str]:
    return {"content-md5": base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()}


async def pieces_of(body: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(body), size):
        yield body[start : start + size]
