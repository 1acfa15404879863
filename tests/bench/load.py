"""The load generator: signed S3 requests from several processes, each with some clients on keep-alive connections.

One process is one asyncio loop over plain sockets, lean enough to ask more than a server on the same two cores can
answer;
what it costs is the same for every server measured.
"""

import asyncio
import hashlib
import hmac
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import quote

EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()
_UNSIGNED: Final = "UNSIGNED-PAYLOAD"


@dataclass(frozen=True, slots=True)
class Load:
    """What one process does: `count` operations in all, by `clients` clients, on keys named by `prefix` and number."""

    host: str
    port: int
    access_key: str
    secret_key: str
    bucket: str
    operation: str  # PUT, GET, HEAD, DELETE of keys; LIST; BUCKET, which makes it
    prefix: str
    count: int
    clients: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Result:
    operations: int
    seconds: float
    latencies: list[float]


class Signer:
    """SigV4 with a signing key kept for the day."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._host = f"{load.host}:{load.port}"
        self._day = datetime.now(UTC).strftime("%Y%m%d")
        key = b"AWS4" + load.secret_key.encode()
        for word in (self._day, "us-east-1", "s3", "aws4_request"):
            key = hmac.new(key, word.encode(), hashlib.sha256).digest()
        self._key = key
        self._scope = f"{self._day}/us-east-1/s3/aws4_request"

    def request(self, method: str, path: str, query: str = "", body: bytes = b"") -> bytes:
        """The bytes to send. Bodies are not hashed into the signature, as SDKs do over TLS."""
        now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        payload = _UNSIGNED if body else EMPTY_SHA256
        names = "host;x-amz-content-sha256;x-amz-date"
        canonical = (
            f"{method}\n{path}\n{query}\nhost:{self._host}\nx-amz-content-sha256:{payload}\nx-amz-date:{now}\n\n"
            f"{names}\n{payload}"
        )
        digest = hashlib.sha256(canonical.encode()).hexdigest()
        signature = hmac.new(
            self._key, f"AWS4-HMAC-SHA256\n{now}\n{self._scope}\n{digest}".encode(), hashlib.sha256
        ).hexdigest()
        target = f"{path}?{query}" if query else path
        credential = f"Credential={self._load.access_key}/{self._scope}"
        lines = (
            f"{method} {target} HTTP/1.1",
            f"Host: {self._host}",
            f"x-amz-date: {now}",
            f"x-amz-content-sha256: {payload}",
            f"Authorization: AWS4-HMAC-SHA256 {credential}, SignedHeaders={names}, Signature={signature}",
            f"Content-Length: {len(body)}",
        )
        head = "\r\n".join(lines) + "\r\n\r\n"
        return head.encode() + body


class Connection:
    """One keep-alive connection."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, request: bytes, *, has_body: bool) -> int:
        """Send, read the whole answer, give its status."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._load.host, self._load.port, limit=1 << 20)
        reader, writer = self._streams
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head[9:12])
        lowered = head.lower()
        if has_body and status not in (204, 304):
            await self._read_body(reader, lowered)
        if b"connection: close" in lowered:
            await self.close()
        return status

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    @staticmethod
    async def _read_body(reader: asyncio.StreamReader, head: bytes) -> None:
        place = head.find(b"content-length:")
        if place >= 0:
            left = int(head[place + 15 : head.index(b"\r\n", place)])
            while left:
                left -= len(await reader.readexactly(min(left, 1 << 18)))
            return
        while size := int((await reader.readline()).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readline()


async def run(load: Load) -> Result:
    """All operations of this process. Raises RuntimeError for an answer that is no success."""
    signer, latencies = Signer(load), [0.0] * load.count
    make = _maker(load, signer)
    numbers = iter(range(load.count))

    async def client() -> None:
        connection = Connection(load)
        for number in numbers:
            began = time.perf_counter()
            status = await connection.exchange(make(number), has_body=load.operation != "HEAD")
            latencies[number] = time.perf_counter() - began
            if status >= 300:
                raise RuntimeError(f"{load.operation} number {number} was answered {status}")
        await connection.close()

    began = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(load.clients)))
    return Result(load.count, time.perf_counter() - began, latencies)


def _maker(load: Load, signer: Signer) -> Callable[[int], bytes]:
    bucket = f"/{load.bucket}"
    if load.operation == "LIST":
        query = f"list-type=2&max-keys=1000&prefix={quote(load.prefix, safe='')}"
        return lambda number: signer.request("GET", bucket, query)
    if load.operation == "BUCKET":
        return lambda number: signer.request("PUT", bucket)
    body = os.urandom(load.size_bytes) if load.operation == "PUT" else b""
    method = load.operation
    return lambda number: signer.request(method, f"{bucket}/{load.prefix}{number:07d}", "", body)


async def run_processes(loads: list[Load]) -> Result:
    """Run one process a load, at the same time. Operations a second are those of all over the longest process."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.load", json.dumps(asdict(load)), stdout=asyncio.subprocess.PIPE
        )
        for load in loads
    ]
    outputs = await asyncio.gather(*(process.communicate() for process in processes))
    if any(process.returncode for process in processes):
        raise RuntimeError("a load process failed")
    results = [Result(**json.loads(output)) for output, _ in outputs]
    return Result(
        sum(result.operations for result in results),
        max(result.seconds for result in results),
        [latency for result in results for latency in result.latencies],
    )


def quantile(latencies: list[float], share: float) -> float:
    """In milliseconds."""
    return statistics.quantiles(latencies, n=1000)[min(998, int(share * 1000) - 1)] * 1000


if __name__ == "__main__":
    print(json.dumps(asdict(asyncio.run(run(Load(**json.loads(sys.argv[1])))))))
