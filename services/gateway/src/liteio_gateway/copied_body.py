"""`CopiedBody`: the contracts' `Body` over an object that is open for reading, for copies that have to move bytes."""

import asyncio
from collections.abc import AsyncIterator

from liteio_base.byte_span import ByteSpan
from liteio_base.check import check
from liteio_contracts.object_layer import BodyFacts, ObjectReader
from liteio_formats.record import StoredChecksum
from liteio_gateway.limits import THREADED_HASH_BYTES_MIN
from liteio_s3.checksums import ChecksumAlgorithm, ChecksumType, encode_checksum, new_checksum
from liteio_s3.etag import etag_of, new_md5


class CopiedBody:
    """`span` of the source, summed anew while it passes: MD5, and `algorithm` where one is wanted."""

    def __init__(self, reader: ObjectReader, span: ByteSpan, algorithm: ChecksumAlgorithm | None) -> None:
        self._reader, self._span, self._algorithm = reader, span, algorithm
        self._md5 = new_md5()
        self._sum = None if algorithm is None else new_checksum(algorithm)
        self._facts: BodyFacts | None = None

    @property
    def size_bytes(self) -> int | None:
        return self._span.length

    async def __aiter__(self) -> AsyncIterator[bytes]:
        passed = 0
        hashing: asyncio.Future[None] | None = None
        loop = asyncio.get_running_loop()
        if self._span.length:
            async for block in self._reader.read(self._span):
                passed += len(block)
                if hashing is not None:
                    await hashing
                if len(block) >= THREADED_HASH_BYTES_MIN:
                    hashing = loop.run_in_executor(None, self._hash, block)
                else:
                    hashing = None
                    self._hash(block)
                yield block
        if hashing is not None:
            await hashing
        check(passed == self._span.length, "a reader gives exactly the span")
        stored = None
        if self._algorithm is not None and self._sum is not None:
            value = encode_checksum(self._sum.digest())
            stored = StoredChecksum(self._algorithm.value, ChecksumType.FULL_OBJECT.value, value)
        self._facts = BodyFacts(etag_of(self._md5.digest()), stored)

    def facts(self) -> BodyFacts:
        check(self._facts is not None, "a body's facts are known at its end")
        assert self._facts is not None
        return self._facts

    def _hash(self, block: bytes) -> None:
        self._md5.update(block)
        if self._sum is not None:
            self._sum.update(block)
