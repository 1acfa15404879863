"""The aws-chunked body: S3's own chunks inside the HTTP body, each signed or not, with checksums in a trailer.

    size-in-hex[;chunk-signature=64 hex]\r\n  data  \r\n     once a chunk
    0[;chunk-signature=64 hex]\r\n                           the last one is empty
    [name:value\r\n ... [x-amz-trailer-signature:64 hex\r\n]]
    \r\n

Source: Amazon S3 API reference, "Signature calculations for the Authorization header: multiple chunks", and "Signature
calculations for trailing headers". S3 asks for 8 KiB in all chunks but the last; clients that send less are served
here, since nothing depends on it. Two forms that minio-go sends are taken beside AWS's: a trailer line that ends in LF,
with an empty line before the trailer's signature; and one CRLF more after the trailer.
"""

import hashlib
import hmac
import re
from collections.abc import Sequence
from enum import Enum, auto
from typing import Final

from liteio_base.check import check
from liteio_s3.errors import (
    INCOMPLETE_BODY,
    INVALID_ARGUMENT,
    INVALID_REQUEST,
    MALFORMED_TRAILER,
    MISSING_CONTENT_LENGTH,
    SIGNATURE_DOES_NOT_MATCH,
    S3Error,
    S3Failure,
)
from liteio_s3.headers import Headers
from liteio_s3.limits import CHUNK_LENGTH_DIGITS_MAX, CHUNK_LINE_BYTES_MAX, TRAILER_BYTES_MAX
from liteio_s3.signing import ChunkSigning

_UNSIGNED_LINE: Final = re.compile(rb"([0-9a-fA-F]{1,%d})" % CHUNK_LENGTH_DIGITS_MAX)
_SIGNED_LINE: Final = re.compile(_UNSIGNED_LINE.pattern + rb";chunk-signature=([0-9a-f]{64})")
_TRAILER_LINE: Final = re.compile(rb"([0-9A-Za-z-]{1,64}):([\x20-\x7e]*)")
_TRAILER_SIGNATURE: Final = b"x-amz-trailer-signature"


class _State(Enum):
    LINE = auto()  # in a chunk's first line
    DATA = auto()  # in its bytes
    DATA_END = auto()  # in the CRLF after them
    TRAILER = auto()  # in the lines after the last chunk
    DONE = auto()  # the body is whole and verified
    FAILED = auto()


