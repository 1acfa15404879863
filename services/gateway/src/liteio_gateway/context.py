"""`Context`: what handlers are given besides the request. Each takes from it the role of the store that it uses."""

from dataclasses import dataclass, field

from liteio_base.byte_span import ByteSpan
from liteio_base.clock import Clock
from liteio_base.deadline import Deadline
from liteio_contracts.object_layer import (
    Buckets,
    Listing,
    Multipart,
    ObjectLayer,
    ObjectReader,
    ObjectReads,
    ObjectWrites,
)
from liteio_gateway.access import Authorizer, Question
from liteio_gateway.copied_body import CopiedBody
from liteio_gateway.md5_batches import MD5Batches
from liteio_gateway.payload import RequestBody, read_all
from liteio_gateway.requests import S3Request
from liteio_s3.checksums import ChecksumAlgorithm


@dataclass(frozen=True, slots=True)
class Context:
    store: ObjectLayer
    authorizer: Authorizer
    clock: Clock
    region: str
    operation_seconds: float
    body_idle_seconds: float
    md5_batches: MD5Batches = field(default_factory=MD5Batches)

    @property
    def reads(self) -> ObjectReads:
        return self.store

    @property
    def writes(self) -> ObjectWrites:
        return self.store

    @property
    def buckets(self) -> Buckets:
        return self.store

    @property
    def multipart(self) -> Multipart:
        return self.store

    @property
    def listing(self) -> Listing:
        return self.store

    def deadline(self) -> Deadline:
        """For one call of the object layer, from now."""
        return Deadline.after(self.operation_seconds, self.clock)

    async def check(self, request: S3Request, action: str, bucket: str, key: str = "") -> None:
        """Ask for one more permission than the dispatcher did. Raises S3Failure with AccessDenied."""
        await self.authorizer.check(request.caller, Question(action, bucket, key))

    def body(self, request: S3Request, *, size_max: int, algorithm: ChecksumAlgorithm | None = None) -> RequestBody:
        return RequestBody(
            request,
            self.md5_batches,
            idle_seconds=self.body_idle_seconds,
            size_max=size_max,
            algorithm=algorithm,
        )

    def copied_body(self, reader: ObjectReader, span: ByteSpan, algorithm: ChecksumAlgorithm | None) -> CopiedBody:
        return CopiedBody(reader, span, algorithm, self.md5_batches)

    async def document(self, request: S3Request, *, size_max: int, needs_integrity_claim: bool = False) -> bytes:
        """The request's XML body, whole."""
        return await read_all(
            request,
            self.md5_batches,
            idle_seconds=self.body_idle_seconds,
            size_max=size_max,
            needs_integrity_claim=needs_integrity_claim,
        )
