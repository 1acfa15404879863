"""Bodies: every way of framing and of vouching for them, and every way in which they can be wrong."""

import asyncio
import base64
import hashlib
import zlib
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from services.gateway.tests.raw_client import REGION, SECRET_KEY, Answer, RawClient, make_client, md5_header

from liteio_s3.signing import ChunkSigning, signing_key

BODY = b"0123456789" * 2_000
UNSIGNED_TRAILER = "STREAMING-UNSIGNED-PAYLOAD-TRAILER"
CRC = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()


@pytest.fixture
async def bucket(client: RawClient) -> str:
    await client.send("PUT", "/bucket")
    return "/bucket"


def framed(body: bytes, *, size: int = 8192, trailer: str = f"x-amz-checksum-crc32:{CRC}") -> bytes:
    chunks = [body[start : start + size] for start in range(0, len(body), size)]
    lines = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    return lines + b"0\r\n" + (f"{trailer}\r\n\r\n".encode() if trailer else b"\r\n")


async def put_trailer(
    client: RawClient, body: bytes, *, pieces: Sequence[bytes] | None = None, decoded: int = len(BODY), **given: str
) -> Answer:
    headers = {
        "x-amz-decoded-content-length": str(decoded),
        "x-amz-trailer": "x-amz-checksum-crc32",
        "content-encoding": "aws-chunked",
        "transfer-encoding": "chunked",
        **given,
    }
    return await client.send(
        "PUT",
        "/bucket/k",
        headers=headers,
        body=body,
        pieces=pieces,
        payload=UNSIGNED_TRAILER,
        declares_length=False,
    )


async def stored(client: RawClient) -> bytes | None:
    got = await client.send("GET", "/bucket/k")
    return got.body if got.status == 200 else None


async def test_trailer_without_content_length(client: RawClient, bucket: str) -> None:
    put = await put_trailer(client, framed(BODY))
    assert put.status == 200, put.body
    assert put.headers["x-amz-checksum-crc32"] == CRC
    got = await client.send("GET", "/bucket/k", headers={"x-amz-checksum-mode": "ENABLED"})
    assert got.body == BODY
    assert (got.headers["x-amz-checksum-crc32"], got.headers["x-amz-checksum-type"]) == (CRC, "FULL_OBJECT")
    assert "content-encoding" not in got.headers


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda framing: framing.replace(CRC.encode(), b"AAAAAA=="), "BadDigest"),
        (lambda framing: framing[: framing.index(b"x-amz-checksum")] + b"\r\n", "MalformedTrailerError"),
        (lambda framing: framing[:-2], "IncompleteBody"),
        (lambda framing: framing[:4000], "IncompleteBody"),
        (lambda framing: b"zz" + framing, "IncompleteBody"),
        (lambda framing: framing + b"more", "InvalidRequest"),
    ],
)
async def test_bad_trailer_bodies_store_nothing(client: RawClient, bucket: str, change: object, code: str) -> None:
    await client.send("PUT", "/bucket/k", body=b"earlier")
    assert callable(change)
    refused = await put_trailer(client, change(framed(BODY)))
    assert (refused.status, refused.code) == (400, code)
    assert await stored(client) == b"earlier"


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(0, len(framed(BODY)) - 1), at=st.integers(1, 5000))
def test_a_framed_body_cut_anywhere_stores_nothing(cut: int, at: int) -> None:
    async def attempt() -> None:
        client = make_client()
        await client.send("PUT", "/bucket")
        body = framed(BODY)[:cut]
        refused = await put_trailer(client, b"", pieces=[body[:at], body[at:]])
        assert refused.status == 400
        assert await stored(client) is None

    asyncio.run(attempt())


async def test_lengths_that_lie_are_refused(client: RawClient, bucket: str) -> None:
    assert (await put_trailer(client, framed(BODY), decoded=len(BODY) - 1)).code == "IncompleteBody"
    assert (await put_trailer(client, framed(BODY), decoded=len(BODY) + 1)).code == "IncompleteBody"
    short = await client.send(
        "PUT", "/bucket/k", body=b"abc", headers={"content-length": "4"}, payload="UNSIGNED-PAYLOAD"
    )
    assert short.code == "IncompleteBody"
    assert await stored(client) is None


async def test_unknown_streaming_kind_is_501_before_the_body(client: RawClient, bucket: str) -> None:
    answer = await client.send(
        "PUT", "/bucket/k", body=framed(BODY), payload="STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"
    )
    assert (answer.status, answer.code) == (501, "NotImplemented")
    assert client.layer.calls["put"] == 0


async def test_framing_is_never_stored_as_the_object(client: RawClient, bucket: str) -> None:
    headers = {"content-encoding": "aws-chunked", "x-amz-decoded-content-length": str(len(BODY))}
    answer = await client.send("PUT", "/bucket/k", body=framed(BODY), headers=headers, payload="UNSIGNED-PAYLOAD")
    assert answer.status == 400
    assert await stored(client) is None


