import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_base.byte_span import ByteSpan
from liteio_s3.errors import S3Failure
from liteio_s3.ranges import content_range, parse_copy_range, parse_part_number, parse_range, refuse_range_with_part


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-0", ByteSpan(0, 1)),
        ("bytes=2-5", ByteSpan(2, 4)),
        ("bytes=2-", ByteSpan(2, 8)),
        ("bytes=-3", ByteSpan(7, 3)),
        ("bytes=-99", ByteSpan(0, 10)),
        ("bytes=0-52428799", ByteSpan(0, 10)),
        (" bytes=9-9999999999999999999 ", ByteSpan(9, 1)),
    ],
)
def test_a_single_range_is_cut_to_the_object(header: str, span: ByteSpan) -> None:
    assert parse_range(header, 10) == span


@pytest.mark.parametrize(
    "header",
    [None, "", "bytes", "bytes=", "bytes=-", "bytes=5-2", "bytes=0-1,3-4", "bytes=a-b", "bytes=１-2", "items=0-1"],
)
def test_what_is_no_single_range_is_ignored(header: str | None) -> None:
    assert parse_range(header, 10) is None


@pytest.mark.parametrize(
    ("header", "size_bytes"),
    [("bytes=10-", 10), ("bytes=10-20", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-5", 0)],
)
def test_a_range_that_holds_no_byte_is_not_satisfiable(header: str, size_bytes: int) -> None:
    with pytest.raises(S3Failure) as caught:
        parse_range(header, size_bytes)
    assert (caught.value.code, caught.value.status) == ("InvalidRange", 416)
    assert caught.value.fields == {"RangeRequested": header, "ActualObjectSize": str(size_bytes)}
    assert caught.value.headers == {"content-range": f"bytes */{size_bytes}"}


@pytest.mark.parametrize(
    "header", ["bytes=" + "0-1," * 25_000, "bytes=" + "1" * 100_000 + "-", "bytes=0-" + " " * 100_000]
)
def test_a_huge_header_costs_nothing(header: str) -> None:
    started = time.process_time()
    for _ in range(100):
        assert parse_range(header, 10) is None
    assert time.process_time() - started < 0.05


@given(st.integers(1, 100), st.integers(0, 120), st.integers(0, 120))
def test_a_range_gives_the_bytes_that_a_slice_gives(size_bytes: int, first: int, last: int) -> None:
    data = bytes(range(size_bytes))
    if first >= size_bytes or last < first:
        return
    span = parse_range(f"bytes={first}-{last}", size_bytes)
    assert span is not None
    assert data[span.start : span.end] == data[first : last + 1]
    assert content_range(span, size_bytes) == f"bytes {first}-{min(last, size_bytes - 1)}/{size_bytes}"


@given(st.text(max_size=80), st.integers(0, 50))
def test_any_header_is_read_ignored_or_unsatisfiable(header: str, size_bytes: int) -> None:
    for text in (header, "bytes=" + header):
        with suppress(S3Failure):
            span = parse_range(text, size_bytes)
            assert span is None or (span.length > 0 and span.end <= size_bytes)


def test_a_copy_names_both_ends() -> None:
    assert parse_copy_range(None, 10) is None
    assert parse_copy_range("bytes=0-9", 10) == ByteSpan(0, 10)


@pytest.mark.parametrize(
    "header", ["", "bytes=0-", "bytes=-5", "bytes=0-10", "bytes=5-4", "bytes=0-1,2-3", "0-5", "bytes=0-" + "9" * 5000]
)
def test_other_copy_ranges_are_refused(header: str) -> None:
    with pytest.raises(S3Failure) as caught:
        parse_copy_range(header, 10)
    assert caught.value.code == "InvalidArgument"
    assert caught.value.fields["ArgumentName"] == "x-amz-copy-source-range"
    assert len(caught.value.fields["ArgumentValue"]) < 200


def test_part_numbers_go_from_1_to_10000() -> None:
    assert (parse_part_number("1"), parse_part_number("10000")) == (1, 10_000)
    for text in ("", "0", "10001", "-1", "1.0", "²", "9" * 5000):
        with pytest.raises(S3Failure) as caught:
            parse_part_number(text)
        assert caught.value.code == "InvalidArgument"


def test_a_read_names_a_range_or_a_part() -> None:
    refuse_range_with_part("bytes=0-1", None)
    refuse_range_with_part(None, 1)
    with pytest.raises(S3Failure) as caught:
        refuse_range_with_part("bytes=0-1", 1)
    assert caught.value.code == "InvalidRequest"