class AwsChunkedDecoder:
    """Takes the HTTP body in pieces of any size, gives the object's bytes, verifies every signature on the way.

    Pieces are released before their chunk's signature is verified: a chunk may be larger than memory. So what they are
    written to must not become final before `finish` has returned. Cost is linear in the bytes received, however they
    are cut; memory is bounded by one line. Once it has failed, every call raises the same failure again.
    """

    def __init__(
        self, *, decoded_length: int, signing: ChunkSigning | None = None, trailers: Sequence[str] | None = None
    ) -> None:
        """`decoded_length`: bytes of the object, from x-amz-decoded-content-length. `signing`: for signed chunks.

        `trailers`: None for the modes without trailer; else the names declared in `x-amz-trailer`, in lower case, of
        which each must come exactly once and no other.
        """
        check(decoded_length >= 0, "a body's length is not negative")
        self._left = decoded_length
        self._signing = signing
        self._declared = None if trailers is None else frozenset(trailers)
        self._state = _State.LINE
        self._line = bytearray()
        self._chunk_left = 0
        self._chunk_is_last = False
        self._claimed = b""
        self._previous = signing.seed_signature if signing is not None else b""
        self._hash = hashlib.sha256()
        self._trailer_bytes = 0
        self._trailer_signature: bytes | None = None
        self._trailers: dict[str, str] = {}
        self._surplus = b"" if trailers is None else b"\r\n"
        self._failure: S3Failure | None = None

    @property
    def is_done(self) -> bool:
        """Whether the last byte of the body has been taken and verified."""
        return self._state is _State.DONE

    @property
    def trailers(self) -> dict[str, str]:
        """The trailer's values by lower-case name, once `finish` has returned."""
        check(self._state is _State.DONE, "trailers are read after the end")
        return dict(self._trailers)

    def receive(self, data: bytes) -> list[memoryview]:
        """The object's bytes found in the next piece of the body, as views into it.

        Raises IncompleteBody (bad framing, or another length than declared), SignatureDoesNotMatch,
        MalformedTrailerError, InvalidRequest (bytes after the end).
        """
        if self._failure is not None:
            raise self._failure
        try:
            return self._take(memoryview(data), data)
        except S3Failure as failure:
            self._failure, self._state = failure, _State.FAILED
            raise

    def finish(self) -> None:
        """The body has ended. Raises IncompleteBody if it was cut, or the failure that `receive` raised before."""
        if self._failure is not None:
            raise self._failure
        if self._state is not _State.DONE:
            self._failure, self._state = _fail(INCOMPLETE_BODY), _State.FAILED
            raise self._failure

    def _take(self, view: memoryview, data: bytes) -> list[memoryview]:
        pieces: list[memoryview] = []
        at = 0
        while at < len(data):
            if self._state is _State.DATA:
                piece = view[at : at + self._chunk_left]
                at += len(piece)
                self._take_data(piece)
                pieces.append(piece)
            elif self._state is _State.DONE:
                self._take_surplus(data[at:])
                break
            else:
                at = self._take_line(data, at)
        return pieces

    def _take_surplus(self, rest: bytes) -> None:
        if not self._surplus.startswith(rest):
            raise _fail(INVALID_REQUEST, "The request body goes on after its last chunk.")
        self._surplus = self._surplus[len(rest) :]

    def _take_data(self, piece: memoryview) -> None:
        if self._signing is not None:
            self._hash.update(piece)
        self._chunk_left -= len(piece)
        if self._chunk_left == 0:
            self._verify_chunk()
            self._state = _State.DATA_END

    def _take_line(self, data: bytes, at: int) -> int:
        """Add to the line at hand, up to its LF; act on it when it is whole. Looks at each byte of `data` once."""
        bound = TRAILER_BYTES_MAX if self._state is _State.TRAILER else CHUNK_LINE_BYTES_MAX
        room = bound - len(self._line)
        newline = data.find(b"\n", at, at + room)
        end = newline + 1 if newline >= 0 else min(len(data), at + room)
        self._line += data[at:end]
        if newline >= 0:
            line = bytes(self._line)
            self._line.clear()
            self._take_whole_line(line)
        elif len(self._line) >= bound:
            raise self._bad_line("A line of the request body is too long.")
        return end

    def _take_whole_line(self, line: bytes) -> None:
        if self._state is _State.TRAILER:
            self._take_trailer_line(line)
        elif not line.endswith(b"\r\n"):
            raise self._bad_line("A line of the request body does not end in CRLF.")
        elif self._state is _State.LINE:
            self._start_chunk(line[:-2])
        else:
            if line != b"\r\n":
                raise self._bad_line("A chunk is longer than its size.")
            self._state = _State.DONE if self._chunk_is_last else _State.LINE

    def _start_chunk(self, line: bytes) -> None:
        size = self._read_size(line)
        if size > self._left:
            raise _fail(INCOMPLETE_BODY, "The body is longer than x-amz-decoded-content-length.")
        self._left -= size
        self._chunk_left = size
        self._hash = hashlib.sha256()
        if size:
            self._state = _State.DATA
            return
        if self._left:
            raise _fail(INCOMPLETE_BODY, "The body is shorter than x-amz-decoded-content-length.")
        self._verify_chunk()
        self._chunk_is_last = True
        self._state = _State.DATA_END if self._declared is None else _State.TRAILER

    def _read_size(self, line: bytes) -> int:
        found = (_UNSIGNED_LINE if self._signing is None else _SIGNED_LINE).fullmatch(line)
        if found is not None:
            self._claimed = found[2] if self._signing is not None else b""
            return int(found[1], 16)
        if self._signing is not None and _UNSIGNED_LINE.fullmatch(line.partition(b";")[0]):
            raise _fail(SIGNATURE_DOES_NOT_MATCH, "A chunk has no well-formed chunk-signature.")
        raise _fail(INCOMPLETE_BODY, "A chunk's first line is not well-formed.")

    def _verify_chunk(self) -> None:
        if self._signing is None:
            return
        computed = self._signing.sign_chunk(self._previous, self._hash.hexdigest())
        if not hmac.compare_digest(computed, self._claimed):
            raise _fail(SIGNATURE_DOES_NOT_MATCH)
        self._previous = computed

    def _take_trailer_line(self, line: bytes) -> None:
        self._trailer_bytes += len(line)
        if self._trailer_bytes > TRAILER_BYTES_MAX:
            raise self._bad_line("The trailer is too long.")
        text = line[:-2] if line.endswith(b"\r\n") else line[:-1]
        if text:
            self._add_trailer(text)
        elif self._signing is None or self._trailer_signature is not None:
            self._end_trailer()
        elif not self._trailers:
            raise self._bad_line("The trailer is missing.")
        # Else: the empty line that minio-go sends between the trailer's lines and their signature.

    def _add_trailer(self, text: bytes) -> None:
        found = _TRAILER_LINE.fullmatch(text)
        if found is None or self._trailer_signature is not None:
            raise self._bad_line("A line of the trailer is not well-formed.")
        name, value = found[1].lower(), found[2].strip()
        if name == _TRAILER_SIGNATURE and self._signing is not None:
            self._trailer_signature = value
        elif name.decode() in self._trailers:
            raise self._bad_line("The trailer has a header more than once.")
        else:
            self._trailers[name.decode()] = value.decode("ascii")

    def _end_trailer(self) -> None:
        if self._trailers.keys() != self._declared:
            raise self._bad_line("The trailer does not hold the headers that x-amz-trailer declares.")
        if self._signing is not None:
            lines = "".join(f"{name}:{self._trailers[name]}\n" for name in sorted(self._trailers))
            computed = self._signing.sign_trailer(self._previous, hashlib.sha256(lines.encode()).hexdigest())
            if not hmac.compare_digest(computed, self._trailer_signature or b""):
                raise _fail(SIGNATURE_DOES_NOT_MATCH)
        self._state = _State.DONE

    def _bad_line(self, message: str) -> S3Failure:
        return _fail(MALFORMED_TRAILER if self._state is _State.TRAILER else INCOMPLETE_BODY, message)


def _fail(row: S3Error, message: str | None = None) -> S3Failure:
    return S3Failure(row, message)


def parse_decoded_length(headers: Headers) -> int:
    """The value of `x-amz-decoded-content-length`. Raises MissingContentLength without it, InvalidArgument if bad."""
    value = headers.get("x-amz-decoded-content-length")
    if value is None:
        raise S3Failure(MISSING_CONTENT_LENGTH)
    if not re.fullmatch(r"[0-9]{1,18}", value):
        raise S3Failure(INVALID_ARGUMENT, "The x-amz-decoded-content-length header is not valid.")
    return int(value)


def stored_content_encoding(value: str) -> str | None:
    """The Content-Encoding to keep with an object: the client's, without `aws-chunked`; None when nothing is left."""
    kept = [coding.strip() for coding in value.split(",")]
    return ", ".join(coding for coding in kept if coding and coding.lower() != "aws-chunked") or None
