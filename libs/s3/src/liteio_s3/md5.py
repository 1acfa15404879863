"""MD5: S3's ETag of what was sent in one piece, and the sum that Content-MD5 claims. Of several streams at once, too.

The one module that says which kernel computes it: `_md5.c` where it was compiled and the processor has AVX2, else
hashlib. One stream takes as long by either. `update_all` gives up to `MD5_LANES` sums their next bytes in one pass,
which costs about as much as two one after the other; hashlib has one lane, and nothing is gained by taking streams
together. Both let go of the interpreter's lock while they hash more than 2 KiB.
"""

import hashlib
from collections.abc import Callable, Sequence
from typing import TypeAlias

from liteio_s3.checksums import Checksum

MD5Updates: TypeAlias = Sequence[tuple[Checksum, bytes]]
"""Sums that `new_md5` made, each at most once, with their next bytes."""

MD5_KERNEL: str
MD5_LANES: int
new_md5: Callable[[], Checksum]
update_all: Callable[[MD5Updates], None]


def _hashlib_md5() -> Checksum:
    return hashlib.md5(usedforsecurity=False)


def _one_by_one(updates: MD5Updates) -> None:
    for md5, data in updates:
        md5.update(data)


try:
    from liteio_s3 import _md5
except ImportError:  # not compiled here, or a processor without AVX2
    MD5_KERNEL, MD5_LANES, new_md5, update_all = "hashlib", 1, _hashlib_md5, _one_by_one
else:
    MD5_LANES, new_md5 = 8, _md5.MD5
    if hasattr(_md5, "update_all_avx512vl"):
        MD5_KERNEL, update_all = "avx512vl", _md5.update_all_avx512vl
    else:
        MD5_KERNEL, update_all = "avx2", _md5.update_all_avx2
