"""PutObject, GetObject, HeadObject, DeleteObject, DeleteObjects as a client sees them."""

import hashlib
from urllib.parse import quote

import pytest
from services.gateway.tests.raw_client import RawClient, md5_header

from liteio_contracts.object_errors import ReadQuorumLost, WriteQuorumLost
from liteio_gateway.asgi import BrokenAnswer

MIB = 1024 * 1024


@pytest.fixture
async def bucket(client: RawClient) -> str:
    assert (await client.send("PUT", "/bucket")).status == 200
    return "/bucket"


async def test_object_comes_back_as_it_was_put(client: RawClient, bucket: str) -> None:
    body = b"hello, world"
    headers = {
        "x-amz-meta-colour": "blue",
        "x-amz-meta-utf": "é",
        "content-type": "text/plain",
        "content-encoding": "aws-chunked,gzip",
        "cache-control": "no-cache",
        "x-amz-storage-class": "STANDARD_IA",
    }
    put = await client.send("PUT", "/bucket/a/b", body=body, headers=headers)
    assert put.status == 200, put.body
    assert put.headers["etag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert "x-amz-version-id" not in put.headers
    got = await client.send("GET", "/bucket/a/b")
    assert (got.status, got.body) == (200, body)
    assert got.headers["x-amz-meta-colour"] == "blue"
    assert got.headers["x-amz-meta-utf"] == "=?UTF-8?B?w6k=?="
    assert got.headers["content-encoding"] == "gzip"
    assert got.headers["cache-control"] == "no-cache"
    assert got.headers["x-amz-storage-class"] == "STANDARD_IA"
    assert got.headers["content-length"] == "12"
    assert got.headers["last-modified"].endswith("GMT")
    assert len(got.headers["x-amz-request-id"]) == 16
    head = await client.send("HEAD", "/bucket/a/b")
    same = {name: value for name, value in got.headers.items() if name != "x-amz-request-id"}
    assert {name: value for name, value in head.headers.items() if name != "x-amz-request-id"} == same
    assert head.body == b""


async def test_empty_object_has_an_empty_body(client: RawClient, bucket: str) -> None:
    await client.send("PUT", "/bucket/empty")
    got = await client.send("GET", "/bucket/empty")
    assert (got.status, got.body, got.headers["content-length"]) == (200, b"", "0")
    assert all(reader.is_closed for reader in client.layer.readers)


@pytest.mark.parametrize(
    "key", ["..", "../..", "a//b", "/lead", "trail/", "a/./b", "\\x", "%2e", "a+b", "ü/✓", "\x01\x1f"]
)
async def test_keys_are_opaque(client: RawClient, bucket: str, key: str) -> None:
    path = f"/bucket/{quote(key, safe='/')}"
    assert (await client.send("PUT", path, body=b"x")).status == 200
    assert list(client.layer._buckets["bucket"].keys) == [key]
    assert (await client.send("GET", path)).body == b"x"


@pytest.mark.parametrize(
    ("header", "status", "body", "content_range"),
    [
        ("bytes=0-0", 206, b"0", "bytes 0-0/10"),
        ("bytes=3-", 206, b"3456789", "bytes 3-9/10"),
        ("bytes=-4", 206, b"6789", "bytes 6-9/10"),
        ("bytes=2-99", 206, b"23456789", "bytes 2-9/10"),
        ("bytes=5-2", 200, b"0123456789", None),
        ("bytes=0-1,4-5", 200, b"0123456789", None),
        ("lines=1-2", 200, b"0123456789", None),
    ],
)
async def test_ranges(
    client: RawClient, bucket: str, header: str, status: int, body: bytes, content_range: str | None
) -> None:
    await client.send("PUT", "/bucket/r", body=b"0123456789")
    got = await client.send("GET", "/bucket/r", headers={"range": header})
    assert (got.status, got.body, got.headers.get("content-range")) == (status, body, content_range)
    head = await client.send("HEAD", "/bucket/r", headers={"range": header})
    assert (head.status, head.headers["content-length"]) == (status, str(len(body)))


async def test_range_past_the_end_is_416(client: RawClient, bucket: str) -> None:
    await client.send("PUT", "/bucket/r", body=b"0123456789")
    got = await client.send("GET", "/bucket/r", headers={"range": "bytes=10-"})
    assert (got.status, got.code, got.headers["content-range"]) == (416, "InvalidRange", "bytes */10")
    assert all(reader.is_closed for reader in client.layer.readers)


async def test_a_range_of_an_object_that_is_no_more_gives_the_new_one_whole(client: RawClient, bucket: str) -> None:
    old = await client.send("PUT", "/bucket/r", body=b"0123456789")
    for path, status, body in (("/bucket/r", 206, b"89"), ("/bucket/r", 200, b"abcdefghij")):
        headers = {"range": "bytes=8-", "if-range": old.headers["etag"]}
        got = await client.send("GET", path, headers=headers)
        assert (got.status, got.body) == (status, body)
        await client.send("PUT", "/bucket/r", body=b"abcdefghij")


async def test_conditional_reads(client: RawClient, bucket: str) -> None:
    put = await client.send("PUT", "/bucket/c", body=b"1")
    etag = put.headers["etag"]
    same = await client.send("GET", "/bucket/c", headers={"if-none-match": etag})
    assert (same.status, same.body, same.headers["etag"]) == (304, b"", etag)
    assert "content-length" not in same.headers
    other = await client.send("GET", "/bucket/c", headers={"if-match": '"nothing"'})
    assert (other.status, other.code, other.text("Condition")) == (412, "PreconditionFailed", "If-Match")
    bare = await client.send("GET", "/bucket/c", headers={"if-match": etag.strip('"')})
    assert bare.status == 200
    late = await client.send("HEAD", "/bucket/c", headers={"if-unmodified-since": "Mon, 01 Jan 2001 00:00:00 GMT"})
    assert (late.status, late.body) == (412, b"")


async def test_response_overrides(client: RawClient, bucket: str) -> None:
    await client.send("PUT", "/bucket/o", body=b"1")
    got = await client.send("GET", "/bucket/o", query="response-content-type=text%2Fx&response-cache-control=none")
    assert (got.headers["content-type"], got.headers["cache-control"]) == ("text/x", "none")
    split = await client.send("GET", "/bucket/o", query="response-content-type=a%0D%0Ax-evil%3A1")
    assert (split.status, split.code) == (400, "InvalidArgument")


async def test_conditional_writes(client: RawClient, bucket: str) -> None:
    only_new = {"if-none-match": "*"}
    assert (await client.send("PUT", "/bucket/w", body=b"1", headers=only_new)).status == 200
    again = await client.send("PUT", "/bucket/w", body=b"2", headers=only_new)
    assert (again.status, again.code) == (412, "PreconditionFailed")
    unknown = await client.send("PUT", "/bucket/w", body=b"2", headers={"if-none-match": '"etag"'})
    assert (unknown.status, unknown.code) == (501, "NotImplemented")
    missing = await client.send("PUT", "/bucket/none", body=b"2", headers={"if-match": '"etag"'})
    assert (missing.status, missing.code) == (404, "NoSuchKey")
    assert (await client.send("GET", "/bucket/w")).body == b"1"


async def test_conditional_deletes(client: RawClient, bucket: str) -> None:
    etag = (await client.send("PUT", "/bucket/d", body=b"1")).headers["etag"]
    for headers, query, status, code in [
        ({"if-match": '"other"'}, "", 412, "PreconditionFailed"),
        ({"if-none-match": "*"}, "", 501, "NotImplemented"),
        ({"if-match": etag}, "versionId=null", 501, "NotImplemented"),
    ]:
        refused = await client.send("DELETE", "/bucket/d", headers=headers, query=query)
        assert (refused.status, refused.code) == (status, code)
    named = f"<Delete><Object><Key>d</Key><VersionId>null</VersionId><ETag>{etag}</ETag></Object></Delete>".encode()
    bulk = await client.send("POST", "/bucket", query="delete", body=named, headers=md5_header(named))
    assert (bulk.status, bulk.texts("Code")) == (200, ["NotImplemented"])
    assert (await client.send("GET", "/bucket/d")).body == b"1"
    assert (await client.send("DELETE", "/bucket/d", headers={"if-match": etag})).status == 204
    missing = await client.send("DELETE", "/bucket/d", headers={"if-match": etag})
    assert (missing.status, missing.code) == (404, "NoSuchKey")


async def test_what_is_not_kept_is_refused(client: RawClient, bucket: str) -> None:
    for headers, code in [
        ({"x-amz-server-side-encryption": "AES256"}, "NotImplemented"),
        ({"x-amz-object-lock-mode": "GOVERNANCE"}, "NotImplemented"),
        ({"x-amz-acl": "public-read"}, "NotImplemented"),
        ({"x-amz-acl": "nonsense"}, "InvalidArgument"),
        ({"x-amz-storage-class": "NONSENSE"}, "InvalidStorageClass"),
        ({"x-amz-tagging": "a=1&a=2"}, "InvalidArgument"),
        ({"x-amz-meta-big": "x" * 3000}, "MetadataTooLarge"),
        ({"x-liteio-internal": "1"}, "InvalidRequest"),
    ]:
        answer = await client.send("PUT", "/bucket/k", body=b"1", headers=headers)
        assert answer.code == code, headers
    assert client.layer.calls["put"] == 0
    assert (await client.send("PUT", "/bucket/k", headers={"x-amz-acl": "bucket-owner-full-control"})).status == 200


async def test_versions_are_named_once_versioning_was_set(client: RawClient, bucket: str) -> None:
    status = b"<VersioningConfiguration><Status>%s</Status></VersioningConfiguration>"
    await client.send("PUT", "/bucket", query="versioning", body=status % b"Enabled")
    first = (await client.send("PUT", "/bucket/v", body=b"1")).headers["x-amz-version-id"]
    await client.send("PUT", "/bucket", query="versioning=", body=status % b"Suspended")
    assert (await client.send("PUT", "/bucket/v", body=b"2")).headers["x-amz-version-id"] == "null"
    assert (await client.send("GET", "/bucket/v", query="versionId=null")).body == b"2"
    assert (await client.send("GET", "/bucket/v", query=f"versionId={first}")).body == b"1"
    removed = await client.send("DELETE", "/bucket/v", query="versionId=null")
    assert (removed.status, removed.headers["x-amz-version-id"]) == (204, "null")
    assert (await client.send("GET", "/bucket/v")).body == b"1"
    bad = await client.send("GET", "/bucket/v", query="versionId=..%2F..%2Fetc")
    assert (bad.status, bad.code) == (400, "InvalidArgument")
    gone = await client.send("GET", "/bucket/v", query="versionId=" + "1" * 32)
    assert (gone.status, gone.code) == (404, "NoSuchVersion")


async def test_delete_objects(client: RawClient, bucket: str) -> None:
    for key in ("a", "b", "c"):
        await client.send("PUT", f"/bucket/{key}", body=b"1")
    document = (
        b"<Delete><Object><Key>a</Key></Object><Object><Key>none</Key></Object>"
        b"<Object><Key>b</Key><VersionId>nonsense</VersionId></Object>"
        b"<Object><Key>c</Key><ETag>other</ETag></Object></Delete>"
    )
    unclaimed = await client.send("POST", "/bucket", query="delete", body=document)
    assert (unclaimed.status, unclaimed.code) == (400, "InvalidRequest")
    done = await client.send("POST", "/bucket", query="delete", body=document, headers=md5_header(document))
    assert done.status == 200
    assert done.texts("Code") == ["InvalidArgument", "PreconditionFailed"]
    assert done.texts("Key") == ["a", "none", "b", "c"]
    quiet = b"<Delete><Quiet>true</Quiet><Object><Key>b</Key></Object></Delete>"
    silent = await client.send("POST", "/bucket", query="delete", body=quiet, headers=md5_header(quiet))
    assert silent.texts("Key") == []
    left = await client.send("GET", "/bucket")
    assert left.texts("Key") == ["c"]


async def test_a_lost_quorum_is_503_and_told_to_try_again(client: RawClient, bucket: str) -> None:
    client.layer.failures["put"] = WriteQuorumLost(needed=3, got=2)
    put = await client.send("PUT", "/bucket/q", body=b"1")
    assert (put.status, put.code, put.headers["retry-after"]) == (503, "SlowDown", "1")
    client.layer.failures["open"] = ReadQuorumLost(needed=3, got=2)
    assert (await client.send("GET", "/bucket/q")).status == 503


async def test_an_unknown_failure_is_500_with_its_request_id(client: RawClient, bucket: str) -> None:
    client.layer.failures["open"] = RuntimeError("secret detail")
    got = await client.send("GET", "/bucket/q")
    assert (got.status, got.code) == (500, "InternalError")
    assert got.text("RequestId") == got.headers["x-amz-request-id"]
    assert b"secret detail" not in got.body
    client.layer.failures["head"] = RuntimeError("secret detail")
    head = await client.send("HEAD", "/bucket/q")
    assert (head.status, head.body) == (500, b"")


async def test_a_read_that_fails_midway_never_ends_cleanly(client: RawClient, bucket: str) -> None:
    await client.send("PUT", "/bucket/k", body=b"y" * (3 * MIB))
    client.layer.read_breaks_after, client.layer.read_failure = MIB, ReadQuorumLost(needed=2, got=1)
    with pytest.raises(BrokenAnswer):
        await client.send("GET", "/bucket/k")
    assert client.layer.readers[-1].is_closed


async def test_a_client_that_leaves_midway_stops_the_read(client: RawClient, bucket: str) -> None:
    await client.send("PUT", "/bucket/k", body=b"y" * (8 * MIB))
    with pytest.raises(BrokenAnswer):
        await client.send("GET", "/bucket/k", leaves_after=2)
    assert client.layer.readers[-1].is_closed
    assert client.log[-1]["error"] == "ClientGone"
    sent = client.log[-1]["bytes_out"]
    assert isinstance(sent, int)
    assert sent < 4 * MIB
