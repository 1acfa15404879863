"""The decoder against an encoder of its own, AWS's worked examples, and bodies cut or damaged at every byte."""

import hashlib
import hmac
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from liteio_s3.aws_chunked import AwsChunkedDecoder, parse_decoded_length, stored_content_encoding
from liteio_s3.checksums import ChecksumAlgorithm, checksum_of, encode_checksum
from liteio_s3.errors import S3Failure
from liteio_s3.limits import TRAILER_BYTES_MAX
from liteio_s3.signing import ChunkSigning, signing_key

KEY, DATE, SCOPE, SEED = b"k" * 32, b"20260304T050607Z", b"20260304/us-east-1/s3/aws4_request", b"5" * 64
SIGNING = ChunkSigning(KEY, DATE, SCOPE, SEED)


@dataclass
class Encoder:
    """Written from AWS's pages alone: it shares no code with the decoder."""

    signed: bool = True
    key: bytes = KEY
    date: bytes = DATE
    scope: bytes = SCOPE
    previous: bytes = SEED
    out: bytearray = field(default_factory=bytearray)

    def sign(self, kind: str, *hashes: str) -> bytes:
        text = "\n".join([f"AWS4-HMAC-SHA256-{kind}", self.date.decode(), self.scope.decode(), self.previous.decode()])
        message = "\n".join([text, *hashes]).encode()
        self.previous = hmac.new(self.key, message, hashlib.sha256).hexdigest().encode()
        return self.previous

    def chunk(self, data: bytes) -> None:
        signature = self.sign("PAYLOAD", hashlib.sha256(b"").hexdigest(), hashlib.sha256(data).hexdigest())
        extension = b";chunk-signature=" + signature if self.signed else b""
        self.out += b"%x%s\r\n" % (len(data), extension) + data + (b"\r\n" if data else b"")

    def trailer(self, values: dict[str, str], *, as_minio_go: bool = False) -> None:
        lines = "".join(f"{name}:{value}\n" for name, value in sorted(values.items())).encode()
        signature = self.sign("TRAILER", hashlib.sha256(lines).hexdigest())
        self.out += lines + b"\r\n" if as_minio_go else lines.replace(b"\n", b"\r\n")
        self.out += b"x-amz-trailer-signature:" + signature + b"\r\n" if self.signed else b""
        self.out += b"\r\n"


CRC = ChecksumAlgorithm.CRC32C


def encode(
    chunks: Sequence[bytes], *, signed: bool = True, trailer: bool = False, as_minio_go: bool = False
) -> tuple[bytes, dict[str, str]]:
    encoder = Encoder(signed)
    for chunk in [*filter(None, chunks), b""]:
        encoder.chunk(chunk)
    values = {CRC.header: encode_checksum(checksum_of(CRC, b"".join(chunks)))} if trailer else {}
    if trailer:
        encoder.trailer(values, as_minio_go=as_minio_go)
    else:
        encoder.out += b"\r\n"
    return bytes(encoder.out), values


def decoder(length: int, *, signed: bool = True, trailer: bool = False) -> AwsChunkedDecoder:
    return AwsChunkedDecoder(
        decoded_length=length, signing=SIGNING if signed else None, trailers=[CRC.header] if trailer else None
    )


def decode(body: AwsChunkedDecoder, pieces: Sequence[bytes]) -> bytes:
    data = b"".join(bytes(part) for piece in pieces for part in body.receive(piece))
    body.finish()
    return data


MODES = [(True, False), (True, True), (False, True)]
SMALL = [b"first chunk", b"second\r\n0\r\n\r\n"]
SMALL_LENGTH = sum(map(len, SMALL))


