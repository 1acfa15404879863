"""The request's headers, read once into a mapping that the parsers of this package take."""

from collections.abc import Mapping, Sequence
from typing import Final

from liteio_s3.errors import INVALID_REQUEST, REQUEST_HEADER_SECTION_TOO_LARGE, S3Failure
from liteio_s3.limits import HEADER_SECTION_BYTES_MAX

Headers = Mapping[str, str]  # names in lower case; values decoded as Latin-1, which loses no byte

INTERNAL_PREFIX: Final = "x-liteio-"  # what parts of the store tell one another; never a client's to say
_LINE_OVERHEAD_BYTES: Final = 4  # ": " and the line's end


def read_headers(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    """Headers as ASGI has them (names in lower case), repeated ones joined by a comma as HTTP says.

    Raises: S3Failure with RequestHeaderSectionTooLarge above 8 KiB, InvalidRequest for an internal header.
    """
    size_bytes = sum([len(name) + len(value) for name, value in raw]) + _LINE_OVERHEAD_BYTES * len(raw)
    if size_bytes > HEADER_SECTION_BYTES_MAX:
        raise S3Failure(REQUEST_HEADER_SECTION_TOO_LARGE, fields={"MaxSizeAllowed": str(HEADER_SECTION_BYTES_MAX)})
    headers = {name.decode("latin-1"): value.decode("latin-1").strip(" \t") for name, value in raw}
    if len(headers) != len(raw):
        headers = _joined(raw)
    # Looked for in all names at once: it is nearly never there.
    if INTERNAL_PREFIX in "\n".join(headers) and any(name.startswith(INTERNAL_PREFIX) for name in headers):
        raise S3Failure(INVALID_REQUEST, f"Headers whose names begin with {INTERNAL_PREFIX} are not a client's to send")
    return headers


def _joined(raw: Sequence[tuple[bytes, bytes]]) -> dict[str, str]:
    values: dict[str, list[str]] = {}
    for name, value in raw:
        values.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1").strip(" \t"))
    return {name: ",".join(repeated) for name, repeated in values.items()}
