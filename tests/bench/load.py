"""The load generator: signed S3 requests from several processes, each with some clients on keep-alive connections.

One process is one event loop. What it costs is the same for every server measured.
"""

import asyncio
import base64
import hashlib
import json
import os
import random
import re
import sys
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass, field
from html import unescape
from typing import Final
from urllib.parse import quote

import uvloop
from tests.bench.s3_wire import Answer, Connection, Signer

PAGE_KEYS: Final = 1000
PART_BYTES: Final = 8 << 20
_KINDS: Final = ("GET",) * 9 + ("HEAD",) * 6 + ("PUT",) * 3 + ("DELETE",) * 2
MIXED: Final = tuple(kind for block in range(50) for kind in random.Random(block).sample(_KINDS, len(_KINDS)))
"""As MinIO's warp mixes them: 45 % GET, 30 % STAT, 15 % PUT, 10 % DELETE; the same sequence for every server."""

DELETED_TOGETHER: Final = 100
"""Keys of one request, as `warp delete` has them unless told otherwise."""

_PAUSE_SECONDS: Final = 0.05  # after an error, so that a server that is down is not hammered
_OVERTIME_SECONDS: Final = 300.0  # until load processes that should have ended are killed
_TOKEN: Final = re.compile(rb"<NextContinuationToken>([^<]+)<")
_UPLOAD_ID: Final = re.compile(rb"<UploadId>([^<]+)<")
_VERSIONING: Final = (
    b'<VersioningConfiguration xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Status>Enabled</Status>'
    b"</VersioningConfiguration>"
)


@dataclass(frozen=True, slots=True)
class Load:
    """What one process does: `count` operations in all, by `clients` clients, on keys named by `prefix` and number.

    `seconds`: after so long no operation is begun; 0 leaves it to `count`. `keys`: operation n is on key n modulo
    `keys`; 0 gives each a key of its own.
    """

    host: str
    port: int
    access_key: str
    secret_key: str
    bucket: str
    operation: str  # a method's name of Client, in capitals
    prefix: str
    count: int
    clients: int
    size_bytes: int
    seconds: float = 0.0
    keys: int = 0


@dataclass(frozen=True, slots=True)
class Result:
    """`latencies` and `first_bytes` are seconds from an operation's begin, of those that went well. `errors` counts the
    others by what came instead. `attempts` were begun: keys 0 to `attempts` - 1 were asked for. `cpu_seconds` is the
    load's own processor time."""

    attempts: int
    seconds: float
    latencies: list[float]
    first_bytes: list[float]
    errors: dict[str, int] = field(default_factory=dict)
    cpu_seconds: float = 0.0

    @property
    def operations(self) -> int:
        return len(self.latencies)


class Unexpected(Exception):
    """An answer that is no success, or not the one that was asked for."""


class Client:
    """One connection's operations: each takes its number and gives the time at which the first byte came."""

    def __init__(self, load: Load, signer: Signer, body: bytes, own: deque[str]) -> None:
        self._load, self._signer, self._body, self._own = load, signer, body, own
        self._connection = Connection(load.host, load.port)
        self._token = ""
        self._bucket = f"/{load.bucket}"
        self._run = f"{time.time_ns():x}"

    def close(self) -> None:
        self._connection.close()

    async def bucket(self, number: int) -> float:
        return (await self._send("PUT", self._bucket)).first_byte

    async def versioning(self, number: int) -> float:
        return (await self._send("PUT", self._bucket, "versioning=", _VERSIONING)).first_byte

    async def put(self, number: int) -> float:
        return (await self._send("PUT", self._path(number), body=self._body)).first_byte

    async def put_version(self, number: int) -> float:
        """One more version of the one key `prefix`."""
        return (await self._send("PUT", f"{self._bucket}/{self._load.prefix}", body=self._body)).first_byte

    async def get(self, number: int) -> float:
        answer = await self._send("GET", self._path(number))
        if answer.body_bytes != self._load.size_bytes:
            raise Unexpected(f"GET gave {answer.body_bytes} bytes")
        return answer.first_byte

    async def head(self, number: int) -> float:
        return (await self._send("HEAD", self._path(number))).first_byte

    async def delete(self, number: int) -> float:
        return (await self._send("DELETE", self._path(number))).first_byte

    async def delete_many(self, number: int) -> float:
        """The next DELETED_TOGETHER keys in one request."""
        keys = range(number * DELETED_TOGETHER, (number + 1) * DELETED_TOGETHER)
        named = "".join(f"<Object><Key>{self._load.prefix}{key:07d}</Key></Object>" for key in keys)
        body = f"<Delete><Quiet>true</Quiet>{named}</Delete>".encode()
        md5 = base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode()
        answer = await self._send("POST", self._bucket, "delete=", body, keeps_body=True, content_md5=md5)
        if b"<Error>" in answer.body:
            raise Unexpected("a key was not deleted")
        return answer.first_byte

    async def list(self, number: int) -> float:
        """The next page of the whole bucket; after the last the first again. Every page but the last is full."""
        token = f"continuation-token={quote(self._token, safe='')}&" if self._token else ""
        answer = await self._send("GET", self._bucket, f"{token}list-type=2&max-keys={PAGE_KEYS}", keeps_body=True)
        found = _TOKEN.search(answer.body)
        self._token = unescape(found[1].decode()) if found else ""
        listed = answer.body.count(b"<Key>")
        if found and listed != PAGE_KEYS:
            raise Unexpected(f"a page held {listed} keys")
        return answer.first_byte

    async def mixed(self, number: int) -> float:
        kind = MIXED[number % len(MIXED)]
        if kind == "GET":
            return await self.get(number)
        if kind == "HEAD":
            return await self.head(number)
        if kind == "DELETE" and self._own:
            return (await self._send("DELETE", self._own.popleft())).first_byte
        path = f"{self._bucket}/{self._load.prefix}new/{self._run}/{number:07d}"
        answer = await self._send("PUT", path, body=self._body)
        self._own.append(path)
        return answer.first_byte

    async def multipart(self, number: int) -> float:
        """A whole upload, part after part. The first byte is that of the last answer."""
        path = self._path(number)
        begun = await self._send("POST", path, "uploads=", keeps_body=True)
        found = _UPLOAD_ID.search(begun.body)
        if found is None:
            raise Unexpected("no UploadId came")
        upload = f"uploadId={quote(unescape(found[1].decode()), safe='')}"
        parts = ""
        for part, start in enumerate(range(0, self._load.size_bytes, PART_BYTES), 1):
            content = self._body[start : start + PART_BYTES]
            answer = await self._send("PUT", path, f"partNumber={part}&{upload}", content)
            parts += f"<Part><PartNumber>{part}</PartNumber><ETag>{answer.header(b'etag')}</ETag></Part>"
        body = f"<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>".encode()
        completed = await self._send("POST", path, upload, body, keeps_body=True)
        if b"<ETag>" not in completed.body:
            raise Unexpected("the upload was not completed")
        return completed.first_byte

    def _path(self, number: int) -> str:
        return f"{self._bucket}/{self._load.prefix}{number % self._load.keys if self._load.keys else number:07d}"

    async def _send(
        self,
        method: str,
        path: str,
        query: str = "",
        body: bytes = b"",
        *,
        keeps_body: bool = False,
        content_md5: str = "",
    ) -> Answer:
        head = self._signer.head(method, path, query, len(body), content_md5=content_md5)
        is_head_request = method == "HEAD"
        answer = await self._connection.exchange(head, body, is_head_request=is_head_request, keeps_body=keeps_body)
        if answer.status >= 300:
            raise Unexpected(f"{method} was answered {answer.status}")
        return answer


