"""CopyObject and UploadPartCopy: linked where possible, read and written where not, judged the same."""

import base64
import hashlib
import zlib

import pytest
from services.gateway.tests.memory_layer import MemoryLayer
from services.gateway.tests.raw_client import RawClient, make_client

BODY = b"0123456789" * 100
SOURCE = {"x-amz-copy-source": "/bucket/source"}


@pytest.fixture(params=[True, False], ids=["links", "copies"])
async def client(request: pytest.FixtureRequest) -> RawClient:
    client = make_client(MemoryLayer(can_link=request.param))
    await client.send("PUT", "/bucket")
    headers = {"x-amz-meta-a": "1", "content-type": "text/plain", "x-amz-tagging": "t=1"}
    await client.send("PUT", "/bucket/source", body=BODY, headers=headers)
    return client


async def test_a_copy_takes_metadata_and_tags_along(client: RawClient) -> None:
    made = await client.send("PUT", "/bucket/copy", headers=SOURCE)
    assert made.status == 200, made.body
    assert made.text("ETag") == f'"{hashlib.md5(BODY).hexdigest()}"'
    got = await client.send("GET", "/bucket/copy")
    assert (got.body, got.headers["x-amz-meta-a"], got.headers["content-type"]) == (BODY, "1", "text/plain")
    assert got.headers["x-amz-tagging-count"] == "1"
    assert all(reader.is_closed for reader in client.layer.readers)


async def test_a_copy_may_replace_both(client: RawClient) -> None:
    headers = {
        **SOURCE,
        "x-amz-metadata-directive": "REPLACE",
        "x-amz-tagging-directive": "REPLACE",
        "x-amz-meta-b": "2",
        "x-amz-storage-class": "REDUCED_REDUNDANCY",
    }
    assert (await client.send("PUT", "/bucket/copy", headers=headers)).status == 200
    got = await client.send("GET", "/bucket/copy")
    assert "x-amz-meta-a" not in got.headers
    assert got.headers["x-amz-meta-b"] == "2"
    assert got.headers["content-type"] == "binary/octet-stream"
    assert got.headers["x-amz-storage-class"] == "REDUCED_REDUNDANCY"
    assert "x-amz-tagging-count" not in got.headers


async def test_a_copy_onto_itself_must_change_something(client: RawClient) -> None:
    illegal = await client.send("PUT", "/bucket/source", headers=SOURCE)
    assert (illegal.status, illegal.code) == (400, "InvalidRequest")
    assert "without changing" in illegal.text("Message")
    headers = {**SOURCE, "x-amz-metadata-directive": "REPLACE", "x-amz-meta-mtime": "7"}
    assert (await client.send("PUT", "/bucket/source", headers=headers)).status == 200
    got = await client.send("GET", "/bucket/source")
    assert (got.body, got.headers["x-amz-meta-mtime"]) == (BODY, "7")


async def test_conditions_on_the_source(client: RawClient) -> None:
    etag = hashlib.md5(BODY).hexdigest()
    good = {**SOURCE, "x-amz-copy-source-if-match": f'"{etag}"'}
    assert (await client.send("PUT", "/bucket/copy", headers=good)).status == 200
    bad = {**SOURCE, "x-amz-copy-source-if-none-match": f'"{etag}"'}
    refused = await client.send("PUT", "/bucket/copy", headers=bad)
    assert (refused.status, refused.code) == (412, "PreconditionFailed")


async def test_the_expected_owner_of_the_source_is_checked(client: RawClient) -> None:
    upload = (await client.send("POST", "/bucket/m", query="uploads")).text("UploadId")
    for path, query in (("/bucket/copy", ""), ("/bucket/m", f"partNumber=1&uploadId={upload}")):
        for owner, status in (("111122223333", 403), ("root", 200)):
            headers = {**SOURCE, "x-amz-source-expected-bucket-owner": owner}
            assert (await client.send("PUT", path, query=query, headers=headers)).status == status


async def test_conditions_on_the_target(client: RawClient) -> None:
    headers = {**SOURCE, "if-none-match": "*"}
    assert (await client.send("PUT", "/bucket/copy", headers=headers)).status == 200
    assert (await client.send("PUT", "/bucket/copy", headers=headers)).status == 412


async def test_a_new_checksum_is_computed(client: RawClient) -> None:
    headers = {**SOURCE, "x-amz-checksum-algorithm": "CRC32"}
    made = await client.send("PUT", "/bucket/copy", headers=headers)
    assert made.text("ChecksumCRC32") == base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()
    assert client.layer.calls["link"] == 0


@pytest.mark.parametrize(
    ("source", "status", "code"),
    [
        ("/bucket/none", 404, "NoSuchKey"),
        ("/no-such-bucket/k", 404, "NoSuchBucket"),
        ("bucket", 400, "InvalidArgument"),
        ("/bucket/source?versionId=x", 400, "InvalidArgument"),
        ("/bucket/%2e%2e/%2e%2e/etc/passwd", 404, "NoSuchKey"),
        ("/..%2f..%2fetc/passwd", 404, "NoSuchBucket"),
        ("/.liteio.sys/format.json", 404, "NoSuchBucket"),
    ],
)
async def test_bad_sources(client: RawClient, source: str, status: int, code: str) -> None:
    for path, query in (("/bucket/copy", ""), ("/bucket/copy", f"partNumber=1&uploadId={'0' * 48}")):
        if query and status == 404 and code == "NoSuchKey":
            continue  # the upload is looked for first
        answer = await client.send("PUT", path, query=query, headers={"x-amz-copy-source": source})
        assert (answer.status, answer.code) in {(status, code), (404, "NoSuchUpload")}
    assert "copy" not in client.layer._buckets["bucket"].keys


async def test_versions_of_the_source(client: RawClient) -> None:
    document = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    await client.send("PUT", "/bucket", query="versioning", body=document)
    second = await client.send("PUT", "/bucket/source", body=b"second")
    restored = await client.send(
        "PUT", "/bucket/source", headers={"x-amz-copy-source": "/bucket/source?versionId=null"}
    )
    assert restored.status == 200
    assert restored.headers["x-amz-copy-source-version-id"] == "null"
    assert restored.headers["x-amz-version-id"] not in ("null", second.headers["x-amz-version-id"])
    assert (await client.send("GET", "/bucket/source")).body == BODY
    marker = (await client.send("DELETE", "/bucket/source")).headers["x-amz-version-id"]
    refused = await client.send(
        "PUT", "/bucket/copy", headers={"x-amz-copy-source": f"/bucket/source?versionId={marker}"}
    )
    assert (refused.status, refused.code) == (400, "InvalidRequest")


async def test_events_say_copy(client: RawClient) -> None:
    await client.send("PUT", "/bucket/copy", headers={**SOURCE, "x-amz-checksum-algorithm": "SHA256"})
    order = client.layer.last_put
    assert order is not None
    assert order.event_name == "s3:ObjectCreated:Copy"
    assert order.event_facts["principal"] == "test-root"
    assert order.event_facts["source_ip"] == "127.0.0.2"
