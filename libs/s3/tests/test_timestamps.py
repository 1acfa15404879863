from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_s3.timestamps import http_date, iso_timestamp, parse_http_date

NS = 1_000_000_000


@given(st.integers(0, 4_000_000_000), st.integers(0, NS - 1))
def test_times_are_written_as_the_calendar_says(seconds: int, nanoseconds: int) -> None:
    expected = datetime.fromtimestamp(seconds, UTC)
    time_ns = seconds * NS + nanoseconds
    assert iso_timestamp(time_ns) == expected.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    assert parse_http_date(http_date(time_ns)) == seconds


@pytest.mark.parametrize(
    "text",
    ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"],
)
def test_the_three_forms_of_http_dates(text: str) -> None:
    assert parse_http_date(text) == 784_111_777


@pytest.mark.parametrize("text", ["", "yesterday", "Sun, 99 Nov 1994 08:49:37 GMT", "9" * 60, "Sun, " * 30_000])
def test_what_is_no_date_is_none(text: str) -> None:
    assert parse_http_date(text) is None


@given(st.text(max_size=70))
def test_any_text_is_a_date_or_none(text: str) -> None:
    result = parse_http_date(text)
    assert result is None or isinstance(result, int)
