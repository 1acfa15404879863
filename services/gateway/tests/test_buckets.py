"""Buckets, their settings, and what is answered for settings that this store does not have."""

import pytest
from services.gateway.tests.raw_client import RawClient, make_client

from liteio_base.deadline import Deadline
from liteio_contracts.object_layer import CreateBucket
from liteio_gateway.handlers import unset


async def test_creating_again_says_so_and_changes_nothing(client: RawClient) -> None:
    first = await client.send("PUT", "/bucket")
    assert (first.status, first.headers["location"]) == (200, "/bucket")
    await client.send("PUT", "/bucket/k", body=b"1")
    again = await client.send("PUT", "/bucket")
    assert (again.status, again.code) == (409, "BucketAlreadyOwnedByYou")
    assert (await client.send("GET", "/bucket/k")).body == b"1"


async def test_the_first_name_of_a_region_is_still_taken() -> None:
    client = make_client(region="eu-west-1")
    body = b"<CreateBucketConfiguration><LocationConstraint>EU</LocationConstraint></CreateBucketConfiguration>"
    assert (await client.send("PUT", "/bucket", body=body)).status == 200
    assert (await client.send("GET", "/bucket", query="location")).text("LocationConstraint") == "eu-west-1"


async def test_another_owners_bucket_is_taken(client: RawClient) -> None:
    order = CreateBucket("bucket", "someone-else")
    await client.layer.create_bucket(order, deadline=Deadline.after(1, client.layer.clock))
    answer = await client.send("PUT", "/bucket")
    assert (answer.status, answer.code) == (409, "BucketAlreadyExists")


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (
            b"<CreateBucketConfiguration><LocationConstraint>eu-west-7</LocationConstraint></CreateBucketConfiguration>",
            400,
            "InvalidLocationConstraint",
        ),
        (
            b"<CreateBucketConfiguration><LocationConstraint>us-east-1</LocationConstraint></CreateBucketConfiguration>",
            200,
            "",
        ),
        (b"<CreateBucketConfiguration/>", 200, ""),
        (b"<Nonsense/>", 400, "MalformedXML"),
        (
            b"<!DOCTYPE a [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><CreateBucketConfiguration>&x;</CreateBucketConfiguration>",
            400,
            "MalformedXML",
        ),
    ],
)
async def test_create_bucket_documents(client: RawClient, body: bytes, status: int, code: str) -> None:
    answer = await client.send("PUT", "/bucket", body=body)
    assert (answer.status, answer.code if code else "") == (status, code)


@pytest.mark.parametrize("name", ["Upper", "ab", "192.168.0.1", "a..b", ".liteio.sys", "x" * 64, "%24probe%24"])
async def test_names_that_no_bucket_can_have(client: RawClient, name: str) -> None:
    created = await client.send("PUT", f"/{name}")
    assert (created.status, created.code) == (400, "InvalidBucketName")
    for method, path in [
        ("HEAD", f"/{name}"),
        ("GET", f"/{name}/key"),
        ("PUT", f"/{name}/key"),
        ("DELETE", f"/{name}"),
    ]:
        assert (await client.send(method, path)).status == 404
    assert set(client.layer.calls) == set()


async def test_head_location_and_delete() -> None:
    client = make_client(region="eu-north-1")
    client.region = "eu-north-1"
    await client.send("PUT", "/bucket")
    head = await client.send("HEAD", "/bucket/")
    assert (head.status, head.headers["x-amz-bucket-region"]) == (200, "eu-north-1")
    location = await client.send("GET", "/bucket", query="location=")
    assert location.text("LocationConstraint") == "eu-north-1"
    await client.send("PUT", "/bucket/k", body=b"1")
    full = await client.send("DELETE", "/bucket")
    assert (full.status, full.code) == (409, "BucketNotEmpty")
    await client.send("DELETE", "/bucket/k")
    assert (await client.send("DELETE", "/bucket")).status == 204
    gone = await client.send("GET", "/bucket")
    assert (gone.status, gone.code, gone.text("BucketName")) == (404, "NoSuchBucket", "bucket")


