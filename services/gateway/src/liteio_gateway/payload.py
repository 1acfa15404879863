"""`RequestBody`: the contracts' `Body` over a request. One pass: framing, MD5, claimed checksum, signed SHA-256.

Bytes are handed on in pieces of one block, which are summed while the object layer works on them (body_sums.py).
Nothing is final before the last byte was held against every claim: what does not hold raises out of the iteration.
"""

from collections.abc import AsyncIterator
from typing import Final

from liteio_base.check import check
from liteio_contracts.object_layer import BodyFacts
from liteio_formats.record import StoredChecksum
from liteio_gateway.body_source import BodySource
from liteio_gateway.body_sums import BodySums
from liteio_gateway.limits import BODY_CHUNK_BYTES
from liteio_gateway.md5_batches import MD5Batches
from liteio_gateway.requests import S3Request
from liteio_s3.aws_chunked import AwsChunkedDecoder, parse_decoded_length
from liteio_s3.checksum_headers import (
    ClaimedChecksum,
    declared_trailers,
    parse_claimed_checksum,
    parse_content_md5,
)
from liteio_s3.checksums import ChecksumAlgorithm, ChecksumType, check_digest, encode_checksum
from liteio_s3.errors import (
    BAD_DIGEST,
    ENTITY_TOO_LARGE,
    INCOMPLETE_BODY,
    INVALID_ARGUMENT,
    INVALID_REQUEST,
    MAX_MESSAGE_LENGTH_EXCEEDED,
    MISSING_CONTENT_LENGTH,
    S3Failure,
)
from liteio_s3.etag import etag_of
from liteio_s3.payload import PayloadMode

_LENGTH_DIGITS_MAX: Final = 18
_DECODED_LENGTH: Final = "x-amz-decoded-content-length"


class RequestBody:
    """Raises at once, before anything is read, for claims that can not be met."""

    def __init__(
        self,
        request: S3Request,
        batches: MD5Batches,
        *,
        idle_seconds: float,
        size_max: int,
        algorithm: ChecksumAlgorithm | None = None,
        needs_length: bool = True,
    ) -> None:
        """`algorithm`: the checksum to compute even if the client claims none; another one claimed is refused.

        Raises S3Failure: MissingContentLength, EntityTooLarge, InvalidRequest, InvalidDigest, NotImplemented.
        """
        self._payload = request.authenticated.payload
        self._claim = parse_claimed_checksum(request.headers)
        self._md5_claim = parse_content_md5(request.headers)
        self._algorithm = _agreed_algorithm(self._claim, algorithm)
        self._size, self._decoder = _framing(request, self._claim, needs_length=needs_length)
        if self._size is not None and self._size > size_max:
            fields = {"ProposedSize": str(self._size), "MaxSizeAllowed": str(size_max)}
            raise S3Failure(ENTITY_TOO_LARGE, fields=fields)
        self._size_max = size_max
        self._source = BodySource(request, idle_seconds)
        signed = None if self._payload.sha256 is None else ChecksumAlgorithm.SHA256
        self._sums = BodySums(batches, {one for one in (self._algorithm, signed) if one is not None})
        self._received = 0
        self._held: list[bytes | memoryview] = []
        self._held_bytes = 0
        self._facts: BodyFacts | None = None

    @property
    def size_bytes(self) -> int | None:
        return self._size

    @property
    def has_integrity_claim(self) -> bool:
        """Whether the client sent Content-MD5 or a checksum."""
        return self._claim is not None or self._md5_claim is not None

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Itself, as asyncio's book-keeping of an asynchronous generator costs as much as reading a small body."""
        check(self._facts is None and self._received == 0, "a body is read once")
        return self

    async def __anext__(self) -> bytes:
        if self._facts is not None:
            raise StopAsyncIteration
        while self._held_bytes < BODY_CHUNK_BYTES:
            piece = await self._source.next()
            if piece is None:
                return await self._last()
            for view in self._decode(piece):
                self._held.append(view)
                self._held_bytes += len(view)
        block, self._held, self._held_bytes = _cut(self._held, BODY_CHUNK_BYTES)
        await self._sums.add(block)
        return block

    async def _last(self) -> bytes:
        """What is held at the body's end, if anything, with all claims met."""
        last, self._held = b"".join(self._held), []
        await self._sums.add(last)
        await self._sums.settle()
        self._finish()
        if not last:
            raise StopAsyncIteration
        return last

    def facts(self) -> BodyFacts:
        check(self._facts is not None, "a body's facts are known at its end")
        assert self._facts is not None
        return self._facts

    def _decode(self, piece: bytes) -> list[bytes | memoryview]:
        if self._decoder is not None:
            views: list[bytes | memoryview] = list(self._decoder.receive(piece))
            self._received += sum(map(len, views))
            return views
        self._received += len(piece)
        if self._received > (self._size_max if self._size is None else self._size):
            raise S3Failure(MAX_MESSAGE_LENGTH_EXCEEDED if self._size is None else INCOMPLETE_BODY)
        return [piece] if piece else []

    def _finish(self) -> None:
        """Hold what was received against everything that was claimed."""
        trailers: dict[str, str] = {}
        if self._decoder is not None:
            self._decoder.finish()
            trailers = self._decoder.trailers
        if self._size is not None and self._received != self._size:
            raise S3Failure(INCOMPLETE_BODY)
        md5 = self._sums.md5()
        if self._md5_claim is not None and self._md5_claim != md5:
            fields = {
                "ExpectedDigest": encode_checksum(self._md5_claim),
                "CalculatedDigest": encode_checksum(md5),
            }
            raise S3Failure(BAD_DIGEST, fields=fields)
        if self._payload.sha256 is not None:
            self._payload.check_sha256(self._sums.digest(ChecksumAlgorithm.SHA256))
        stored: StoredChecksum | None = None
        if self._algorithm is not None:
            digest = self._sums.digest(self._algorithm)
            if self._claim is not None:
                check_digest(self._algorithm, self._claim.fulfilled(trailers), digest)
            stored = StoredChecksum(self._algorithm.value, ChecksumType.FULL_OBJECT.value, encode_checksum(digest))
        self._facts = BodyFacts(etag_of(md5), stored)


