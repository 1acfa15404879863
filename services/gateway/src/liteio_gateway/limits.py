"""Bounds of the HTTP surface."""

from typing import Final

from liteio_base.check import check
from liteio_base.limits import KIB, MIB
from liteio_s3.limits import HEADER_SECTION_BYTES_MAX, PATH_BYTES_MAX, QUERY_BYTES_MAX

HEADERS_MAX: Final = 256  # 2 KiB of metadata in the shortest possible headers is about 140, and as many again
# S3 takes 8 KiB of headers, which liteio_s3.headers checks and answers politely; a target of 40 KiB comes on top.
# Beyond this the connection is cut while headers are still arriving.
HEADER_BYTES_ABORT: Final = 64 * KIB

PIPELINED_MAX: Final = 100  # requests that one connection sent before it had the answers to those before them

BODY_CHUNK_BYTES: Final = MIB  # bodies are handed on in about this size: one erasure-coded block
THREADED_HASH_BYTES_MIN: Final = 512 * KIB  # below, the hop to a thread costs more than the hash

JOINED_BYTES_MAX: Final = 16 * KIB  # copying so much of an answer to its head costs less than writing two pieces

DRAINED_BYTES_MAX: Final = 256 * KIB  # what is read of a refused request's body to keep its connection
DRAIN_SECONDS: Final = 1.0

check(
    HEADER_SECTION_BYTES_MAX + QUERY_BYTES_MAX + PATH_BYTES_MAX < HEADER_BYTES_ABORT,
    "a request may be refused politely before it is cut off",
)
check(THREADED_HASH_BYTES_MIN <= BODY_CHUNK_BYTES, "whole chunks are hashed in threads")
