"""Multipart uploads, from create to complete, with their checksums and everything that is refused."""

import base64
import hashlib
import zlib

import pytest
from services.gateway.tests.memory_layer import MemoryLayer
from services.gateway.tests.raw_client import Answer, RawClient, make_client

FIRST, SECOND = b"a" * 5000, b"b" * 700


@pytest.fixture
async def client() -> RawClient:
    client = make_client(MemoryLayer(part_bytes_min=1000))
    await client.send("PUT", "/bucket")
    return client


async def begin(client: RawClient, **headers: str) -> str:
    answer = await client.send("POST", "/bucket/k", query="uploads=", headers=headers)
    assert answer.status == 200, answer.body
    return answer.text("UploadId")


async def put_part(client: RawClient, upload: str, number: int, body: bytes, **headers: str) -> Answer:
    query = f"partNumber={number}&uploadId={upload}"
    return await client.send("PUT", "/bucket/k", query=query, body=body, headers=headers)


async def complete(
    client: RawClient, upload: str, parts: list[tuple[int, bytes]], extra: str = "", **headers: str
) -> Answer:
    rows = "".join(
        f"<Part><PartNumber>{number}</PartNumber><ETag>{hashlib.md5(body).hexdigest()}</ETag>{extra}</Part>"
        for number, body in parts
    )
    document = f"<CompleteMultipartUpload>{rows}</CompleteMultipartUpload>".encode()
    return await client.send("POST", "/bucket/k", query=f"uploadId={upload}", body=document, headers=headers)


def crc(body: bytes) -> str:
    return base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()


async def test_parts_become_an_object(client: RawClient) -> None:
    upload = await begin(client, **{"x-amz-meta-a": "1", "content-type": "text/x", "x-amz-tagging": "t=1"})
    assert (await put_part(client, upload, 3, FIRST)).headers["etag"] == f'"{hashlib.md5(FIRST).hexdigest()}"'
    await put_part(client, upload, 7, SECOND)
    made = await complete(client, upload, [(3, FIRST), (7, SECOND)])
    both = hashlib.md5(hashlib.md5(FIRST).digest() + hashlib.md5(SECOND).digest()).hexdigest()
    assert made.text("ETag") == f'"{both}-2"', made.body
    assert made.text("Location") == "http://127.0.0.1:9000/bucket/k"
    got = await client.send("GET", "/bucket/k")
    assert (got.body, got.headers["x-amz-meta-a"], got.headers["content-type"]) == (FIRST + SECOND, "1", "text/x")
    assert got.headers["x-amz-tagging-count"] == "1"
    part = await client.send("GET", "/bucket/k", query="partNumber=7")
    assert (part.status, part.body, part.headers["x-amz-mp-parts-count"]) == (206, SECOND, "2")
    head = await client.send("HEAD", "/bucket/k", query="partNumber=3")
    assert (head.status, head.headers["content-range"]) == (206, "bytes 0-4999/5700")
    for number in (1, 8):
        missing = await client.send("GET", "/bucket/k", query=f"partNumber={number}")
        assert (missing.status, missing.code) == (416, "InvalidPartNumber")
    again = await complete(client, upload, [(3, FIRST), (7, SECOND)])
    assert again.text("ETag") == made.text("ETag")


@pytest.mark.parametrize(("kind", "suffix"), [("COMPOSITE", "-2"), ("FULL_OBJECT", "")])
async def test_checksums_of_parts(client: RawClient, kind: str, suffix: str) -> None:
    upload = await begin(client, **{"x-amz-checksum-algorithm": "CRC32", "x-amz-checksum-type": kind})
    answer = await put_part(client, upload, 1, FIRST, **{"x-amz-checksum-crc32": crc(FIRST)})
    assert answer.headers["x-amz-checksum-crc32"] == crc(FIRST)
    unclaimed = await put_part(client, upload, 2, SECOND)
    assert unclaimed.headers["x-amz-checksum-crc32"] == crc(SECOND)
    listed = await client.send("GET", "/bucket/k", query=f"uploadId={upload}")
    assert listed.texts("ChecksumCRC32") == [crc(FIRST), crc(SECOND)]
    assert listed.text("ChecksumType") == kind
    joined = b"".join(zlib.crc32(part).to_bytes(4, "big") for part in (FIRST, SECOND))
    expected = (crc(FIRST + SECOND) if kind == "FULL_OBJECT" else crc(joined)) + suffix
    wrong = await complete(client, upload, [(1, FIRST), (2, SECOND)], **{"x-amz-checksum-crc32": "AAAAAA=="})
    assert (wrong.status, wrong.code) == (400, "BadDigest")
    made = await complete(
        client,
        upload,
        [(1, FIRST), (2, SECOND)],
        **{"x-amz-checksum-crc32": expected, "x-amz-checksum-type": kind, "x-amz-mp-object-size": "5700"},
    )
    assert made.text("ChecksumCRC32") == expected, made.body
    got = await client.send("HEAD", "/bucket/k", headers={"x-amz-checksum-mode": "ENABLED"})
    assert (got.headers["x-amz-checksum-crc32"], got.headers["x-amz-checksum-type"]) == (expected, kind)
    attributes = await client.send(
        "GET",
        "/bucket/k",
        query="attributes=",
        headers={"x-amz-object-attributes": "ETag,Checksum,ObjectParts,ObjectSize", "x-amz-max-parts": "1"},
    )
    assert attributes.text("ObjectSize") == "5700"
    assert attributes.texts("PartNumber") == ["1"]
    assert attributes.text("PartsCount") == "2"


async def test_another_algorithm_than_the_uploads_is_refused(client: RawClient) -> None:
    upload = await begin(client, **{"x-amz-checksum-algorithm": "SHA256"})
    answer = await put_part(client, upload, 1, FIRST, **{"x-amz-checksum-crc32": crc(FIRST)})
    assert (answer.status, answer.code) == (400, "InvalidRequest")