async def read_all(
    request: S3Request,
    batches: MD5Batches,
    *,
    idle_seconds: float,
    size_max: int,
    needs_integrity_claim: bool = False,
) -> bytes:
    """A control body (XML), whole and checked like any other.

    `needs_integrity_claim`: as S3 does for DeleteObjects, refuse a body without Content-MD5 or checksum.
    """
    body = RequestBody(request, batches, idle_seconds=idle_seconds, size_max=size_max, needs_length=False)
    if needs_integrity_claim and not body.has_integrity_claim:
        raise S3Failure(INVALID_REQUEST, "Missing required header for this request: Content-MD5 OR x-amz-checksum-*")
    return b"".join([block async for block in body])


def _framing(
    request: S3Request, claim: ClaimedChecksum | None, *, needs_length: bool
) -> tuple[int | None, AwsChunkedDecoder | None]:
    """The length of the object's bytes, and what takes the framing off."""
    authenticated = request.authenticated
    mode = authenticated.payload.mode
    if mode.is_streaming:
        size = parse_decoded_length(request.headers)
        trailers = declared_trailers(request.headers) if mode.has_trailer else None
        _check_trailing(claim, mode)
        return size, AwsChunkedDecoder(decoded_length=size, signing=authenticated.chunks, trailers=trailers)
    _check_trailing(claim, mode)
    if _DECODED_LENGTH in request.headers and "aws-chunked" in request.headers.get("content-encoding", "").lower():
        # A framed body that does not say how it is framed: the framing would be stored as if it were the object.
        raise S3Failure(INVALID_REQUEST, "An aws-chunked body needs a streaming x-amz-content-sha256.")
    length = request.headers.get("content-length")
    if length is None:
        if "transfer-encoding" not in request.headers:
            return 0, None
        if needs_length:
            raise S3Failure(MISSING_CONTENT_LENGTH)
        return None, None
    if not (length.isascii() and length.isdigit() and len(length) <= _LENGTH_DIGITS_MAX):
        raise S3Failure(INVALID_ARGUMENT, "The Content-Length header is not valid.")
    return int(length), None


def _check_trailing(claim: ClaimedChecksum | None, mode: PayloadMode) -> None:
    if claim is not None and claim.digest is None and not mode.has_trailer:
        raise S3Failure(INVALID_REQUEST, "The x-amz-trailer header needs a payload with a trailer.")


def _agreed_algorithm(claim: ClaimedChecksum | None, wanted: ChecksumAlgorithm | None) -> ChecksumAlgorithm | None:
    if claim is None:
        return wanted
    if wanted is not None and claim.algorithm is not wanted:
        message = (
            f"Checksum Type mismatch occurred, expected checksum Type: {wanted.lower()},"
            f" actual checksum Type: {claim.algorithm.lower()}"
        )
        raise S3Failure(INVALID_REQUEST, message)
    return claim.algorithm


def _cut(held: list[bytes | memoryview], size: int) -> tuple[bytes, list[bytes | memoryview], int]:
    """The first `size` bytes of what is held, and the rest with its length."""
    taken = 0
    for index, view in enumerate(held):
        if taken + len(view) >= size:
            split = size - taken
            block = b"".join([*held[:index], memoryview(view)[:split]])
            rest: list[bytes | memoryview] = [memoryview(view)[split:], *held[index + 1 :]]
            rest = [left for left in rest if len(left)]
            return block, rest, sum(map(len, rest))
        taken += len(view)
    raise AssertionError("fewer bytes held than cut")
