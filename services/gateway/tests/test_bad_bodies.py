"""Bodies that lie: framing cut or damaged at every byte, and every checksum that does not hold, wherever it may stand.

Whatever happens, the object that was there stays, or the body is stored whole: nothing between the two.
"""

import base64
import hashlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import pytest
from services.gateway.tests.raw_client import REGION, SECRET_KEY, Answer, RawClient

from liteio_s3.checksums import ChecksumAlgorithm, encode_checksum, new_checksum
from liteio_s3.signing import ChunkSigning, signing_key

BODY: Final = b"0123456789abcdefghij"
EARLIER: Final = b"earlier"
CPU_SECONDS_MAX: Final = 0.1
KINDS: Final = [
    "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
]


def checksum_of(algorithm: ChecksumAlgorithm, body: bytes) -> str:
    running = new_checksum(algorithm)
    running.update(body)
    return encode_checksum(running.digest())


@dataclass(frozen=True, slots=True)
class Framed:
    """A signed streaming upload: the headers, and the body in its frames."""

    headers: list[tuple[bytes, bytes]]
    frames: bytes

    async def put(self, client: RawClient, frames: bytes) -> Answer:
        headers = [*self.headers, (b"content-length", str(len(frames)).encode())]
        return await client.speak("PUT", b"/bucket/k", b"", headers, [frames[:30], frames[30:]])


def framed(client: RawClient, kind: str) -> Framed:
    """Two chunks and the last one, signed by hand where `kind` says so, with a CRC32 as trailer where it has one."""
    trailer = f"x-amz-checksum-crc32:{checksum_of(ChecksumAlgorithm.CRC32, BODY)}" if "TRAILER" in kind else ""
    named = {
        "host": client.host,
        "x-amz-content-sha256": kind,
        "x-amz-decoded-content-length": str(len(BODY)),
        **({"x-amz-trailer": "x-amz-checksum-crc32"} if trailer else {}),
    }
    signed = client.sign("PUT", "/bucket/k", "", named)
    headers = [(name.encode(), value.encode()) for name, value in signed.items()]
    chunks = [BODY[:12], BODY[12:], b""]
    if "HMAC" not in kind:
        lines = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks[:2])
        return Framed(headers, lines + b"0\r\n" + trailer.encode() + b"\r\n\r\n")
    previous, date = signed["authorization"].rpartition("Signature=")[2].encode(), signed["x-amz-date"]
    scope = f"{date[:8]}/{REGION}/s3/aws4_request".encode()
    signing = ChunkSigning(signing_key(SECRET_KEY, date[:8], REGION, "s3"), date.encode(), scope, previous)
    frames = b""
    for chunk in chunks:
        previous = signing.sign_chunk(previous, hashlib.sha256(chunk).hexdigest())
        frames += b"%x;chunk-signature=%b\r\n%b" % (len(chunk), previous, chunk) + (b"\r\n" if chunk else b"")
    if not trailer:
        return Framed(headers, frames + b"\r\n")
    signature = signing.sign_trailer(previous, hashlib.sha256(trailer.encode() + b"\n").hexdigest())
    return Framed(headers, frames + trailer.encode() + b"\r\nx-amz-trailer-signature:" + signature + b"\r\n\r\n")


@pytest.fixture
async def bucket(client: RawClient) -> str:
    """A bucket with an object that must outlive whatever the test sends."""
    await client.send("PUT", "/bucket")
    await client.send("PUT", "/bucket/k", body=EARLIER)
    return "/bucket"


async def assert_harmless(client: RawClient, upload: Framed, frames: bytes) -> Answer:
    """Refused with a 4xx and nothing stored, at once. Without a signature some damage makes another spelling of the
    same body (an upper-case digit): then the body is stored as it was meant."""
    started = time.process_time()
    answer = await upload.put(client, frames)
    assert time.process_time() - started < CPU_SECONDS_MAX, frames
    kept = (await client.send("GET", "/bucket/k")).body
    if answer.status == 200:
        assert kept == BODY, frames
        await client.send("PUT", "/bucket/k", body=EARLIER)
    else:
        assert (answer.status in (400, 403, 411), kept) == (True, EARLIER), (frames, answer.body)
    return answer


