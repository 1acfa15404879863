"""Bounds that several parts must agree on. Each says where it comes from."""

from typing import Final

KIB: Final = 1024
MIB: Final = 1024 * KIB
GIB: Final = 1024 * MIB
TIB: Final = 1024 * GIB

KEY_BYTES_MAX: Final = 1024  # S3: object keys are at most 1,024 bytes of UTF-8
OBJECT_BYTES_MAX: Final = 5 * TIB  # S3's long-standing limit of an object made of parts
PUT_BYTES_MAX: Final = 5 * GIB  # S3: one PUT, one part, one CopyObject
PART_BYTES_MIN: Final = 5 * MIB  # S3: every part but the last
PART_NUMBER_MAX: Final = 10_000
LIST_KEYS_MAX: Final = 1_000

BLOCK_BYTES: Final = MIB  # one erasure-coded block; pyeclib is fast at or below 1 MiB (docs/architecture.md)
INLINE_SHARD_BYTES_MAX: Final = 64 * KIB  # a shard up to this size lives in the drive's index
SET_DRIVES_MAX: Final = 16
