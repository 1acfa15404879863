"""Conditions of reads, copies and writes, judged as pure functions.

Rules of S3 (API reference: GetObject, CopyObject, PutObject, DeleteObject), which are RFC 9110's section 13.2.2:
- If-Match decides and If-Unmodified-Since is then not looked at; If-None-Match the same with If-Modified-Since;
- ETags come quoted or bare, alone or in a list; a weak one never satisfies If-Match;
- a date that cannot be read is a condition that was not given;
- of writes only `If-None-Match: *` and `If-Match` exist; anything else is refused, never skipped.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from liteio_s3.errors import NOT_IMPLEMENTED, S3Failure
from liteio_s3.timestamps import parse_http_date

ANY_ETAG: Final = "*"
COPY_SOURCE_PREFIX: Final = "x-amz-copy-source-"
_NANOSECONDS: Final = 1_000_000_000


class Outcome(StrEnum):
    """What a request's conditions say about the object that is there."""

    PROCEED = "proceed"
    NOT_MODIFIED = "not-modified"  # 304
    PRECONDITION_FAILED = "precondition-failed"  # 412


@dataclass(frozen=True, slots=True)
class ReadConditions:
    """The four conditions of a read. Header values as sent; dates in seconds since 1970. None: not given."""

    if_match: str | None = None
    if_none_match: str | None = None
    if_modified_since: int | None = None
    if_unmodified_since: int | None = None


@dataclass(frozen=True, slots=True)
class WriteConditions:
    """What must hold of the key's current version when a write becomes visible.

    `must_match` is a bare ETag, or ANY_ETAG for "some object is there". A delete marker counts as no object.
    """

    must_be_absent: bool = False
    must_match: str | None = None


NO_READ_CONDITIONS: Final = ReadConditions()
NO_WRITE_CONDITIONS: Final = WriteConditions()


def parse_read_conditions(headers: Mapping[str, str], *, prefix: str = "") -> ReadConditions:
    """The conditions in `headers` (names in lower case), each under `prefix`: "" or COPY_SOURCE_PREFIX."""
    if headers.keys().isdisjoint(_condition_names(prefix)):
        return NO_READ_CONDITIONS
    return ReadConditions(
        headers.get(f"{prefix}if-match"),
        headers.get(f"{prefix}if-none-match"),
        _date(headers.get(f"{prefix}if-modified-since")),
        _date(headers.get(f"{prefix}if-unmodified-since")),
    )


def judge_read(conditions: ReadConditions, etag: str, last_modified_ns: int) -> Outcome:
    """What a GET or HEAD of an object with this bare ETag and time should do. Dates compare in whole seconds."""
    changed = last_modified_ns // _NANOSECONDS
    if conditions.if_match is not None:
        if not _matches(conditions.if_match, etag, weak=False):
            return Outcome.PRECONDITION_FAILED
    elif conditions.if_unmodified_since is not None and changed > conditions.if_unmodified_since:
        return Outcome.PRECONDITION_FAILED
    if conditions.if_none_match is not None:
        if _matches(conditions.if_none_match, etag, weak=True):
            return Outcome.NOT_MODIFIED
    elif conditions.if_modified_since is not None and changed <= conditions.if_modified_since:
        return Outcome.NOT_MODIFIED
    return Outcome.PROCEED


def is_range_current(if_range: str | None, etag: str, last_modified_ns: int) -> bool:
    """Whether a Range is to be looked at: without If-Range, or with one that names this very object.

    Source: RFC 9110, section 13.1.5. Parts of two objects must not be pieced together, so whatever is neither this
    ETag (quoted or bare, not weak) nor the very second of this modification asks for the whole object.
    """
    if if_range is None:
        return True
    if _bare(if_range) == etag:
        return True
    return parse_http_date(if_range) == last_modified_ns // _NANOSECONDS


def judge_copy_source(conditions: ReadConditions, etag: str, last_modified_ns: int) -> Outcome:
    """The same for the source of a copy, which has no 304: PROCEED or PRECONDITION_FAILED."""
    proceeds = judge_read(conditions, etag, last_modified_ns) is Outcome.PROCEED
    return Outcome.PROCEED if proceeds else Outcome.PRECONDITION_FAILED


def parse_write_conditions(headers: Mapping[str, str]) -> WriteConditions:
    """The conditions of PutObject, CopyObject or CompleteMultipartUpload (names in lower case).

    Raises: S3Failure with NotImplemented for If-None-Match with anything but `*`, and for both headers at once.
    """
    if_none_match, if_match = headers.get("if-none-match"), headers.get("if-match")
    if if_none_match is not None and (if_match is not None or _bare(if_none_match) != ANY_ETAG):
        raise S3Failure(NOT_IMPLEMENTED, fields={"Header": "If-None-Match"})
    if if_match is not None and ("," in if_match or not _bare(if_match)):
        raise S3Failure(NOT_IMPLEMENTED, fields={"Header": "If-Match"})
    if if_none_match is None and if_match is None:
        return NO_WRITE_CONDITIONS
    return WriteConditions(if_none_match is not None, None if if_match is None else _bare(if_match))


def parse_delete_conditions(headers: Mapping[str, str], *, names_version: bool) -> WriteConditions:
    """The condition of DeleteObject: If-Match only, and only for the current version (`names_version` False), as at S3.

    Raises: S3Failure with NotImplemented.
    """
    header = "If-None-Match" if "if-none-match" in headers else "If-Match"
    if "if-none-match" in headers or (names_version and "if-match" in headers):
        raise S3Failure(NOT_IMPLEMENTED, fields={"Header": header})
    return parse_write_conditions(headers)


@lru_cache(maxsize=4)
def _condition_names(prefix: str) -> frozenset[str]:
    return frozenset(f"{prefix}if-{name}" for name in ("match", "none-match", "modified-since", "unmodified-since"))


def _matches(header: str, etag: str, *, weak: bool) -> bool:
    """Whether the list in `header` names `etag`. Cost: linear in the header."""
    for item in header.split(","):
        candidate = item.strip()
        if candidate.startswith("W/"):
            if not weak:
                continue
            candidate = candidate[2:]
        if candidate.strip('"') in (etag, ANY_ETAG):
            return True
    return False


def _bare(etag: str) -> str:
    return etag.strip().strip('"')


def _date(header: str | None) -> int | None:
    return None if header is None else parse_http_date(header)
