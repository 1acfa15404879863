"""Who may do what: every operation against every kind of caller, and nothing of the store touched on a denial."""

import re
from collections.abc import Container
from typing import Any
from urllib.parse import quote

import pytest
from pydantic import SecretStr
from services.gateway.tests.memory_layer import MemoryLayer
from services.gateway.tests.raw_client import ACCESS_KEY, SECRET_KEY, RawClient, make_client, md5_header
from services.gateway.tests.test_bad_bodies import framed

from liteio_base.clock import SystemClock
from liteio_gateway.access import Authorizer, Question
from liteio_gateway.app import build_app
from liteio_gateway.operations import OPERATIONS, Names, Operation
from liteio_gateway.requests import Caller
from liteio_gateway.settings import GatewaySettings
from liteio_s3.credentials import RootCredentials
from liteio_s3.errors import ACCESS_DENIED, S3Failure

UPLOAD_ID = "0" * 48
KINDS = [
    "anonymous",
    "anonymous-streaming",
    "wrong-secret",
    "unknown-key",
    "wrong-region",
    "wrong-secret-unsigned-trailer",
    "wrong-secret-signed-chunks",
    "wrong-secret-signed-trailer",
    "wrong-secret-unknown-streaming",
    "unknown-streaming",
    "anonymous-unknown-streaming",
    "anonymous-conditions",
    "wrong-secret-conditions",
    "session-token",
    "unsigned-header",
    "internal-header",
    "presigned-streaming",
    "query-credential-only",
    "presigned-wrong-secret",
    "presigned-expired",
    "presigned-v2-wrong-secret",
    "presigned-v2-expired",
    "presigned-v2-with-another-selector",
    "signature-v2",
    "basic",
    "both-mechanisms",
]

# A proof of identity that the store would take, on a request that it must not.
ALSO_501 = {"unknown-streaming", "wrong-secret-unknown-streaming", "anonymous-unknown-streaming"}
STREAMING = {
    "anonymous-streaming": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "wrong-secret-unsigned-trailer": "STREAMING-UNSIGNED-PAYLOAD-TRAILER",
    "wrong-secret-signed-chunks": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD",
    "wrong-secret-signed-trailer": "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER",
    "wrong-secret-unknown-streaming": "STREAMING-NOBODY-KNOWS",
    "unknown-streaming": "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD",
    "anonymous-unknown-streaming": "STREAMING-NOBODY-KNOWS",
}
CONDITIONS = {
    "if-match": "*",
    "if-none-match": "*",
    "if-modified-since": "Mon, 01 Jan 2001 00:00:00 GMT",
    "if-unmodified-since": "Mon, 01 Jan 2001 00:00:00 GMT",
    "range": "bytes=99-",
}


class Shifted(SystemClock):
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def now_ns(self) -> int:
        return super().now_ns() + int(self.seconds * 1e9)


def target_of(operation: Operation) -> tuple[str, str, dict[str, str]]:
    path = {Names.SERVICE: "/", Names.BUCKET: "/bucket", Names.OBJECT: "/bucket/key"}[operation.names]
    values = {"uploadId": UPLOAD_ID, "partNumber": "1", "list-type": "2"}
    query = "&".join(f"{name}={values.get(name, '')}" for name in sorted(operation.selectors))
    return path, query, {"x-amz-copy-source": "/bucket/other"} if operation.copies else {}


def dict_of(query: str) -> dict[str, str]:
    return dict(pair.partition("=")[::2] for pair in query.split("&") if pair)


