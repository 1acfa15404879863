"""The Range header of a read, and its strict sibling of UploadPartCopy.

S3 serves one range. A header that is malformed or asks for several is ignored, and the whole object is the answer.
Source: RFC 9110, 14.1.2 and 14.2; Amazon S3 API reference, GetObject and UploadPartCopy.
"""

import re
from typing import Final

from liteio_base.byte_span import ByteSpan
from liteio_base.limits import PART_NUMBER_MAX
from liteio_s3.errors import INVALID_ARGUMENT, INVALID_RANGE, INVALID_REQUEST, S3Failure
from liteio_s3.limits import RANGE_CHARACTERS_MAX

COPY_SOURCE_RANGE: Final = "x-amz-copy-source-range"

_match_range: Final = re.compile(r"bytes=([0-9]*)-([0-9]*)", re.ASCII).fullmatch


def parse_range(header: str | None, size_bytes: int) -> ByteSpan | None:
    """The bytes of an object of `size_bytes` that a Range header asks for; None is the whole object, status 200.

    An end past the object's end is cut back to it. Raises: S3Failure with InvalidRange (416) if no byte is left.
    Cost: constant; a longer header than a single range can have is not looked into.
    """
    if header is None or len(header) > RANGE_CHARACTERS_MAX:
        return None
    found = _match_range(header.strip())
    if found is None or not any(found.groups()):
        return None
    first, last = found.groups()
    if not first:
        return _suffix(header, int(last), size_bytes)
    start, end = int(first), int(last) + 1 if last else size_bytes
    if last and end <= start:
        return None  # "a-b" with b before a is malformed, not unsatisfiable
    if start >= size_bytes:
        raise _unsatisfiable(header, size_bytes)
    return ByteSpan(start, min(end, size_bytes) - start)


def content_range(span: ByteSpan, size_bytes: int) -> str:
    """The Content-Range of a 206: `bytes 0-9/100`. `span` covers at least one byte."""
    return f"bytes {span.start}-{span.end - 1}/{size_bytes}"


def parse_copy_range(header: str | None, size_bytes: int) -> ByteSpan | None:
    """The bytes of the source that UploadPartCopy asks for; None without a header is the whole source.

    Only `bytes=first-last`, lying wholly inside the source, will do. Raises: S3Failure with InvalidArgument.
    """
    if header is None:
        return None
    found = _match_range(header) if len(header) <= RANGE_CHARACTERS_MAX else None
    if found is None or not all(found.groups()):
        raise _bad_copy_range(
            header,
            f"The {COPY_SOURCE_RANGE} value must be of the form bytes=first-last where first and last are"
            " the zero-based offsets of the first and last bytes to copy",
        )
    start, last = int(found[1]), int(found[2])
    if not start <= last < size_bytes:
        raise _bad_copy_range(header, f"Range specified is not valid for source object of size: {size_bytes}")
    return ByteSpan(start, last + 1 - start)


def parse_part_number(text: str) -> int:
    """A part's number, 1 to 10,000, from the query. Raises: S3Failure with InvalidArgument."""
    if text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= PART_NUMBER_MAX:
        return int(text)
    raise S3Failure(
        INVALID_ARGUMENT,
        f"Part number must be an integer between 1 and {PART_NUMBER_MAX}, inclusive",
        fields={"ArgumentName": "partNumber", "ArgumentValue": text},
    )


def refuse_range_with_part(header: str | None, part_number: int | None) -> None:
    """A read names a range or a part, not both."""
    if header is not None and part_number is not None:
        raise S3Failure(INVALID_REQUEST, "Cannot specify both Range header and partNumber query parameter")


def _suffix(header: str, length: int, size_bytes: int) -> ByteSpan:
    if length == 0 or size_bytes == 0:
        raise _unsatisfiable(header, size_bytes)
    length = min(length, size_bytes)
    return ByteSpan(size_bytes - length, length)


def _unsatisfiable(header: str, size_bytes: int) -> S3Failure:
    return S3Failure(
        INVALID_RANGE,
        fields={"RangeRequested": header, "ActualObjectSize": str(size_bytes)},
        headers={"content-range": f"bytes */{size_bytes}"},
    )


def _bad_copy_range(header: str, message: str) -> S3Failure:
    fields = {"ArgumentName": COPY_SOURCE_RANGE, "ArgumentValue": header[: 2 * RANGE_CHARACTERS_MAX]}
    return S3Failure(INVALID_ARGUMENT, message, fields=fields)
