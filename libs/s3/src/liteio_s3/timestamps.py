"""Times as S3 writes and reads them. Inside they are integers: nanoseconds since 1970."""

from datetime import UTC, datetime
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache
from typing import Final

from liteio_s3.limits import HTTP_DATE_CHARACTERS_MAX

_NANOSECONDS: Final = 1_000_000_000
_DAY_SECONDS: Final = 86_400

# A page of 1,000 rows formats 1,000 times; looking up three pieces takes a third of formatting six numbers.
_MINUTES: Final = tuple(f"T{minute // 60:02d}:{minute % 60:02d}:" for minute in range(24 * 60))
_SECONDS: Final = tuple(f"{second:02d}.000Z" for second in range(60))


def iso_timestamp(time_ns: int) -> str:
    """`2006-01-02T15:04:05.000Z`: whole seconds, as S3 writes them, so that LIST and Last-Modified agree."""
    return _iso_second(time_ns // _NANOSECONDS)


def http_date(time_ns: int) -> str:
    """`Mon, 02 Jan 2006 15:04:05 GMT`, for Last-Modified."""
    return formatdate(time_ns // _NANOSECONDS, usegmt=True)


def parse_http_date(text: str) -> int | None:
    """Seconds since 1970, or None for what is not a date: conditions with bad dates are ignored (RFC 9110, 13.1.3)."""
    if len(text) > HTTP_DATE_CHARACTERS_MAX:
        return None
    try:
        date = parsedate_to_datetime(text)
        return int((date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp())
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


@lru_cache(maxsize=8192)
def _iso_second(time_seconds: int) -> str:
    """What is written by the thousand, such as the objects of a page, shares seconds."""
    days, seconds = divmod(time_seconds, _DAY_SECONDS)
    return _date(days) + _MINUTES[seconds // 60] + _SECONDS[seconds % 60]


@lru_cache(maxsize=1024)
def _date(days: int) -> str:
    """Objects of a page share few days, and the calendar is the slow part."""
    return datetime.fromtimestamp(days * _DAY_SECONDS, UTC).strftime("%Y-%m-%d")
