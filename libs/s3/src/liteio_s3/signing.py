"""The keyed half of SigV4: signing keys, signatures over requests, and what a signed body needs to go on from there.

Source: AWS, "Create a signed AWS API request", "Signature calculations for the Authorization header: multiple chunks".
"""

import hashlib
import hmac
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from liteio_base.check import check

if TYPE_CHECKING:
    from hashlib import _Hash

ALGORITHM: Final = b"AWS4-HMAC-SHA256"
SCOPE_END: Final = "aws4_request"
_BLOCK_BYTES: Final = 64  # of SHA-256
SIGNING_KEYS_MAX: Final = 4096  # (credential, day, region) triples in use; about 1 MiB
EMPTY_SHA256: Final = hashlib.sha256(b"").hexdigest()


@dataclass(frozen=True, slots=True)
class ChunkSigning:
    """What verifies the chunks of a signed body: each signature covers the one before, the first the request's own."""

    key: bytes = field(repr=False)
    timestamp: bytes  # YYYYMMDDTHHMMSSZ
    scope: bytes  # date/region/service/aws4_request
    seed_signature: bytes  # 64 lower-case hexadecimal digits

    def sign_chunk(self, previous: bytes, data_sha256: str) -> bytes:
        """The signature of one chunk of data, the empty last one too."""
        return self._sign(b"AWS4-HMAC-SHA256-PAYLOAD", previous, f"{EMPTY_SHA256}\n{data_sha256}")

    def sign_trailer(self, previous: bytes, trailer_sha256: str) -> bytes:
        """The signature over the canonical trailer, which follows the empty last chunk."""
        return self._sign(b"AWS4-HMAC-SHA256-TRAILER", previous, trailer_sha256)

    def _sign(self, algorithm: bytes, previous: bytes, hashes: str) -> bytes:
        return sign(self.key, b"\n".join((algorithm, self.timestamp, self.scope, previous, hashes.encode("ascii"))))


@lru_cache(maxsize=SIGNING_KEYS_MAX)
def signing_key(secret_key: str, date: str, region: str, service: str) -> bytes:
    """The key for one day, region and service. The secret is part of the cache's key, so none is ever stale."""
    key = f"AWS4{secret_key}".encode()
    for step in (date, region, service, SCOPE_END):
        key = hmac.digest(key, step.encode(), "sha256")
    return key


def string_to_sign(timestamp: bytes, scope: bytes, canonical_request: bytes) -> bytes:
    digest = hashlib.sha256(canonical_request).hexdigest().encode("ascii")
    return b"\n".join((ALGORITHM, timestamp, scope, digest))


def sign(key: bytes, message: bytes) -> bytes:
    """HMAC-SHA256, as 64 lower-case hexadecimal digits. `key`: as `signing_key` gives it."""
    inner_keyed, outer_keyed = _keyed(key)
    inner, outer = inner_keyed.copy(), outer_keyed.copy()
    inner.update(message)
    outer.update(inner.digest())
    return outer.hexdigest().encode("ascii")


@lru_cache(maxsize=SIGNING_KEYS_MAX)
def _keyed(key: bytes) -> "tuple[_Hash, _Hash]":
    """HMAC's two hashes, which have taken in the key and nothing else: half of what a short message costs.

    The `hmac` of Python would do, but for its wrappers: four Python functions a signature, 4 % of a HEAD's loop time.
    Source: RFC 2104, sections 2 and 4.
    """
    check(len(key) <= _BLOCK_BYTES, "a signing key is not longer than a block")
    block = key.ljust(_BLOCK_BYTES, b"\0")
    inner, outer = (hashlib.sha256(bytes([byte ^ pad for byte in block])) for pad in (0x36, 0x5C))
    return inner, outer
