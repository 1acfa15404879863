"""Uploads and downloads of any length that hold one block: sockets, no SDK, so that the client's memory and speed do
not count. A body is one random block over and over, each client with its own, so that every byte can be compared."""

import http.client
import random
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from typing import Final

from tests.support.s3_client import NoAnswer, S3Client
from tests.support.server import Server

BLOCK_BYTES: Final = 1 << 20
_SLICE_BYTES: Final = 64 << 10
_UNSIGNED: Final = "UNSIGNED-PAYLOAD"
_CHUNKED: Final = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"


class Stream:
    """One client. `size_bytes` is a multiple of BLOCK_BYTES."""

    def __init__(self, server: Server, number: int, bucket: str, size_bytes: int, timeout_seconds: float = 300) -> None:
        self._server, self._bucket, self.size_bytes = server, bucket, size_bytes
        self._block = random.Random(number).randbytes(BLOCK_BYTES)
        self._path = f"/{bucket}/object-{number}"
        self._timeout_seconds = timeout_seconds
        self.retries = 0
        self._s3 = S3Client(server, timeout_seconds=timeout_seconds)

    def close(self) -> None:
        self._s3.close()

    def upload(self) -> None:
        """With a body that nothing signs."""
        headers = self._s3.sign("PUT", self._path, "", {}, _UNSIGNED)
        headers["content-length"] = str(self.size_bytes)
        self._put(headers, self._blocks)

    def upload_chunked(self) -> None:
        """As SDKs do by default: aws-chunked, with the checksum at the end."""
        sent = {"x-amz-decoded-content-length": str(self.size_bytes), "x-amz-trailer": "x-amz-checksum-crc32"}
        sent["content-encoding"] = "aws-chunked"
        headers = self._s3.sign("PUT", self._path, "", sent, _CHUNKED)
        framed = self.size_bytes // BLOCK_BYTES * len(b"".join(self._chunk())) + len(b"".join(self._end(b"AAAAAA==")))
        headers["content-length"] = str(framed)
        self._put(headers, self._frames)

    def download(self) -> None:
        """As fast as it goes, every byte compared."""
        response = self._get()
        for _ in range(self.size_bytes // BLOCK_BYTES):
            assert response.read(BLOCK_BYTES) == self._block, f"{self._path}: other bytes than were stored"
        assert response.read() == b""

    def download_slowly(self, bytes_a_second: int, seconds: float) -> int:
        """Read at this pace for so long, then hang up. How many bytes came, all compared."""
        response, began, received = self._get(), time.monotonic(), 0
        while time.monotonic() < began + seconds and received < self.size_bytes:
            offset = received % BLOCK_BYTES
            piece = response.read(_SLICE_BYTES)
            assert piece == self._block[offset : offset + _SLICE_BYTES], f"{self._path}: other bytes than were stored"
            received += len(piece)
            time.sleep(max(0.0, began + received / bytes_a_second - time.monotonic()))
        response.close()
        return received

    def _put(self, headers: dict[str, str], body: Callable[[], Iterator[bytes]]) -> None:
        """Again when told to slow down (a machine that does other work as well may be too slow for eight uploads), or
        when the connection was cut, which is how that answer looks to a client that is still sending."""
        for pause_seconds in (1, 3, None):
            try:
                answer = self._s3.speak("PUT", self._path, "", headers, body())
            except NoAnswer:
                if pause_seconds is None:
                    raise
            else:
                if answer.status != 503 or pause_seconds is None:
                    assert answer.is_success, (answer.status, answer.body)
                    return
            self.retries += 1
            time.sleep(pause_seconds)

    def _get(self) -> http.client.HTTPResponse:
        """The response holds its connection, which it closes."""
        connection = self._server.connect(timeout_seconds=self._timeout_seconds)
        headers = self._s3.sign("GET", self._path, "", {}, _UNSIGNED)
        connection.request("GET", self._path, headers={**headers, "connection": "close"})
        response = connection.getresponse()
        assert response.status == 200, (response.status, response.read(1000))
        assert int(response.headers["content-length"]) == self.size_bytes
        return response

    def _blocks(self) -> Iterator[bytes]:
        for _ in range(self.size_bytes // BLOCK_BYTES):
            yield self._block

    def _frames(self) -> Iterator[bytes]:
        checksum = 0
        for _ in range(self.size_bytes // BLOCK_BYTES):
            checksum = zlib.crc32(self._block, checksum)
            yield from self._chunk()
        yield from self._end(b64encode(checksum.to_bytes(4, "big")))

    def _chunk(self) -> tuple[bytes, ...]:
        return (b"%x\r\n" % BLOCK_BYTES, self._block, b"\r\n")

    @staticmethod
    def _end(checksum: bytes) -> tuple[bytes, ...]:
        """The last chunk and the trailer."""
        return (b"0\r\n", b"x-amz-checksum-crc32:" + checksum + b"\r\n", b"\r\n")