async def attempt(client: RawClient, kind: str, operation: Operation) -> Any:
    path, query, headers = target_of(operation)
    body = b"body" if operation.method in ("PUT", "POST") else b""
    send = client.send
    match kind:
        case "anonymous" | "anonymous-conditions":
            headers = {**headers, **(CONDITIONS if kind.endswith("conditions") else {})}
            return await send(operation.method, path, query=query, headers=headers, body=body, is_signed=False)
        case "wrong-secret-conditions":
            client.secret_key = "not-the-secret"
            headers = {**headers, **CONDITIONS}
        case "anonymous-streaming" | "anonymous-unknown-streaming":
            headers = {**headers, "x-amz-content-sha256": STREAMING[kind]}
            return await send(operation.method, path, query=query, headers=headers, body=body, is_signed=False)
        case "session-token":
            headers = {**headers, "x-amz-security-token": "nobody-gave-it"}
        case "unsigned-header" | "internal-header":
            name = b"x-amz-meta-a" if kind == "unsigned-header" else b"x-liteio-internal-seal"
            return await send(operation.method, path, query=query, headers=headers, body=body, extra=[(name, b"1")])
        case "presigned-streaming":
            signed = client.presign(operation.method, path, query=dict_of(query), headers=headers)
            headers = {**headers, "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}
            return await send(operation.method, path, query=signed, headers=headers, body=body, is_signed=False)
        case "wrong-secret":
            client.secret_key = "not-the-secret"
        case "unknown-key":
            client.access_key = "nobody"
        case "wrong-region":
            client.region = "mars-north-1"
        case _ if kind in STREAMING:
            if kind.startswith("wrong-secret"):
                client.secret_key = "not-the-secret"
            payload = STREAMING[kind]
            return await send(operation.method, path, query=query, headers=headers, body=body, payload=payload)
        case "query-credential-only":
            extra = f"X-Amz-Credential={quote(ACCESS_KEY)}%2F20260101%2Fus-east-1%2Fs3%2Faws4_request"
            query = f"{query}&{extra}" if query else extra
            headers = {**headers, "x-amz-content-sha256": "STREAMING-UNSIGNED-PAYLOAD-TRAILER"}
            return await send(operation.method, path, query=query, headers=headers, body=body, is_signed=False)
        case "presigned-wrong-secret" | "presigned-expired":
            if kind == "presigned-wrong-secret":
                client.secret_key = "not-the-secret"
            else:
                client.layer.clock = Shifted(-3600)
            signed = client.presign(operation.method, path, query=dict_of(query), headers=headers)
            return await send(operation.method, path, query=signed, headers=headers, body=body, is_signed=False)
        case "presigned-v2-wrong-secret" | "presigned-v2-expired":
            if kind == "presigned-v2-wrong-secret":
                client.secret_key = "not-the-secret"
            signed = client.presign_v2(
                operation.method, path, query=query, headers=headers, seconds=0 if kind.endswith("expired") else 60
            )
            return await send(operation.method, path, query=signed, body=body, is_signed=False)
        case "presigned-v2-with-another-selector":
            # The signature is good for the operation without a selector; most of the others it must not be good for.
            signed = client.presign_v2(operation.method, path, headers=headers)
            added = query if {*operation.selectors} - {"list-type"} else "retention"
            return await send(operation.method, path, query=f"{signed}&{added}", body=body, is_signed=False)
        case "signature-v2":
            headers = {**headers, "authorization": f"AWS {ACCESS_KEY}:c2lnbmF0dXJl"}
            return await send(operation.method, path, query=query, headers=headers, body=body, is_signed=False)
        case "basic":
            headers = {**headers, "authorization": "Basic dGVzdDp0ZXN0"}
            return await send(operation.method, path, query=query, headers=headers, body=body, is_signed=False)
        case "both-mechanisms":
            query = f"{query}&X-Amz-Signature=00" if query else "X-Amz-Signature=00"
    return await send(operation.method, path, query=query, headers=headers, body=body)


@pytest.mark.parametrize("kind", KINDS)
async def test_no_operation_answers_a_caller_who_proves_nothing(kind: str) -> None:
    for operation in OPERATIONS:
        client = make_client(MemoryLayer(), clock=SystemClock())
        answer = await attempt(client, kind, operation)
        name = f"{operation.name}: {answer.status} {answer.body!r}"
        assert answer.status in ((400, 403, 501) if kind in ALSO_501 else (400, 403)), name
        assert not client.layer.calls, name
        assert not {"etag", "last-modified", "content-range"} & answer.headers.keys(), name


class Denies:
    """An authorizer that refuses some actions of a proven caller."""

    def __init__(self, actions: Container[str]) -> None:
        self._actions = actions

    async def check(self, caller: Caller, question: Question) -> None:
        if question.action in self._actions:
            raise S3Failure(ACCESS_DENIED)


def client_with(authorizer: Authorizer) -> RawClient:
    layer = MemoryLayer()
    settings = GatewaySettings(access_key=ACCESS_KEY, secret_key=SecretStr(SECRET_KEY))
    credentials = RootCredentials(ACCESS_KEY, SECRET_KEY)
    return RawClient(build_app(layer, settings, credentials, layer.clock, authorizer=authorizer), layer)


@pytest.mark.parametrize("payload", [None, "UNSIGNED-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER"])
async def test_no_operation_answers_a_proven_caller_who_may_not(payload: str | None) -> None:
    for operation in OPERATIONS:
        path, query, headers = target_of(operation)
        client = client_with(Denies({operation.action, operation.version_action}))
        for version in ("", "versionId=null"):
            asked = "&".join(filter(None, (query, version)))
            body = b"body" if operation.method in ("PUT", "POST") else b""
            answer = await client.send(
                operation.method, path, query=asked, headers={**headers, **CONDITIONS}, body=body, payload=payload
            )
            assert (answer.status, answer.received) == (403, 1 if body else 0), operation.name
            assert not client.layer.calls, operation.name


async def test_a_copy_needs_the_permission_to_read_its_source() -> None:
    for version, action in (("", "s3:GetObject"), ("?versionId=null", "s3:GetObjectVersion")):
        client = client_with(Denies({action}))
        for query in ("", f"partNumber=1&uploadId={UPLOAD_ID}"):
            headers = {"x-amz-copy-source": f"/bucket/other{version}"}
            assert (await client.send("PUT", "/bucket/key", query=query, headers=headers)).status == 403
        assert not client.layer.calls


async def test_one_of_several_deletes_needs_its_own_permission() -> None:
    client = client_with(Denies({"s3:DeleteObjectVersion"}))
    await client.send("PUT", "/bucket")
    document = b"<Delete><Object><Key>a</Key><VersionId>null</VersionId></Object><Object><Key>b</Key></Object></Delete>"
    done = await client.send("POST", "/bucket", query="delete", body=document, headers=md5_header(document))
    assert (done.status, done.texts("Code")) == (200, ["AccessDenied"])
    assert client.layer.calls["delete"] == 1


async def test_a_stranger_learns_nothing_from_conditions(client: RawClient) -> None:
    await client.send("PUT", "/bucket")
    put = await client.send("PUT", "/bucket/k", body=b"1")
    for headers in ({"if-none-match": put.headers["etag"]}, {"if-match": '"x"'}, {"range": "bytes=99-"}):
        answer = await client.send("GET", "/bucket/k", headers=headers, is_signed=False)
        assert (answer.status, answer.code) == (403, "AccessDenied")
        assert not {"etag", "last-modified", "content-range"} & answer.headers.keys()
    for path in ("/bucket/none", "/no-such-bucket/k", "/bucket?nonsense"):
        assert (await client.send("GET", path, is_signed=False)).status == 403


async def test_a_denied_upload_is_refused_before_its_body(client: RawClient) -> None:
    client.secret_key = "not-the-secret"
    headers = {"expect": "100-continue", "content-length": "1000000"}
    answer = await client.send("PUT", "/bucket/k", body=b"", headers=headers)
    assert (answer.status, answer.received) == (403, 0)
    assert answer.headers["connection"] == "close"


async def test_a_short_refused_body_keeps_the_connection(client: RawClient) -> None:
    client.secret_key = "not-the-secret"
    answer = await client.send("PUT", "/bucket/k", pieces=[b"a" * 1000, b"b" * 1000])
    assert (answer.status, answer.received) == (403, 2)
    assert "connection" not in answer.headers


@pytest.mark.parametrize(("seconds", "status"), [(-899, 200), (899, 200), (-901, 403), (901, 403)])
async def test_clock_skew(seconds: int, status: int) -> None:
    client = make_client(MemoryLayer(), clock=SystemClock())
    client.layer.clock = Shifted(seconds)
    answer = await client.send("GET", "/")
    assert answer.status == status
    if status == 403:
        assert answer.code == "RequestTimeTooSkewed"


@pytest.mark.parametrize(
    ("seconds", "status"), [(-599, 200), (-601, 403), (899, 200), (901, 403)], ids=["young", "old", "ahead", "too far"]
)
async def test_a_presigned_url_has_two_edges(seconds: int, status: int) -> None:
    client = make_client(MemoryLayer(), clock=SystemClock())
    client.layer.clock = Shifted(seconds)
    answer = await client.send("GET", "/", query=client.presign("GET", "/", seconds=600), is_signed=False)
    assert (answer.status, answer.code if status == 403 else "") == (status, "AccessDenied" if status == 403 else "")


async def test_every_signature_is_compared_in_constant_time(monkeypatch: pytest.MonkeyPatch, client: RawClient) -> None:
    """What takes any two values for equal lets every wrong signature in: there is no other comparison."""
    await client.send("PUT", "/bucket")
    put = next(operation for operation in OPERATIONS if operation.name == "PutObject")
    kinds = ("wrong-secret", "presigned-wrong-secret", "presigned-v2-wrong-secret")
    stream = framed(client, "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER")
    wrong = [
        re.sub(pattern, pattern.removesuffix(b"[0-9a-f]{64}") + b"0" * 64, stream.frames, count=1)
        for pattern in (b"chunk-signature=[0-9a-f]{64}", b"x-amz-trailer-signature:[0-9a-f]{64}")
    ]
    for let_in in (False, True):
        if let_in:
            monkeypatch.setattr("hmac.compare_digest", lambda one, other: True)
        answers = [await attempt(RawClient(client.app, client.layer), kind, put) for kind in kinds]
        answers += [await stream.put(client, frames) for frames in wrong]
        assert [answer.status for answer in answers] == [200 if let_in else 403] * 5


async def test_unsigned_headers_that_act_are_refused(client: RawClient) -> None:
    await client.send("PUT", "/bucket")
    await client.send("PUT", "/bucket/secret", body=b"1")
    query = client.presign("PUT", "/bucket/k")
    raw = [(b"host", client.host.encode()), (b"x-amz-copy-source", b"/bucket/secret"), (b"content-length", b"0")]
    answer = await client.speak("PUT", b"/bucket/k", query.encode(), raw)
    assert (answer.status, answer.code) == (403, "AccessDenied")
    extra = [(b"x-amz-meta-evil", b"1")]
    assert (await client.send("PUT", "/bucket/k", body=b"1", extra=extra)).status == 403


async def test_presigned_put_with_a_checksum_in_the_query(client: RawClient) -> None:
    await client.send("PUT", "/bucket")
    hoisted = {"x-amz-checksum-crc32": "DUoRhQ==", "x-amz-sdk-checksum-algorithm": "CRC32", "x-amz-meta-a": "b"}
    query = client.presign("PUT", "/bucket/k", query=hoisted)
    good = await client.send("PUT", "/bucket/k", query=query, body=b"hello world", is_signed=False)
    assert good.status == 200, good.body
    assert good.headers["x-amz-checksum-crc32"] == "DUoRhQ=="
    assert (await client.send("HEAD", "/bucket/k")).headers["x-amz-meta-a"] == "b"
    bad = await client.send("PUT", "/bucket/k", query=query, body=b"other", is_signed=False)
    assert (bad.status, bad.code) == (400, "BadDigest")


async def test_old_presigned_puts_take_headers_from_the_query(client: RawClient) -> None:
    await client.send("PUT", "/bucket")
    headers = {"x-amz-meta-a": "b", "content-type": "text/x", **md5_header(b"hello world")}
    query = client.presign_v2("PUT", "/bucket/k", headers=headers)
    bad = await client.send("PUT", "/bucket/k", query=query, body=b"other", is_signed=False)
    assert (bad.status, bad.code) == (400, "BadDigest")
    for sent in ({}, headers, {"content-type": "text/x"}):
        good = await client.send("PUT", "/bucket/k", query=query, headers=sent, body=b"hello world", is_signed=False)
        assert good.status == 200, good.body
        head = await client.send("HEAD", "/bucket/k")
        assert (head.headers["x-amz-meta-a"], head.headers["content-type"]) == ("b", "text/x")
    for sent in ({"content-type": "text/y"}, {"x-amz-meta-a": "c"}):
        answer = await client.send("PUT", "/bucket/k", query=query, headers=sent, body=b"hello world", is_signed=False)
        assert (answer.status, answer.code) == (400, "InvalidArgument")


async def test_a_type_in_the_query_of_a_new_presigned_put_is_no_header(client: RawClient) -> None:
    await client.send("PUT", "/bucket")
    query = client.presign("PUT", "/bucket/k", query={"content-type": "text/x"})
    assert (await client.send("PUT", "/bucket/k", query=query, body=b"1", is_signed=False)).status == 200
    assert (await client.send("HEAD", "/bucket/k")).headers["content-type"] == "binary/octet-stream"


async def test_old_presigned_urls_of_a_virtual_host_name_its_bucket() -> None:
    client = make_client(domains=("example.org",))
    await client.send("PUT", "/bucket")
    await client.send("PUT", "/bucket/a%20b/k", body=b"1")
    await client.send("PUT", "/other")
    await client.send("PUT", "/other/a%20b/k", body=b"2")
    client.host = "bucket.example.org"
    query = client.presign_v2("GET", "/a%20b/k", bucket="bucket")
    assert (await client.send("GET", "/a%20b/k", query=query, is_signed=False)).body == b"1"
    query_of_list = client.presign_v2("GET", "/", bucket="bucket")
    assert (await client.send("GET", "/", query=query_of_list, is_signed=False)).texts("Key") == ["a b/k"]
    client.host = "other.example.org"
    for path, signed in (("/a%20b/k", query), ("/", query_of_list)):
        answer = await client.send("GET", path, query=signed, is_signed=False)
        assert (answer.status, answer.code) == (403, "SignatureDoesNotMatch")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-website-redirect-location", "/a\r\nx-evil: 1"),
        ("x-amz-meta-a b", "1"),
        ("x-amz-meta-a\r\n", "1"),
        ("x-amz-meta-\u00e9", "1"),
    ],
)
async def test_what_no_header_can_say_is_not_taken_from_the_query(client: RawClient, name: str, value: str) -> None:
    await client.send("PUT", "/bucket")
    query = client.presign("PUT", "/bucket/k", query={name: value})
    answer = await client.send("PUT", "/bucket/k", query=query, body=b"1", is_signed=False)
    assert (answer.status, answer.code) == (400, "InvalidArgument")


async def test_log_lines_hold_no_secret(client: RawClient) -> None:
    await client.send("PUT", "/bucket")
    query = client.presign("GET", "/bucket/k")
    await client.send("GET", "/bucket/k", query=query, is_signed=False)
    await client.send("GET", "/bucket/k", headers={"authorization": "Basic c2VjcmV0"}, is_signed=False)
    text = repr(client.log)
    assert "Signature" not in text
    assert "c2VjcmV0" not in text
    assert client.secret_key not in text
    assert client.log[-2]["operation"] == "GetObject"
    assert client.log[-2]["caller"] == ACCESS_KEY
