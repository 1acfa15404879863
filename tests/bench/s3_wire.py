"""Signed S3 requests over keep-alive connections, as lean as Python allows: load and server share the processors."""

import asyncio
import hashlib
import hmac
import re
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()
ANSWER_SECONDS_MAX: Final = 120.0
_UNSIGNED: Final = "UNSIGNED-PAYLOAD"
_ONE_WRITE_BYTES_MAX: Final = 1 << 16  # a longer body is sent on its own instead of being copied behind the head
_LENGTH: Final = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Signer:
    """SigV4 with a signing key kept for the day."""

    def __init__(self, host: str, port: int, access_key: str, secret_key: str) -> None:
        self._host = f"{host}:{port}"
        day = datetime.now(UTC).strftime("%Y%m%d")
        key = b"AWS4" + secret_key.encode()
        for word in (day, "us-east-1", "s3", "aws4_request"):
            key = hmac.digest(key, word.encode(), "sha256")
        self._key = key
        self._scope = f"{day}/us-east-1/s3/aws4_request"
        self._credential = f"{access_key}/{self._scope}"
        self._second = 0
        self._date = ""  # of that second, as it is sent

    def head(self, method: str, path: str, query: str = "", body_bytes: int = 0, *, content_md5: str = "") -> bytes:
        """The request up to its body. `query` is encoded and in order. Bodies are not hashed into the signature, as
        SDKs do over TLS. `content_md5`: in Base64, where one is asked for."""
        now = self._now()
        payload = _UNSIGNED if body_bytes else EMPTY_SHA256
        names = "host;x-amz-content-sha256;x-amz-date"
        canonical = (
            f"{method}\n{path}\n{query}\nhost:{self._host}\nx-amz-content-sha256:{payload}\nx-amz-date:{now}\n\n"
            f"{names}\n{payload}"
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        to_sign = f"AWS4-HMAC-SHA256\n{now}\n{self._scope}\n{digest}"
        signature = hmac.digest(self._key, to_sign.encode(), "sha256").hex()
        target = f"{path}?{query}" if query else path
        md5_header = f"Content-MD5: {content_md5}\r\n" if content_md5 else ""
        return (
            f"{method} {target} HTTP/1.1\r\nHost: {self._host}\r\nx-amz-date: {now}\r\n"
            f"x-amz-content-sha256: {payload}\r\nAuthorization: AWS4-HMAC-SHA256 Credential={self._credential}, "
            f"SignedHeaders={names}, Signature={signature}\r\n{md5_header}Content-Length: {body_bytes}\r\n\r\n"
        ).encode()

    def _now(self) -> str:
        second = int(time.time())
        if second != self._second:
            self._second, self._date = second, datetime.fromtimestamp(second, UTC).strftime("%Y%m%dT%H%M%SZ")
        return self._date


@dataclass(frozen=True, slots=True)
class Answer:
    """`body` is kept only when asked for; `body_bytes` is always its length. `first_byte` is a perf_counter time."""

    status: int
    head: bytes
    body: bytes
    body_bytes: int
    first_byte: float

    def header(self, name: bytes) -> str:
        """Raises KeyError when it is not there."""
        found = re.search(rb"\r\n" + name + rb": *([^\r]*)", self.head, re.IGNORECASE)
        if found is None:
            raise KeyError(name)
        return found[1].decode()


class AnswerReader:
    """One answer, fed as it arrives. `receive` gives it once it is whole."""

    def __init__(self, *, is_head_request: bool = False, keeps_body: bool = False) -> None:
        self._is_head_request, self._keeps_body = is_head_request, keeps_body
        self._head = b""
        self._first_byte = 0.0
        self._is_chunked = False
        self._wanted = 0  # bytes of the body still to come, or of the chunk
        self._body = bytearray()
        self._body_bytes = 0
        self._rest = b""  # of a chunked body: what is not understood yet

    def receive(self, data: bytes) -> Answer | None:
        if not self._first_byte:
            self._first_byte = time.perf_counter()
        if self._wanted or self._is_chunked:
            return self._receive_body(data)
        head, end, body = (self._rest + data).partition(b"\r\n\r\n")
        if not end:
            self._rest = head
            return None
        self._rest, self._head = b"", head
        self._is_chunked = b"transfer-encoding: chunked" in head.lower()
        length = _LENGTH.search(head)
        self._wanted = int(length[1]) if length else 0
        if self._is_head_request or self._status in (204, 304):
            self._wanted, self._is_chunked = 0, False
        return self._receive_body(body)

    @property
    def _status(self) -> int:
        return int(self._head[9:12])

    def _receive_body(self, data: bytes) -> Answer | None:
        if self._is_chunked:
            return self._receive_chunks(self._rest + data)
        self._take(data)
        self._wanted -= len(data)
        return None if self._wanted else self._answer()

    def _receive_chunks(self, data: bytes) -> Answer | None:
        while True:
            line, end, after = data.partition(b"\r\n")
            size = int(line.split(b";")[0], 16) if end else 0
            if not end or len(after) < size + 2:
                self._rest = data
                return None
            if size == 0:
                return self._answer()
            self._take(after[:size])
            data = after[size + 2 :]

    def _take(self, data: bytes) -> None:
        self._body_bytes += len(data)
        if self._keeps_body:
            self._body += data

    def _answer(self) -> Answer:
        return Answer(self._status, self._head, bytes(self._body), self._body_bytes, self._first_byte)


class Connection(asyncio.Protocol):
    """One keep-alive connection, made when it is needed and again after it was lost."""

    def __init__(self, host: str, port: int) -> None:
        self._address = (host, port)
        self._transport: asyncio.Transport | None = None
        self._reader: AnswerReader | None = None
        self._waiting: asyncio.Future[Answer] | None = None

    async def exchange(
        self, head: bytes, body: bytes = b"", *, is_head_request: bool = False, keeps_body: bool = False
    ) -> Answer:
        """Send, and give the whole answer. Raises ConnectionError, TimeoutError."""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(ANSWER_SECONDS_MAX):
            if self._transport is None:
                self._transport, _ = await loop.create_connection(lambda: self, *self._address)
            self._reader = AnswerReader(is_head_request=is_head_request, keeps_body=keeps_body)
            self._waiting = loop.create_future()
            if len(body) <= _ONE_WRITE_BYTES_MAX:
                self._transport.write(head + body)
            else:
                self._transport.write(head)
                self._transport.write(body)
            answer = await self._waiting
        if b"connection: close" in answer.head.lower():
            self.close()
        return answer

    def close(self) -> None:
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    def data_received(self, data: bytes) -> None:
        if self._reader is None or self._waiting is None or self._waiting.done():
            return
        answer = self._reader.receive(data)
        if answer is not None:
            self._waiting.set_result(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ConnectionError("the connection was lost"))