@pytest.mark.parametrize("kind", KINDS)
async def test_frames_as_they_should_be_are_stored(client: RawClient, bucket: str, kind: str) -> None:
    upload = framed(client, kind)
    assert (await upload.put(client, upload.frames)).status == 200
    assert (await client.send("GET", "/bucket/k")).body == BODY


@pytest.mark.parametrize("kind", KINDS)
async def test_frames_cut_at_any_byte_store_nothing(client: RawClient, bucket: str, kind: str) -> None:
    upload = framed(client, kind)
    for end in range(len(upload.frames)):
        answer = await assert_harmless(client, upload, upload.frames[:end])
        assert answer.status == 400, upload.frames[:end]


def damages_of(frames: bytes) -> Iterator[bytes]:
    for index in range(len(frames)):
        for damaged in (frames[index] ^ 1, frames[index] ^ 0x80, 0x0D):
            yield frames[:index] + bytes([damaged]) + frames[index + 1 :]
        yield frames[:index] + frames[index + 1 :]
        yield frames[:index] + frames[index : index + 1] + frames[index:]


@pytest.mark.parametrize("kind", KINDS)
async def test_frames_damaged_at_any_byte_store_nothing_else(client: RawClient, bucket: str, kind: str) -> None:
    upload = framed(client, kind)
    refused = 0
    for frames in damages_of(upload.frames):
        if frames != upload.frames:
            refused += (await assert_harmless(client, upload, frames)).status != 200
    assert refused > 4.5 * len(upload.frames)


@pytest.mark.parametrize("algorithm", list(ChecksumAlgorithm))
@pytest.mark.parametrize("place", ["header", "trailer"])
async def test_a_checksum_that_does_not_hold_stores_nothing(
    client: RawClient, bucket: str, algorithm: ChecksumAlgorithm, place: str
) -> None:
    """Each algorithm, as header and as trailer, of an object and of a part."""
    created = await client.send(
        "POST", "/bucket/m", query="uploads", headers={"x-amz-checksum-algorithm": algorithm.value}
    )
    upload = f"uploadId={created.text('UploadId')}"
    targets = (("/bucket/k", ""), ("/bucket/m", f"partNumber=1&{upload}"))
    for path, query in targets:
        refused = await put_claiming(client, path, query, algorithm, place, checksum_of(algorithm, b"other"))
        assert (refused.status, refused.code) == (400, "BadDigest"), path
    assert (await client.send("GET", "/bucket/k")).body == EARLIER
    assert (await client.send("GET", "/bucket/m", query=upload)).texts("PartNumber") == []
    for path, query in targets:
        stored = await put_claiming(client, path, query, algorithm, place, checksum_of(algorithm, BODY))
        assert stored.status == 200, stored.body


async def put_claiming(
    client: RawClient, path: str, query: str, algorithm: ChecksumAlgorithm, place: str, value: str
) -> Answer:
    if place == "header":
        return await client.send("PUT", path, query=query, body=BODY, headers={algorithm.header: value})
    frames = b"%x\r\n%b\r\n0\r\n" % (len(BODY), BODY) + f"{algorithm.header}:{value}\r\n\r\n".encode()
    headers = {"x-amz-trailer": algorithm.header, "x-amz-decoded-content-length": str(len(BODY))}
    return await client.send("PUT", path, query=query, body=frames, headers=headers, payload=KINDS[0])


async def test_a_md5_or_hash_that_does_not_hold_stores_no_part(client: RawClient, bucket: str) -> None:
    upload = (await client.send("POST", "/bucket/m", query="uploads")).text("UploadId")
    query = f"partNumber=1&uploadId={upload}"
    wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
    by_md5 = await client.send("PUT", "/bucket/m", query=query, body=BODY, headers={"content-md5": wrong})
    assert (by_md5.status, by_md5.code) == (400, "BadDigest")
    by_hash = await client.send("PUT", "/bucket/m", query=query, body=BODY, payload=hashlib.sha256(b"x").hexdigest())
    assert (by_hash.status, by_hash.code) == (400, "XAmzContentSHA256Mismatch")
    assert (await client.send("GET", "/bucket/m", query=f"uploadId={upload}")).texts("PartNumber") == []