async def test_wrong_sha256_md5_and_checksums_store_nothing(client: RawClient, bucket: str) -> None:
    wrong_hash = await client.send("PUT", "/bucket/k", body=BODY, payload=hashlib.sha256(b"other").hexdigest())
    assert (wrong_hash.status, wrong_hash.code) == (400, "XAmzContentSHA256Mismatch")
    wrong_md5 = await client.send("PUT", "/bucket/k", body=BODY, headers=md5_header(b"other"))
    assert (wrong_md5.status, wrong_md5.code) == (400, "BadDigest")
    bad_md5 = await client.send("PUT", "/bucket/k", body=BODY, headers={"content-md5": "short"})
    assert (bad_md5.status, bad_md5.code) == (400, "InvalidDigest")
    for name, value in [
        ("crc32", "AAAAAA=="),
        ("crc32c", "AAAAAA=="),
        ("crc64nvme", "AAAAAAAAAAA="),
        ("sha1", base64.b64encode(bytes(20)).decode()),
        ("sha256", base64.b64encode(bytes(32)).decode()),
    ]:
        answer = await client.send("PUT", "/bucket/k", body=BODY, headers={f"x-amz-checksum-{name}": value})
        assert (answer.status, answer.code) == (400, "BadDigest"), name
    assert await stored(client) is None


async def test_a_chunked_body_needs_a_length(client: RawClient, bucket: str) -> None:
    headers = {"transfer-encoding": "chunked"}
    answer = await client.send("PUT", "/bucket/k", body=BODY, headers=headers, declares_length=False)
    assert (answer.status, answer.code) == (411, "MissingContentLength")
    assert answer.headers["connection"] == "close"


async def test_too_large_is_refused_before_a_byte_is_read(client: RawClient, bucket: str) -> None:
    headers = {"content-length": str(6 * 1024**4), "expect": "100-continue"}
    answer = await client.send("PUT", "/bucket/k", body=b"", headers=headers, payload="UNSIGNED-PAYLOAD")
    assert (answer.status, answer.code, answer.received) == (400, "EntityTooLarge", 0)


async def test_a_silent_client_is_let_go(client: RawClient) -> None:
    hasty = make_client(client.layer, body_idle_seconds=0.05)
    await hasty.send("PUT", "/bucket")
    headers = {"content-length": "100000"}
    answer = await hasty.send(
        "PUT", "/bucket/k", pieces=[b"abc"], headers=headers, payload="UNSIGNED-PAYLOAD", stalls=True
    )
    assert (answer.status, answer.code) == (400, "RequestTimeout")
    assert answer.headers["connection"] == "close"
    assert hasty.layer._buckets["bucket"].keys == {}


async def signed_chunks(client: RawClient, body: bytes, *, key: str = SECRET_KEY, flips: bool = False) -> Answer:
    """STREAMING-AWS4-HMAC-SHA256-PAYLOAD by hand: seed signature from the request, then one for each chunk."""
    named = {
        "host": client.host,
        "x-amz-content-sha256": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
        "x-amz-decoded-content-length": str(len(body)),
        **md5_header(body),
    }
    signed = client.sign("PUT", "/bucket/k", "", named)
    seed = signed["authorization"].rpartition("Signature=")[2].encode()
    date = signed["x-amz-date"]
    scope = f"{date[:8]}/{REGION}/s3/aws4_request".encode()
    signing = ChunkSigning(signing_key(key, date[:8], REGION, "s3"), date.encode(), scope, seed)
    framing, previous = b"", seed
    for start in [*range(0, len(body), 8192), None]:
        chunk = b"" if start is None else body[start : start + 8192]
        previous = signing.sign_chunk(previous, hashlib.sha256(chunk).hexdigest())
        sent = chunk[::-1] if flips and chunk else chunk
        framing += b"%x;chunk-signature=%b\r\n%b\r\n" % (len(chunk), previous, sent)
    raw = [(name.encode(), value.encode()) for name, value in signed.items()]
    raw.append((b"content-length", str(len(framing)).encode()))
    return await client.speak("PUT", b"/bucket/k", b"", raw, [framing[:700], framing[700:]])


async def test_signed_chunks(client: RawClient, bucket: str) -> None:
    assert (await signed_chunks(client, BODY)).status == 200
    assert await stored(client) == BODY


async def test_chunks_with_a_wrong_signature_store_nothing(client: RawClient, bucket: str) -> None:
    for answer in (await signed_chunks(client, BODY, key="other"), await signed_chunks(client, BODY, flips=True)):
        assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")
    assert await stored(client) is None


@pytest.mark.parametrize("size", [1024 * 1024 - 1, 1024 * 1024, 3 * 1024 * 1024 + 17])
async def test_large_bodies_are_cut_into_blocks(client: RawClient, bucket: str, size: int) -> None:
    body = bytes(range(251)) * (size // 251 + 1)
    body = body[:size]
    pieces = [body[start : start + 100_000] for start in range(0, size, 100_000)]
    put = await client.send("PUT", "/bucket/k", pieces=pieces, headers=md5_header(body))
    assert put.headers["etag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert await stored(client) == body
