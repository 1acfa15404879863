import time

import pytest

from liteio_s3.errors import S3Failure
from liteio_s3.headers import read_headers


def test_repeated_headers_are_joined_and_values_trimmed() -> None:
    raw = [(b"x-amz-meta-a", b" 1 "), (b"range", b"bytes=0-1"), (b"x-amz-meta-a", "ü".encode())]
    assert read_headers(raw) == {"x-amz-meta-a": "1,Ã¼", "range": "bytes=0-1"}


def test_two_ranges_in_two_headers_are_no_single_range() -> None:
    assert read_headers([(b"range", b"bytes=0-1"), (b"range", b"bytes=2-3")])["range"] == "bytes=0-1,bytes=2-3"


def test_more_than_8_kib_are_refused() -> None:
    assert read_headers([(b"a", b"b" * (8192 - 5))])
    with pytest.raises(S3Failure) as caught:
        read_headers([(b"a", b"b" * (8192 - 4))])
    assert caught.value.code == "RequestHeaderSectionTooLarge"


def test_a_flood_of_headers_costs_little() -> None:
    started = time.process_time()
    with pytest.raises(S3Failure):
        read_headers([(b"a", b"b")] * 100_000)
    assert time.process_time() - started < 0.05


@pytest.mark.parametrize("name", [b"x-liteio-internal-seal", b"x-liteio-replica"])
def test_internal_headers_are_not_taken_from_clients(name: bytes) -> None:
    with pytest.raises(S3Failure) as caught:
        read_headers([(name, b"1")])
    assert caught.value.status == 400