async def test_parts_of_an_upload_without_algorithm_are_verified_not_kept(client: RawClient) -> None:
    upload = await begin(client)
    bad = await put_part(client, upload, 1, FIRST, **{"x-amz-checksum-crc32": crc(SECOND)})
    assert (bad.status, bad.code) == (400, "BadDigest")
    await put_part(client, upload, 1, FIRST, **{"x-amz-checksum-crc32": crc(FIRST)})
    made = await complete(client, upload, [(1, FIRST)], f"<ChecksumCRC32>{crc(FIRST)}</ChecksumCRC32>")
    assert made.status == 200
    assert made.texts("ChecksumCRC32") == []


async def test_what_complete_refuses(client: RawClient) -> None:
    upload = await begin(client, **{"x-amz-checksum-algorithm": "CRC32"})
    await put_part(client, upload, 1, SECOND)
    await put_part(client, upload, 2, FIRST)
    wrong = f"<ChecksumCRC32>{crc(b'other')}</ChecksumCRC32>"
    for answer, code in [
        (await complete(client, upload, [(1, SECOND), (2, FIRST)]), "EntityTooSmall"),
        (await complete(client, upload, [(2, FIRST), (1, SECOND)]), "InvalidPartOrder"),
        (await complete(client, upload, [(2, SECOND)]), "InvalidPart"),
        (await complete(client, upload, [(9, FIRST)]), "InvalidPart"),
        (await complete(client, upload, [(2, FIRST)], wrong), "InvalidPart"),
        (await complete(client, upload, []), "MalformedXML"),
        (await complete(client, upload, [(2, FIRST)], **{"x-amz-mp-object-size": "1"}), "InvalidRequest"),
        (await complete(client, upload, [(2, FIRST)], **{"x-amz-checksum-type": "FULL_OBJECT"}), "InvalidRequest"),
    ]:
        assert (answer.status, answer.code) == (400, code), answer.body
    assert "k" not in client.layer._buckets["bucket"].keys
    assert (await complete(client, upload, [(2, FIRST)], **{"if-none-match": "*"})).status == 200


async def test_uploads_that_are_not_there(client: RawClient) -> None:
    for upload in ("0" * 48, "nonsense", "../../" + "0" * 42):
        quoted = upload.replace("/", "%2F")
        for answer in (
            await put_part(client, quoted, 1, FIRST),
            await complete(client, quoted, [(1, FIRST)]),
            await client.send("DELETE", "/bucket/k", query=f"uploadId={quoted}"),
            await client.send("GET", "/bucket/k", query=f"uploadId={quoted}"),
        ):
            assert (answer.status, answer.code) == (404, "NoSuchUpload")


@pytest.mark.parametrize("number", ["0", "10001", "x", "-1"])
async def test_part_numbers_out_of_range(client: RawClient, number: str) -> None:
    upload = await begin(client)
    answer = await client.send("PUT", "/bucket/k", query=f"partNumber={number}&uploadId={upload}", body=b"1")
    assert (answer.status, answer.code) == (400, "InvalidArgument")


async def test_lists_and_abort(client: RawClient) -> None:
    uploads = [await begin(client) for _ in range(3)]
    for number in (1, 2, 3):
        await put_part(client, uploads[0], number, FIRST)
    page = await client.send("GET", "/bucket/k", query=f"max-parts=2&uploadId={uploads[0]}")
    assert (page.texts("PartNumber"), page.text("NextPartNumberMarker")) == (["1", "2"], "2")
    rest = await client.send("GET", "/bucket/k", query=f"part-number-marker=2&uploadId={uploads[0]}")
    assert (rest.texts("PartNumber"), rest.text("IsTruncated")) == (["3"], "false")
    seen: list[str] = []
    query = "max-uploads=2&uploads="
    while True:
        answer = await client.send("GET", "/bucket", query=query)
        seen += answer.texts("UploadId")
        if answer.text("IsTruncated") == "false":
            break
        upload = answer.text("NextUploadIdMarker")
        query = f"key-marker={answer.text('NextKeyMarker')}&max-uploads=2&upload-id-marker={upload}&uploads="
    assert seen == uploads
    assert (await client.send("DELETE", "/bucket/k", query=f"uploadId={uploads[0]}")).status == 204
    assert (await client.send("GET", "/bucket", query="uploads")).texts("UploadId") == uploads[1:]


async def test_upload_part_copy(client: RawClient) -> None:
    await client.send("PUT", "/bucket/source", body=bytes(range(250)) * 20)
    upload = await begin(client, **{"x-amz-checksum-algorithm": "CRC32"})
    query = f"partNumber=1&uploadId={upload}"
    headers = {"x-amz-copy-source": "bucket/source", "x-amz-copy-source-range": "bytes=10-1999"}
    part = await client.send("PUT", "/bucket/k", query=query, headers=headers)
    expected = (bytes(range(250)) * 20)[10:2000]
    assert part.text("ETag") == f'"{hashlib.md5(expected).hexdigest()}"', part.body
    assert part.text("ChecksumCRC32") == crc(expected)
    bad = {**headers, "x-amz-copy-source-range": "bytes=10-999999"}
    assert (await client.send("PUT", "/bucket/k", query=query, headers=bad)).code == "InvalidArgument"
    failed = {**headers, "x-amz-copy-source-if-match": "other"}
    assert (await client.send("PUT", "/bucket/k", query=query, headers=failed)).status == 412
    assert (await complete(client, upload, [(1, expected)])).status == 200
    assert (await client.send("GET", "/bucket/k")).body == expected
    assert all(reader.is_closed for reader in client.layer.readers)