@pytest.mark.parametrize("trailer", [False, True])
def test_the_example_of_the_documentation_decodes(trailer: bool) -> None:
    """AWS: 66,560 letters "a" in chunks of 64 and 1 KiB, by the key pair of all its examples."""
    key = signing_key("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "20130524", "us-east-1", "s3")
    seed, signatures = (
        (
            b"106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e",
            [
                b"b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
                b"1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
                b"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
            ],
        )
        if trailer
        else (
            b"4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9",
            [
                b"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
                b"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
                b"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
            ],
        )
    )
    signing = ChunkSigning(key, b"20130524T000000Z", b"20130524/us-east-1/s3/aws4_request", seed)
    names = ["x-amz-checksum-crc32c"] if trailer else None
    body = AwsChunkedDecoder(decoded_length=66560, signing=signing, trailers=names)
    data = b"a" * 66560
    pieces = [
        b"10000;chunk-signature=" + signatures[0] + b"\r\n" + data[:65536] + b"\r\n",
        b"400;chunk-signature=" + signatures[1] + b"\r\n" + data[65536:] + b"\r\n",
        b"0;chunk-signature=" + signatures[2] + b"\r\n",
    ]
    trailer_signature = b"d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435"
    lines = b"x-amz-checksum-crc32c:sOO8/Q==\r\nx-amz-trailer-signature:" + trailer_signature + b"\r\n"
    assert decode(body, [*pieces, (lines if trailer else b"") + b"\r\n"]) == data
    assert body.trailers == ({"x-amz-checksum-crc32c": "sOO8/Q=="} if trailer else {})


@settings(deadline=None)
@given(
    mode=st.sampled_from(MODES),
    chunks=st.lists(st.binary(max_size=300), max_size=5),
    cuts=st.lists(st.integers(0, 3000), max_size=12),
    as_minio_go=st.booleans(),
)
def test_bodies_decode_however_they_are_cut(
    mode: tuple[bool, bool], chunks: list[bytes], cuts: list[int], as_minio_go: bool
) -> None:
    signed, trailer = mode
    encoded, values = encode(chunks, signed=signed, trailer=trailer, as_minio_go=as_minio_go)
    places = sorted({0, len(encoded), *(cut for cut in cuts if cut < len(encoded))})
    pieces = [encoded[start:end] for start, end in pairwise(places)]
    body = decoder(sum(map(len, chunks)), signed=signed, trailer=trailer)
    assert decode(body, pieces) == b"".join(chunks)
    assert body.is_done
    assert body.trailers == values


@pytest.mark.parametrize(("signed", "trailer"), MODES)
def test_one_byte_at_a_time_decodes(signed: bool, trailer: bool) -> None:
    encoded, values = encode(SMALL, signed=signed, trailer=trailer)
    body = decoder(SMALL_LENGTH, signed=signed, trailer=trailer)
    assert decode(body, [encoded[at : at + 1] for at in range(len(encoded))]) == b"".join(SMALL)
    assert body.trailers == values


@pytest.mark.parametrize(("signed", "trailer"), MODES)
def test_a_body_cut_anywhere_is_incomplete(signed: bool, trailer: bool) -> None:
    encoded, _ = encode(SMALL, signed=signed, trailer=trailer)
    for cut in range(len(encoded)):
        body = decoder(SMALL_LENGTH, signed=signed, trailer=trailer)
        for _ in range(2):
            with pytest.raises(S3Failure) as raised:
                decode(body, [encoded[:cut]] if not body.is_done else [])
            assert raised.value.code in ("IncompleteBody", "MalformedTrailerError", "SignatureDoesNotMatch"), cut
        assert not body.is_done


@pytest.mark.parametrize(("signed", "trailer"), MODES)
@pytest.mark.parametrize("flip", [0x01, 0x20, 0x80, 0xFF])
def test_no_damaged_byte_goes_unnoticed(signed: bool, trailer: bool, flip: int) -> None:
    encoded, _ = encode(SMALL, signed=signed, trailer=trailer)
    for at in range(len(encoded)):
        damaged = bytearray(encoded)
        damaged[at] ^= flip
        body = decoder(SMALL_LENGTH, signed=signed, trailer=trailer)
        try:
            data = decode(body, [bytes(damaged)])
        except S3Failure:
            continue
        # What was let through says the same: upper-case digits or names; or, unsigned, differs from its checksum.
        checksum = body.trailers.get(CRC.header)
        if signed or checksum == encode_checksum(checksum_of(CRC, data)):
            assert data == b"".join(SMALL), at
            assert bytes(damaged).lower() == encoded.lower() or damaged[at : at + 2] == b" \n", at


def test_bytes_after_the_end_are_refused() -> None:
    encoded, _ = encode(SMALL)
    for surplus in (b"\r\n", b"0", b"\r", b"GET / HTTP/1.1\r\n"):
        with pytest.raises(S3Failure) as raised:
            decoder(SMALL_LENGTH).receive(encoded + surplus)
        assert raised.value.code == "InvalidRequest"


def test_one_more_crlf_is_taken_after_a_trailer_only() -> None:
    encoded, _ = encode(SMALL, signed=False, trailer=True)
    body = decoder(SMALL_LENGTH, signed=False, trailer=True)
    assert decode(body, [encoded, b"\r", b"\n"]) == b"".join(SMALL)
    with pytest.raises(S3Failure):
        body.receive(b"\r\n")


@pytest.mark.parametrize(("signed", "trailer"), MODES)
@pytest.mark.parametrize("difference", [-1, 1])
def test_the_length_must_be_the_declared_one(signed: bool, trailer: bool, difference: int) -> None:
    encoded, _ = encode(SMALL, signed=signed, trailer=trailer)
    with pytest.raises(S3Failure) as raised:
        decode(decoder(SMALL_LENGTH + difference, signed=signed, trailer=trailer), [encoded])
    assert raised.value.code == "IncompleteBody"


def test_chunks_cannot_be_swapped_repeated_or_left_out() -> None:
    encoder = Encoder()
    parts = []
    for chunk in (b"one", b"two", b""):
        start = len(encoder.out)
        encoder.chunk(chunk)
        parts.append(bytes(encoder.out[start:]))
    one, two, last = parts
    for pieces, length in (([two, one, last], 6), ([one, one, last], 6), ([one, last], 3), ([last], 0)):
        with pytest.raises(S3Failure) as raised:
            decode(decoder(length), [*pieces, b"\r\n"])
        assert raised.value.code == "SignatureDoesNotMatch"


def test_an_unsigned_body_is_not_taken_for_a_signed_one() -> None:
    encoded, _ = encode(SMALL, signed=False, trailer=True)
    with pytest.raises(S3Failure) as raised:
        decode(decoder(SMALL_LENGTH, signed=True, trailer=True), [encoded])
    assert raised.value.code == "SignatureDoesNotMatch"


def test_another_key_or_seed_is_refused() -> None:
    encoded, _ = encode(SMALL)
    for signing in (ChunkSigning(b"x" * 32, DATE, SCOPE, SEED), ChunkSigning(KEY, DATE, SCOPE, b"6" * 64)):
        with pytest.raises(S3Failure) as raised:
            decode(AwsChunkedDecoder(decoded_length=SMALL_LENGTH, signing=signing), [encoded])
        assert raised.value.code == "SignatureDoesNotMatch"


@pytest.mark.parametrize(
    ("line", "code"),
    [
        (b"\r\n", "IncompleteBody"),
        (b"-1\r\n", "IncompleteBody"),
        (b"0x1\r\n", "IncompleteBody"),
        (b"1_0\r\n", "IncompleteBody"),
        (b" 1\r\n", "IncompleteBody"),
        (b"1\n", "IncompleteBody"),
        (b"g\r\n", "IncompleteBody"),
        (b"1;chunk-signature=" + b"0" * 64 + b"\r\n", "IncompleteBody"),
        (b"f" * 17 + b"\r\n", "IncompleteBody"),
        (b"ffffffffffffffff\r\n", "IncompleteBody"),
        (b"1" * 100_000, "IncompleteBody"),
    ],
)
def test_bad_chunk_lines_are_refused(line: bytes, code: str) -> None:
    with pytest.raises(S3Failure) as raised:
        decoder(1, signed=False, trailer=True).receive(line)
    assert raised.value.code == code


@pytest.mark.parametrize(
    "trailer",
    [
        b"\r\n",
        b"x-amz-checksum-crc32:AAAAAA==\r\n\r\n",
        b"x-amz-checksum-crc32c:AAAAAA==\r\nx-amz-meta-a:b\r\n\r\n",
        b"x-amz-checksum-crc32c:AAAAAA==\r\nx-amz-checksum-crc32c:AAAAAA==\r\n\r\n",
        b"x-amz-checksum-crc32c\r\n\r\n",
        b"x-amz-checksum-crc32c:\x00\r\n\r\n",
        b"x amz:1\r\n\r\n",
        b":1\r\n\r\n",
        b"x-amz-checksum-crc32c:" + b"A" * TRAILER_BYTES_MAX,
        b"x-amz-checksum-crc32c:" + b"A" * TRAILER_BYTES_MAX + b"\r\n\r\n",
    ],
)
def test_bad_trailers_are_refused(trailer: bytes) -> None:
    with pytest.raises(S3Failure) as raised:
        decoder(0, signed=False, trailer=True).receive(b"0\r\n" + trailer)
    assert raised.value.code == "MalformedTrailerError"


def test_many_short_trailer_lines_are_refused() -> None:
    names = [f"x-amz-checksum-{number}" for number in range(1000)]
    body = AwsChunkedDecoder(decoded_length=0, trailers=names)
    with pytest.raises(S3Failure) as raised:
        body.receive(b"0\r\n" + b"".join(f"{name}:1\r\n".encode() for name in names))
    assert raised.value.code == "MalformedTrailerError"


def test_a_failure_stays() -> None:
    body = decoder(1)
    for _ in range(2):
        with pytest.raises(S3Failure):
            body.receive(b"zz\r\n")
    with pytest.raises(S3Failure):
        body.finish()


def test_data_is_released_as_views_of_what_came() -> None:
    encoded, _ = encode([b"x" * 100_000])
    pieces = decoder(100_000).receive(encoded)
    assert [len(piece) for piece in pieces] == [100_000]
    assert pieces[0].obj is encoded


def test_cost_is_linear_in_the_bytes_however_cut() -> None:
    """Four times the bytes, one at a time, must not cost sixteen times as much."""

    def seconds(size: int) -> float:
        encoded, _ = encode([b"\n" * size])
        body, started = decoder(size), time.process_time()
        for at in range(len(encoded)):
            body.receive(encoded[at : at + 1])
        return time.process_time() - started

    assert seconds(40_000) < 10 * max(seconds(10_000), 0.001)


@pytest.mark.parametrize("value", ["", "-1", "1.0", "1,1", "١", "9" * 19])
def test_bad_decoded_lengths_are_refused(value: str) -> None:
    with pytest.raises(S3Failure) as raised:
        parse_decoded_length({"x-amz-decoded-content-length": value})
    assert raised.value.code == "InvalidArgument"


def test_the_decoded_length_is_needed() -> None:
    assert parse_decoded_length({"x-amz-decoded-content-length": "66560"}) == 66560
    with pytest.raises(S3Failure) as raised:
        parse_decoded_length({})
    assert raised.value.status == 411


@pytest.mark.parametrize(
    ("sent", "kept"),
    [("aws-chunked", None), ("aws-chunked,gzip", "gzip"), ("gzip, AWS-Chunked", "gzip"), ("gzip, br", "gzip, br")],
)
def test_aws_chunked_is_not_kept_as_an_encoding(sent: str, kept: str | None) -> None:
    assert stored_content_encoding(sent) == kept
