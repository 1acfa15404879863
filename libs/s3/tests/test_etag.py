"""ETags as S3 computes them."""

import hashlib

import pytest

from liteio_base.check import BrokenBelief
from liteio_s3.etag import etag_of, multipart_etag
from liteio_s3.md5 import new_md5


def test_an_object_in_one_piece_has_its_md5() -> None:
    running = new_md5()
    running.update(b"hel")
    running.update(memoryview(b"lo"))
    assert etag_of(running.digest()) == "5d41402abc4b2a76b9719d911017c592"


def test_an_object_of_parts_has_the_md5_of_their_md5s_and_their_count() -> None:
    parts = [hashlib.md5(part).digest() for part in (b"a", b"b")]
    assert multipart_etag(parts) == hashlib.md5(parts[0] + parts[1]).hexdigest() + "-2"
    assert multipart_etag(parts[:1]).endswith("-1")
    assert multipart_etag(parts) != multipart_etag(parts[::-1])


def test_only_md5s_make_etags() -> None:
    with pytest.raises(BrokenBelief):
        etag_of(b"short")
    for parts in ([], [b"short"]):
        with pytest.raises(BrokenBelief):
            multipart_etag(parts)
