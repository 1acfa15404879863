"""Requests nobody would send: whatever stands in them, the answer is no 5xx, comes soon, and nothing else breaks."""

import asyncio
import time
from collections.abc import Sequence

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from services.gateway.tests.memory_layer import MemoryLayer
from services.gateway.tests.raw_client import Answer, RawClient, make_client

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_gateway.access import RootOnly
from liteio_gateway.addressing import Addressing
from liteio_gateway.answers import Answers
from liteio_gateway.asgi import Receive, Scope, Send
from liteio_gateway.context import Context
from liteio_gateway.dispatch import Dispatch
from liteio_gateway.guard import Guard
from liteio_gateway.requests import Caller, request_of

CPU_SECONDS_MAX = 0.05
METHODS = ["GET", "HEAD", "PUT", "POST", "DELETE"]
QUERY_NAMES = [
    "acl", "attributes", "continuation-token", "delete", "delimiter", "encoding-type", "key-marker", "list-type",
    "location", "max-keys", "max-parts", "part-number-marker", "partNumber", "policy", "prefix", "response-expires",
    "start-after", "tagging", "uploadId", "uploads", "upload-id-marker", "version-id-marker", "versionId",
    "versioning", "versions",
]  # fmt: skip
HEADER_NAMES = [
    "content-encoding", "content-length", "content-md5", "content-type", "if-match", "if-modified-since",
    "if-none-match", "range", "transfer-encoding", "x-amz-acl", "x-amz-checksum-algorithm", "x-amz-checksum-crc32",
    "x-amz-checksum-type", "x-amz-copy-source", "x-amz-copy-source-range", "x-amz-decoded-content-length",
    "x-amz-meta-a", "x-amz-metadata-directive", "x-amz-mp-object-size", "x-amz-object-attributes",
    "x-amz-sdk-checksum-algorithm", "x-amz-storage-class", "x-amz-tagging", "x-amz-tagging-directive", "x-amz-trailer",
]  # fmt: skip
VALUES = ["", "0", "1", "-1", "2", "*", '"', "null", "CRC32", "COPY", "REPLACE", "url", "/", "bytes=0-0", "bytes=-",
          "bytes=1-", "/bucket/k", "bucket/k?versionId=null", "ETag", "COMPOSITE", "aws-chunked", "chunked",
          "AAAAAA==", "x-amz-checksum-crc32", "9" * 30, "0" * 48, "a=b&a=b", "%", "private"]  # fmt: skip
header_text = st.one_of(
    st.sampled_from(VALUES), st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"))
)
paths = st.one_of(
    st.sampled_from([b"/", b"/bucket", b"/bucket/", b"/bucket/k", b"/bucket/../k", b"//", b"/none/k"]),
    st.binary(max_size=40).map(lambda raw: b"/" + raw.replace(b"?", b"")),
)
queries = st.lists(
    st.tuples(st.sampled_from(QUERY_NAMES), st.one_of(st.sampled_from(VALUES), st.text(max_size=8))), max_size=4
)
headers = st.lists(st.tuples(st.sampled_from(HEADER_NAMES), header_text), max_size=5)
bodies = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        [
            b"<Delete><Object><Key>k</Key></Object></Delete>",
            b"<Tagging><TagSet/></Tagging>",
            b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>",
            b"<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
            b"<!DOCTYPE x [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]><Delete>&b;</Delete>",
            b"5\r\nhello\r\n0\r\n\r\n",
        ]
    ),
)


class Impersonate:
    """In place of authentication: everyone is root."""

    def __init__(self, app: Dispatch) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_of(scope).caller = Caller("test-root", "root")
        await self._app(scope, receive, send)


def open_client(layer: MemoryLayer) -> RawClient:
    context = Context(layer, RootOnly(), SystemClock(), "us-east-1", 5.0, 0.05)
    inner = Answers(Addressing(Impersonate(Dispatch(context)), domains=()))
    return RawClient(Guard(inner, clock=SystemClock(), randomness=SystemRandomness(), host_id="h"), layer)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(method=st.sampled_from(METHODS), path=paths, query=queries, given_headers=headers, body=bodies)
def test_no_request_breaks_the_gateway(
    method: str, path: bytes, query: Sequence[tuple[str, str]], given_headers: Sequence[tuple[str, str]], body: bytes
) -> None:
    async def attempt() -> Answer:
        layer = MemoryLayer()
        signed = make_client(layer)
        await signed.send("PUT", "/bucket")
        await signed.send("PUT", "/bucket/k", body=b"0123456789")
        text = "&".join(f"{name}={value}" for name, value in query).encode("utf-8", "replace")
        raw = [(b"host", b"localhost")]
        raw += [(name.encode(), value.encode("latin-1")) for name, value in given_headers]
        started = time.thread_time()
        answer = await open_client(layer).speak(method, path, text, raw, [body])
        assert time.thread_time() - started < CPU_SECONDS_MAX
        return answer

    answer = asyncio.run(attempt())
    assert answer.is_complete
    assert answer.status < 500 or answer.status == 501, answer.body
    if answer.status >= 400 and method != "HEAD":
        assert b"<Code>" in answer.body


@settings(max_examples=100, deadline=None)
@given(authorization=header_text, query=st.text(max_size=60), payload=header_text)
def test_no_claim_of_identity_breaks_the_gateway(authorization: str, query: str, payload: str) -> None:
    async def attempt() -> Answer:
        raw = [
            (b"host", b"localhost"),
            (b"authorization", authorization.encode("latin-1")),
            (b"x-amz-content-sha256", payload.encode("latin-1")),
        ]
        return await make_client().speak("PUT", b"/bucket/k", query.encode("utf-8", "replace"), raw, [b"x"])

    answer = asyncio.run(attempt())
    assert answer.status in (400, 403, 501)
