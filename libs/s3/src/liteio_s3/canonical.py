"""The keyless half of SigV4: a request written in the one way that both sides sign.

Source: AWS, "Create a signed AWS API request", with S3's exception: the path is encoded once and never normalised.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote, quote_from_bytes

from liteio_s3.query import percent_decode

_PLAIN_PATH: Final = re.compile(rb"[A-Za-z0-9/._~-]*")
_PLAIN_TEXT: Final = re.compile(r"[A-Za-z0-9._~-]*", re.ASCII)


def canonical_path(raw_path: bytes) -> bytes:
    """The path decoded and encoded again by S3's rule, since clients differ in what they escape. Raises InvalidURI."""
    if _PLAIN_PATH.fullmatch(raw_path):
        return raw_path
    return quote_from_bytes(percent_decode(raw_path), safe="/").encode("ascii")


def canonical_query(parameters: Sequence[tuple[str, str]]) -> bytes:
    """Decoded parameters, encoded and sorted by encoded name, then value."""
    if not parameters:
        return b""
    pairs = sorted((_encode(name), _encode(value)) for name, value in parameters)
    return "&".join([f"{name}={value}" for name, value in pairs]).encode("ascii")


def _encode(text: str) -> str:
    return text if _PLAIN_TEXT.fullmatch(text) else quote(text, safe="")


def index_headers(headers: Sequence[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    """Values by lower-case name. Repeated headers are joined by commas, as they are signed.

    So a reader of a header that must stand once sees a comma, which the grammar of no such header has.
    """
    index = dict(headers)
    if len(index) == len(headers):
        return index
    index = {}
    for name, value in headers:
        index[name] = b"%s,%s" % (fold_spaces(index[name]), fold_spaces(value)) if name in index else value
    return index


def fold_spaces(value: bytes) -> bytes:
    """No space around, one space for each run."""
    return b" ".join(value.split())


def canonical_request(
    method: str, path: bytes, query: bytes, headers: Mapping[bytes, bytes], signed: Sequence[bytes], payload_hash: bytes
) -> bytes:
    """The whole request. `signed`: names in order; a header among them that the request lacks counts as empty.

    Two requests never give the same text: the names end it, so they fix how many lines there are and where each starts.
    """
    lines = b"".join([name + b":" + headers.get(name, b"") + b"\n" for name in signed])
    if b"  " in lines or b": " in lines or b" \n" in lines or b"\t" in lines:  # Rare, so looked for in all at once.
        lines = b"".join([b"%s:%s\n" % (name, fold_spaces(headers.get(name, b""))) for name in signed])
    return b"\n".join((method.encode(), path, query, lines, b";".join(signed), payload_hash))
