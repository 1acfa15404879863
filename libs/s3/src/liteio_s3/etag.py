"""ETags as S3 makes them. They are shown in double quotes; these functions give and take the text inside."""

import hashlib
from collections.abc import Sequence
from typing import Final

from liteio_base.check import check

MD5_BYTES: Final = 16


def etag_of(md5: bytes) -> str:
    """The ETag of an object, or a part, sent in one piece: 32 hexadecimal digits. `md5`: 16 raw bytes."""
    check(len(md5) == MD5_BYTES, "an MD5 has 16 bytes")
    return md5.hex()


def multipart_etag(part_md5s: Sequence[bytes]) -> str:
    """The ETag of an object made of parts: MD5 of the parts' raw MD5s in order, "-", their count."""
    check(part_md5s and all(len(md5) == MD5_BYTES for md5 in part_md5s), "parts have MD5s of 16 bytes")
    return f"{hashlib.md5(b''.join(part_md5s), usedforsecurity=False).hexdigest()}-{len(part_md5s)}"