async def test_list_buckets_in_pages(client: RawClient) -> None:
    for name in ("bbb", "aaa", "abc", "ccc"):
        await client.send("PUT", f"/{name}")
    assert (await client.send("GET", "/")).texts("Name") == ["aaa", "abc", "bbb", "ccc"]
    page = await client.send("GET", "/", query="max-buckets=2")
    assert page.texts("Name") == ["aaa", "abc"]
    token = page.text("ContinuationToken")
    rest = await client.send("GET", "/", query=f"continuation-token={token}&max-buckets=2")
    assert (rest.texts("Name"), rest.text("ContinuationToken")) == (["bbb", "ccc"], "")
    assert (await client.send("GET", "/", query="prefix=a")).texts("Name") == ["aaa", "abc"]


async def test_bucket_tags(client: RawClient) -> None:
    await client.send("PUT", "/bucket")
    document = b"<Tagging><TagSet><Tag><Key>a</Key><Value>b &amp; c</Value></Tag></TagSet></Tagging>"
    refused = await client.send("PUT", "/bucket", query="tagging", body=document)
    assert refused.code == "InvalidTag"
    document = document.replace(b" &amp; ", b" ")
    assert (await client.send("PUT", "/bucket", query="tagging", body=document)).status == 204
    assert (await client.send("GET", "/bucket", query="tagging")).text("Value") == "b c"
    assert (await client.send("DELETE", "/bucket", query="tagging")).status == 204
    assert (await client.send("GET", "/bucket", query="tagging")).code == "NoSuchTagSet"


async def test_settings_that_are_not_set(client: RawClient) -> None:
    await client.send("PUT", "/bucket")
    await client.send("PUT", "/bucket/k", body=b"1")
    for name, error in unset.MISSING_OF_BUCKET.items():
        answer = await client.send("GET", "/bucket", query=f"{name}=")
        assert (answer.status, answer.code) == (404, error.code)
    for name, document in unset.EMPTY_OF_BUCKET.items():
        assert (await client.send("GET", "/bucket", query=f"{name}=")).body == document
    for name in unset.LISTS_OF_BUCKET:
        assert (await client.send("GET", "/bucket", query=f"{name}=")).text("IsTruncated") == "false"
        assert (await client.send("GET", "/bucket", query=f"{name}=&id=1")).code == "NoSuchConfiguration"
    for name in unset.MISSING_OF_OBJECT:
        assert (await client.send("GET", "/bucket/k", query=f"{name}=")).status == 404
    for name in unset.REMOVABLE_OF_BUCKET:
        assert (await client.send("DELETE", "/bucket", query=f"{name}=")).status == 204
        assert (await client.send("DELETE", "/none", query=f"{name}=")).status == 404


async def test_settings_can_not_be_set(client: RawClient) -> None:
    await client.send("PUT", "/bucket")
    await client.send("PUT", "/bucket/k", body=b"1")
    for name in (*unset.MISSING_OF_BUCKET, *unset.EMPTY_OF_BUCKET, *unset.LISTS_OF_BUCKET):
        answer = await client.send("PUT", "/bucket", query=f"{name}=", body=b"<A/>")
        assert (answer.status, answer.code) == (501, "NotImplemented"), name
    for name in ("retention", "legal-hold", "torrent"):
        answer = await client.send("PUT", "/bucket/k", query=f"{name}=", body=b"<A/>")
        assert (answer.status, answer.code) == (501, "NotImplemented"), name
    assert (await client.send("GET", "/bucket/k")).body == b"1"


