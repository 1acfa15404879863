"""Checksums against published check values and other libraries; composition and combination against whole bytes."""

import base64
import hashlib

import google_crc32c
import pytest
from hypothesis import given
from hypothesis import strategies as st

from liteio_base.check import BrokenBelief
from liteio_s3.checksums import (
    ChecksumAlgorithm,
    ChecksumType,
    allows,
    check_digest,
    checksum_of,
    combine_checksums,
    composite_checksum,
    decode_checksum,
    default_type,
    encode_checksum,
    new_checksum,
)
from liteio_s3.errors import S3Failure

algorithms = st.sampled_from(ChecksumAlgorithm)
CRCS = (ChecksumAlgorithm.CRC32, ChecksumAlgorithm.CRC32C, ChecksumAlgorithm.CRC64NVME)


@pytest.mark.parametrize(
    ("algorithm", "digest"),
    [
        (ChecksumAlgorithm.CRC32, "cbf43926"),  # the check values of the CRC catalogue: of "123456789"
        (ChecksumAlgorithm.CRC32C, "e3069283"),
        (ChecksumAlgorithm.CRC64NVME, "ae8b14860a799888"),
        (ChecksumAlgorithm.SHA1, hashlib.sha1(b"123456789").hexdigest()),
        (ChecksumAlgorithm.SHA256, hashlib.sha256(b"123456789").hexdigest()),
    ],
)
def test_the_published_check_values(algorithm: ChecksumAlgorithm, digest: str) -> None:
    assert checksum_of(algorithm, b"123456789").hex() == digest
    assert algorithm.digest_bytes == len(digest) // 2
    assert algorithm.header == f"x-amz-checksum-{algorithm.value.lower()}"


@given(st.binary(max_size=2000))
def test_crc32c_agrees_with_another_library(data: bytes) -> None:
    assert checksum_of(ChecksumAlgorithm.CRC32C, data) == google_crc32c.value(data).to_bytes(4, "big")


@given(algorithms, st.lists(st.binary(max_size=100), max_size=5))
def test_pieces_sum_to_the_whole(algorithm: ChecksumAlgorithm, pieces: list[bytes]) -> None:
    running = new_checksum(algorithm)
    for piece in pieces:
        running.update(memoryview(piece))
        running.digest()
    assert running.digest() == checksum_of(algorithm, b"".join(pieces))


@given(st.sampled_from(CRCS), st.lists(st.binary(max_size=200), min_size=1, max_size=6))
def test_crcs_of_parts_combine_to_the_crc_of_the_object(algorithm: ChecksumAlgorithm, parts: list[bytes]) -> None:
    sums = [(checksum_of(algorithm, part), len(part)) for part in parts]
    assert combine_checksums(algorithm, sums) == checksum_of(algorithm, b"".join(parts))


def test_lengths_past_32_bits_combine() -> None:
    """Adding 5 GiB of zeros by one step is adding them by five of 1 GiB."""
    for algorithm in CRCS:
        first, zeros = checksum_of(algorithm, b"x"), checksum_of(algorithm, b"\0" * 2**20)
        gib = combine_checksums(algorithm, [(zeros, 2**20)] * 1024)
        five = combine_checksums(algorithm, [(gib, 2**30)] * 5)
        assert combine_checksums(algorithm, [(first, 1), (five, 5 * 2**30)]) == combine_checksums(
            algorithm, [(first, 1), *[(gib, 2**30)] * 5]
        )


def test_a_sha_does_not_combine() -> None:
    with pytest.raises(BrokenBelief):
        combine_checksums(ChecksumAlgorithm.SHA256, [(b"\0" * 32, 1)])
    with pytest.raises(BrokenBelief):
        combine_checksums(ChecksumAlgorithm.CRC32, [])


def test_a_composite_is_the_sum_of_the_parts_sums() -> None:
    digests = [hashlib.sha256(part).digest() for part in (b"a", b"b", b"c")]
    whole = base64.b64encode(hashlib.sha256(b"".join(digests)).digest()).decode()
    assert composite_checksum(ChecksumAlgorithm.SHA256, digests) == f"{whole}-3"


def test_the_types_that_s3_allows() -> None:
    allowed = {(a.value, t.value) for a in ChecksumAlgorithm for t in ChecksumType if allows(a, t)}
    assert allowed == {
        ("CRC32", "COMPOSITE"),
        ("CRC32", "FULL_OBJECT"),
        ("CRC32C", "COMPOSITE"),
        ("CRC32C", "FULL_OBJECT"),
        ("CRC64NVME", "FULL_OBJECT"),
        ("SHA1", "COMPOSITE"),
        ("SHA256", "COMPOSITE"),
    }
    assert all(allows(algorithm, default_type(algorithm)) for algorithm in ChecksumAlgorithm)


@given(algorithms, st.binary(max_size=40))
def test_values_come_back_from_their_text(algorithm: ChecksumAlgorithm, data: bytes) -> None:
    digest = checksum_of(algorithm, data)
    assert decode_checksum(algorithm, encode_checksum(digest)) == digest


@pytest.mark.parametrize(
    "text", ["", "AAAAAA=", "AAAAAA", "AAAAAB==", "AAAAAAAA", "AAA AAA==", "AAAAAA==\n", "é", "____AA=="]
)
def test_bad_values_are_refused(text: str) -> None:
    with pytest.raises(S3Failure) as raised:
        decode_checksum(ChecksumAlgorithm.CRC32, text)
    assert raised.value.code == "InvalidRequest"
    assert raised.value.message == "Value for x-amz-checksum-crc32 header is invalid."


def test_a_wrong_digest_is_a_bad_digest() -> None:
    check_digest(ChecksumAlgorithm.CRC32, b"abcd", b"abcd")
    with pytest.raises(S3Failure) as raised:
        check_digest(ChecksumAlgorithm.CRC32, b"abcd", b"abce")
    assert raised.value.code == "BadDigest"
    assert raised.value.message == "The CRC32 you specified did not match the calculated checksum."
