"""`CopiedBody`: the contracts' `Body` over an object that is open for reading, for copies that have to move bytes."""

from collections.abc import AsyncIterator

from liteio_base.byte_span import ByteSpan
from liteio_base.check import check
from liteio_contracts.object_layer import BodyFacts, ObjectReader
from liteio_formats.record import StoredChecksum
from liteio_gateway.body_sums import BodySums
from liteio_gateway.md5_batches import MD5Batches
from liteio_s3.checksums import ChecksumAlgorithm, ChecksumType, encode_checksum
from liteio_s3.etag import etag_of


class CopiedBody:
    """`span` of the source, summed anew while it passes: MD5, and `algorithm` where one is wanted."""

    def __init__(
        self, reader: ObjectReader, span: ByteSpan, algorithm: ChecksumAlgorithm | None, batches: MD5Batches
    ) -> None:
        self._reader, self._span, self._algorithm = reader, span, algorithm
        self._sums = BodySums(batches, () if algorithm is None else (algorithm,))
        self._facts: BodyFacts | None = None

    @property
    def size_bytes(self) -> int | None:
        return self._span.length

    async def __aiter__(self) -> AsyncIterator[bytes]:
        passed = 0
        if self._span.length:
            async for block in self._reader.read(self._span):
                passed += len(block)
                await self._sums.add(block)
                yield block
        await self._sums.settle()
        check(passed == self._span.length, "a reader gives exactly the span")
        stored = None
        if self._algorithm is not None:
            value = encode_checksum(self._sums.digest(self._algorithm))
            stored = StoredChecksum(self._algorithm.value, ChecksumType.FULL_OBJECT.value, value)
        self._facts = BodyFacts(etag_of(self._sums.md5()), stored)

    def facts(self) -> BodyFacts:
        check(self._facts is not None, "a body's facts are known at its end")
        assert self._facts is not None
        return self._facts