@pytest.mark.parametrize(
    ("method", "path", "query", "status", "code"),
    [
        ("PUT", "/bucket/k", "partNumber=1", 400, "InvalidArgument"),
        ("PUT", "/bucket/k", "uploadId=x", 400, "InvalidArgument"),
        ("PUT", "/bucket/k", "acl=&tagging=", 400, "InvalidArgument"),
        ("POST", "/bucket/k", "", 405, "MethodNotAllowed"),
        ("POST", "/", "", 405, "MethodNotAllowed"),
        ("DELETE", "/", "", 405, "MethodNotAllowed"),
        ("PATCH", "/bucket/k", "", 405, "MethodNotAllowed"),
        ("POST", "/bucket/k", "select=&select-type=2", 501, "NotImplemented"),
        ("POST", "/bucket/k", "restore=", 501, "NotImplemented"),
        ("GET", "/bucket/k", "versionId=null&versionId=null", 400, "InvalidArgument"),
        ("GET", "/bucket/%ff", "", 400, "InvalidURI"),
        ("GET", "/bucket/%zz", "", 400, "InvalidURI"),
        ("GET", "//key", "", 400, "InvalidBucketName"),
        ("GET", "/bucket/" + "k" * 1025, "", 400, "KeyTooLongError"),
    ],
)
async def test_requests_that_fit_no_operation(
    client: RawClient, method: str, path: str, query: str, status: int, code: str
) -> None:
    await client.send("PUT", "/bucket")
    await client.send("PUT", "/bucket/k", body=b"1")
    answer = await client.send(method, path, query=query, body=b"x" if method == "PUT" else b"")
    assert (answer.status, answer.code) == (status, code)
    assert (await client.send("GET", "/bucket/k")).body == b"1"


async def test_forms_are_not_taken(client: RawClient) -> None:
    headers = {"content-type": "multipart/form-data; boundary=x"}
    answer = await client.send("POST", "/bucket", headers=headers, body=b"--x--")
    assert (answer.status, answer.code) == (501, "NotImplemented")


async def test_virtual_host_style() -> None:
    client = make_client(domains=("s3.example.org", "example.org"))
    client.host = "bucket.s3.example.org:9000"
    assert (await client.send("PUT", "/")).status == 200
    assert (await client.send("PUT", "/dir/key", body=b"1")).status == 200
    client.host = "s3.example.org"
    assert (await client.send("GET", "/bucket/dir/key")).body == b"1"
    client.host = "elsewhere.net"
    assert (await client.send("GET", "/bucket/dir/key")).body == b"1"


@pytest.mark.parametrize("host", ["a/b", "a?b", "a#b", "user@host", ""])
async def test_bad_hosts_are_refused(client: RawClient, host: str) -> None:
    raw = [(b"host", host.encode())]
    answer = await client.speak("GET", b"/bucket/key", b"", raw)
    assert (answer.status, answer.code) == (400, "InvalidRequest")


async def test_two_hosts_are_refused(client: RawClient) -> None:
    raw = [(b"host", b"a"), (b"host", b"b")]
    assert (await client.speak("GET", b"/bucket/key", b"", raw)).status == 400


async def test_too_many_headers_are_refused(client: RawClient) -> None:
    raw = [(b"host", b"a"), *[(b"x%d" % index, b"") for index in range(300)]]
    answer = await client.speak("GET", b"/bucket/key", b"", raw)
    assert (answer.status, answer.code) == (400, "RequestHeaderSectionTooLarge")


async def test_the_expected_owner_is_checked(client: RawClient) -> None:
    await client.send("PUT", "/bucket")
    good = await client.send("GET", "/bucket", headers={"x-amz-expected-bucket-owner": "root"})
    assert good.status == 200
    other = await client.send("GET", "/bucket", headers={"x-amz-expected-bucket-owner": "111122223333"})
    assert (other.status, other.code) == (403, "AccessDenied")


async def test_probes_need_no_signature_and_tell_nothing(client: RawClient) -> None:
    for path in ("/health/live", "/minio/health/live", "/health/ready", "/minio/health/cluster"):
        answer = await client.send("GET", path, is_signed=False)
        assert (answer.status, answer.body) == (200, b"")
    client.layer.is_ready = False
    assert (await client.send("HEAD", "/health/ready", is_signed=False)).status == 503
    assert (await client.send("GET", "/health/live", is_signed=False)).status == 200
    assert (await client.send("PUT", "/health/live", is_signed=False)).status == 403
    assert (await client.send("GET", "/health/other", is_signed=False)).status == 403


async def test_a_bucket_may_be_called_health(client: RawClient) -> None:
    await client.send("PUT", "/health")
    await client.send("PUT", "/health/live", body=b"mine")
    assert (await client.send("GET", "/health/live")).body == b"mine"
    query = client.presign("GET", "/health/live")
    assert (await client.send("GET", "/health/live", query=query, is_signed=False)).body == b"mine"
