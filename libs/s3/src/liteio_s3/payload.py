"""How a request's body is protected: the closed set of `x-amz-content-sha256` values."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from liteio_s3.errors import INVALID_ARGUMENT, NOT_IMPLEMENTED, X_AMZ_CONTENT_SHA256_MISMATCH, S3Failure
from liteio_s3.signing import EMPTY_SHA256


class PayloadMode(StrEnum):
    """What the body is, and what vouches for it."""

    SIGNED_SHA256 = "SIGNED_SHA256"  # plain bytes whose SHA-256 was signed
    UNSIGNED = "UNSIGNED-PAYLOAD"  # plain bytes
    STREAMING_SIGNED = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"  # aws-chunked, each chunk signed
    STREAMING_SIGNED_TRAILER = "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"  # the same, and a signed trailer
    STREAMING_UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"  # aws-chunked with a trailer, neither signed

    @property
    def is_streaming(self) -> bool:
        return self in _STREAMING

    @property
    def has_signed_chunks(self) -> bool:
        return self is PayloadMode.STREAMING_SIGNED or self is PayloadMode.STREAMING_SIGNED_TRAILER

    @property
    def has_trailer(self) -> bool:
        return self is PayloadMode.STREAMING_SIGNED_TRAILER or self is PayloadMode.STREAMING_UNSIGNED_TRAILER


_STREAMING: Final = frozenset(
    {
        PayloadMode.STREAMING_SIGNED,
        PayloadMode.STREAMING_SIGNED_TRAILER,
        PayloadMode.STREAMING_UNSIGNED_TRAILER,
    }
)
_HEXADECIMAL: Final = re.compile(rb"[0-9a-fA-F]{64}")


@dataclass(frozen=True, slots=True)
class Payload:
    """A parsed `x-amz-content-sha256`. `sha256`: 32 raw bytes that the body must hash to, in SIGNED_SHA256 only."""

    mode: PayloadMode
    sha256: bytes | None = None

    def check_sha256(self, computed: bytes) -> None:
        """Raises XAmzContentSHA256Mismatch unless the whole body hashed to what was signed."""
        if self.sha256 is not None and computed != self.sha256:
            fields = {
                "ClientComputedContentSHA256": self.sha256.hex(),
                "S3ComputedContentSHA256": computed.hex(),
            }
            raise S3Failure(X_AMZ_CONTENT_SHA256_MISMATCH, fields=fields)


UNSIGNED: Final = Payload(PayloadMode.UNSIGNED)
_BY_VALUE: Final = {
    **{mode.value.encode("ascii"): Payload(mode) for mode in PayloadMode if mode is not PayloadMode.SIGNED_SHA256},
    EMPTY_SHA256.encode("ascii"): Payload(PayloadMode.SIGNED_SHA256, bytes.fromhex(EMPTY_SHA256)),  # of all but uploads
}


def parse_payload(value: bytes) -> Payload:
    """The payload that a value of `x-amz-content-sha256` announces.

    Raises NotImplemented for a streaming kind outside the set (SigV4A, event streams), InvalidArgument for all else.
    """
    payload = _BY_VALUE.get(value)
    if payload is not None:
        return payload
    if _HEXADECIMAL.fullmatch(value):
        return Payload(PayloadMode.SIGNED_SHA256, bytes.fromhex(value.decode("ascii")))
    if value.startswith(b"STREAMING-"):
        raise S3Failure(
            NOT_IMPLEMENTED, "The streaming payload that the x-amz-content-sha256 header names is not implemented."
        )
    raise S3Failure(
        INVALID_ARGUMENT,
        "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, STREAMING-UNSIGNED-PAYLOAD-TRAILER,"
        " STREAMING-AWS4-HMAC-SHA256-PAYLOAD, STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER or a valid sha256 value.",
        fields={"ArgumentName": "x-amz-content-sha256", "ArgumentValue": value[:128].decode("latin-1")},
    )