async def run(load: Load) -> Result:
    """All operations of this process."""
    signer = Signer(load.host, load.port, load.access_key, load.secret_key)
    body, own = os.urandom(load.size_bytes), deque[str]()
    latencies: list[float] = []
    first_bytes: list[float] = []
    errors: Counter[str] = Counter()
    attempts = 0
    began_all, cpu_before = time.perf_counter(), time.process_time()
    end = began_all + load.seconds if load.seconds else float("inf")

    async def work() -> None:
        nonlocal attempts
        client = Client(load, signer, body, own)
        operation: Callable[[int], Awaitable[float]] = getattr(client, load.operation.lower())
        while attempts < load.count and (began := time.perf_counter()) < end:
            number = attempts
            attempts += 1
            try:
                first_byte = await operation(number)
            except (Unexpected, OSError, TimeoutError) as trouble:
                errors[str(trouble) or type(trouble).__name__] += 1
                client.close()
                await asyncio.sleep(_PAUSE_SECONDS)
            else:
                latencies.append(time.perf_counter() - began)
                first_bytes.append(first_byte - began)
        client.close()

    await asyncio.gather(*(work() for _ in range(load.clients)))
    seconds, cpu_seconds = time.perf_counter() - began_all, time.process_time() - cpu_before
    return Result(attempts, seconds, latencies, first_bytes, dict(errors), cpu_seconds)


async def run_loads(loads: Sequence[Load]) -> list[Result]:
    """Run one process a load, at the same time. Raises RuntimeError when one fails, or does not come to an end."""
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.bench.load", json.dumps(asdict(load)), stdout=asyncio.subprocess.PIPE
        )
        for load in loads
    ]
    seconds_max = max((load.seconds for load in loads), default=0.0)
    try:
        limit = seconds_max + _OVERTIME_SECONDS if all(load.seconds for load in loads) else None
        outputs = await asyncio.wait_for(asyncio.gather(*(each.communicate() for each in processes)), limit)
    except TimeoutError:
        raise RuntimeError(f"the load did not end within {limit:.0f} s") from None
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
                await process.wait()
    if any(process.returncode for process in processes):
        raise RuntimeError("a load process failed")
    return [Result(**json.loads(output)) for output, _ in outputs]


def merged(results: Sequence[Result]) -> Result:
    """Operations a second are those of all over the longest process."""
    errors: Counter[str] = Counter()
    for result in results:
        errors.update(result.errors)
    return Result(
        sum(result.attempts for result in results),
        max(result.seconds for result in results),
        [latency for result in results for latency in result.latencies],
        [first for result in results for first in result.first_bytes],
        dict(errors),
        sum(result.cpu_seconds for result in results),
    )


async def run_processes(loads: Sequence[Load]) -> Result:
    """Run one process a load. Raises RuntimeError for an answer that is no success."""
    result = merged(await run_loads(loads))
    if result.errors:
        raise RuntimeError(f"not every operation went well: {result.errors}")
    return result


def quantile(latencies: Sequence[float], share: float) -> float:
    """In milliseconds; not a number when there is none."""
    if not latencies:
        return float("nan")
    ordered = sorted(latencies)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] * 1000


if __name__ == "__main__":
    result = uvloop.run(run(Load(**json.loads(sys.argv[1]))))
    # Buffered, also under PYTHONUNBUFFERED, where a write that a signal cuts short loses the rest.
    with open(sys.stdout.fileno(), "w", encoding="ascii", closefd=False) as output:
        json.dump(asdict(result), output)
