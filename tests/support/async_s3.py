"""A lean S3 client for one event loop, so that a test can be many clients at little cost: one connection, no retries,
a clock of its own to sign with."""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote, urlsplit
from xml.sax.saxutils import escape

from tests.support.s3_client import Answer, NoAnswer, NotSent
from tests.support.server import ACCESS_KEY, REGION, SECRET_KEY

_UNSIGNED: Final = "UNSIGNED-PAYLOAD"
_HEAD_BYTES_MAX: Final = 1 << 20


class AsyncS3:
    """One request at a time. `now` gives seconds since 1970."""

    def __init__(self, url: str, *, timeout_seconds: float = 30.0, now: Callable[[], float] = time.time) -> None:
        parts = urlsplit(url)
        self._host, self._port = parts.hostname or "", parts.port or 80
        self._timeout_seconds, self._now = timeout_seconds, now
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def put(self, bucket: str, key: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
        return await self.send("PUT", path_of(bucket, key), body=body, headers=headers)

    async def get(self, bucket: str, key: str, *, headers: Mapping[str, str] | None = None) -> Answer:
        return await self.send("GET", path_of(bucket, key), headers=headers)

    async def delete(self, bucket: str, key: str) -> Answer:
        return await self.send("DELETE", path_of(bucket, key))

    async def delete_all(self, bucket: str, keys: Sequence[str]) -> Answer:
        """DeleteObjects. The answer names what was removed and what was not."""
        named = "".join(f"<Object><Key>{escape(key)}</Key></Object>" for key in keys)
        body = f"<Delete>{named}</Delete>".encode()
        claim = base64.b64encode(hashlib.md5(body).digest()).decode()
        return await self.send("POST", f"/{bucket}", query="delete=", body=body, headers={"content-md5": claim})

    async def list_page(self, bucket: str, *, limit: int = 1000, token: str = "", prefix: str = "") -> Answer:
        query = f"continuation-token={quote(token, safe='')}&" if token else ""
        query += f"list-type=2&max-keys={limit}&prefix={quote(prefix, safe='')}"
        return await self.send("GET", f"/{bucket}", query=query)

    async def send(
        self,
        method: str,
        path: str,
        *,
        query: str = "",
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """`path` and `query` as they stand; parameters of `query` in order of their names. Raises NoAnswer, NotSent."""
        head = self._head(method, path, query, headers or {}, len(body))
        try:
            async with asyncio.timeout(self._timeout_seconds):
                return await self._exchange(method, head + body)
        except (OSError, EOFError, asyncio.IncompleteReadError, TimeoutError, ValueError) as problem:
            await self.close()
            raise NoAnswer(repr(problem)) from None
        except asyncio.CancelledError:
            await self.close()
            raise

    def _head(self, method: str, path: str, query: str, headers: Mapping[str, str], size: int) -> bytes:
        now = datetime.fromtimestamp(self._now(), UTC)
        stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        signed = {
            "host": f"{self._host}:{self._port}",
            "x-amz-content-sha256": _UNSIGNED,
            "x-amz-date": stamp,
            **{name: value for name, value in headers.items() if name.startswith("x-amz-")},
        }
        names = ";".join(sorted(signed))
        lines = "".join(f"{name}:{signed[name]}\n" for name in sorted(signed))
        canonical = f"{method}\n{path}\n{query}\n{lines}\n{names}\n{_UNSIGNED}"
        scope = f"{day}/{REGION}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        signature = hmac.new(_key(day), text.encode(), hashlib.sha256).hexdigest()
        sent = {
            **headers,
            **signed,
            "content-length": str(size),
            "authorization": f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, "
            f"Signature={signature}",
        }
        target = f"{path}?{query}" if query else path
        fields = "".join(f"{name}: {value}\r\n" for name, value in sent.items())
        return f"{method} {target} HTTP/1.1\r\n{fields}\r\n".encode()

    async def _exchange(self, method: str, request: bytes) -> Answer:
        if self._streams is None:
            try:
                self._streams = await asyncio.open_connection(self._host, self._port, limit=_HEAD_BYTES_MAX)
            except OSError as problem:
                raise NotSent(repr(problem)) from None
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        status = int(head[9:12])
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])
        }
        body = b""
        if method != "HEAD" and status not in (204, 304):
            body = await _read_body(reader, headers)
        if headers.get("connection", "").lower() == "close":
            await self.close()
        return Answer(status, headers, body)


async def _read_body(reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
    if "content-length" in headers:
        return await reader.readexactly(int(headers["content-length"]))
    pieces = []
    while size := int((await reader.readline()).split(b";")[0], 16):
        pieces.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readline()
    return b"".join(pieces)


def _key(day: str) -> bytes:
    key = b"AWS4" + SECRET_KEY.encode()
    for word in (day, REGION, "s3", "aws4_request"):
        key = hmac.new(key, word.encode(), hashlib.sha256).digest()
    return key


def path_of(bucket: str, key: str) -> str:
    return f"/{bucket}/{quote(key, safe='/~')}"
