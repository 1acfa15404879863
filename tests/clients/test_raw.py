"""What SDKs refuse to send: broken, greedy and hostile requests over plain sockets. The answer is a 4xx, nothing is
stored, and the server goes on."""

import base64
import contextlib
import hashlib
import socket
import ssl
from collections.abc import Iterator
from importlib.metadata import version
from typing import Final

import pytest
from tests.clients.harness import Store
from tests.clients.report import Uses
from tests.support.s3_client import S3Client

EMPTY_HASH: Final = hashlib.sha256(b"").hexdigest()


@pytest.fixture
def s3(store: Store, bucket: str) -> Iterator[S3Client]:
    client = S3Client(store.server)
    client.create_bucket(bucket)
    client.put(bucket, "kept", b"as it was")
    yield client
    client.close()
    after = S3Client(store.server)
    assert after.get(bucket, "kept").body == b"as it was"
    after.close()


@pytest.fixture(autouse=True)
def noted(uses: Uses, store: Store, request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    uses.note("raw sockets", version("liteio-gateway"), store.scheme, ["what SDKs refuse to send"])


def speak(store: Store, data: bytes, *, half_closes: bool = True) -> bytes:
    """Send bytes as they are; all that comes back until the server closes or 5 s pass."""
    plain = socket.create_connection(("127.0.0.1", store.server.port), timeout=5)
    with contextlib.ExitStack() as opened:
        connection = opened.enter_context(plain)
        if store.ca:
            context = ssl.create_default_context(cafile=store.ca)
            connection = opened.enter_context(context.wrap_socket(plain, server_hostname="127.0.0.1"))
        received = b""
        with contextlib.suppress(OSError):
            connection.sendall(data)
            if half_closes and not store.ca:
                connection.shutdown(socket.SHUT_WR)
            while piece := connection.recv(65536):
                received += piece
        return received


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"content-md5": "AAAAAAAAAAAAAAAAAAAAAA=="}, "BadDigest"),
        ({"content-md5": "not base64"}, "InvalidDigest"),
        ({"x-amz-checksum-crc32": "AAAAAA=="}, "BadDigest"),
        ({"x-amz-checksum-crc64nvme": "AAAAAAAAAAA="}, "BadDigest"),
        ({"x-amz-checksum-sha256": "c2hvcnQ="}, "InvalidRequest"),
    ],
)
def test_a_body_that_is_not_what_it_says_is_not_stored(
    s3: S3Client, bucket: str, headers: dict[str, str], code: str
) -> None:
    answer = s3.put(bucket, "kept", b"something else", headers)
    assert (answer.status, answer.code) == (400, code)
    assert s3.put(bucket, "new", b"something else", headers).status == 400
    assert s3.get(bucket, "new").status == 404


def test_a_body_with_the_wrong_hash_is_not_stored(s3: S3Client, bucket: str) -> None:
    answer = s3.send("PUT", f"/{bucket}/kept", body=b"something else", payload=hashlib.sha256(b"other").hexdigest())
    assert (answer.status, answer.code) == (400, "XAmzContentSHA256Mismatch")


@pytest.mark.parametrize("payload", ["STREAMING-NOBODY-KNOWS", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD"])
def test_unknown_framing_is_never_stored_raw(s3: S3Client, bucket: str, payload: str) -> None:
    answer = s3.send("PUT", f"/{bucket}/new", body=b"5;chunk\r\nhello\r\n0\r\n\r\n", payload=payload)
    assert answer.status in (400, 501)
    assert s3.get(bucket, "new").status == 404


@pytest.mark.parametrize("cut", [0, 1, 3, 90, 100, -1, -3])
def test_a_chunked_body_cut_short_is_not_stored(s3: S3Client, bucket: str, cut: int) -> None:
    framed = b"5\r\nhello\r\n0\r\nx-amz-checksum-crc32:NhCmhg==\r\n\r\n"
    headers = {"x-amz-decoded-content-length": "5", "x-amz-trailer": "x-amz-checksum-crc32"}
    sent = framed[: min(cut, len(framed) - 1)] if cut >= 0 else framed[:cut]
    answer = s3.send("PUT", f"/{bucket}/kept", body=sent, headers=headers, payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER")
    assert answer.status == 400
    whole = s3.send(
        "PUT", f"/{bucket}/framed", body=framed, headers=headers, payload="STREAMING-UNSIGNED-PAYLOAD-TRAILER"
    )
    assert whole.status == 200, whole.body
    assert s3.get(bucket, "framed").body == b"hello"


def test_a_stolen_signature_opens_nothing_else(s3: S3Client, bucket: str) -> None:
    signed = s3.sign("GET", f"/{bucket}/kept", "", {}, EMPTY_HASH)
    assert s3.speak("GET", f"/{bucket}/kept", "", signed, b"").status == 200
    assert s3.speak("DELETE", f"/{bucket}/kept", "", signed, b"").status == 403
    assert s3.speak("GET", f"/{bucket}/other", "", signed, b"").status == 403
    assert s3.speak("GET", f"/{bucket}/kept", "versionId=null", signed, b"").status == 403
    broken = signed | {"authorization": signed["authorization"][:-1] + "0"}
    altered = broken if broken != signed else signed | {"authorization": signed["authorization"][:-1] + "1"}
    assert s3.speak("GET", f"/{bucket}/kept", "", altered, b"").status == 403
    assert s3.speak("GET", f"/{bucket}/kept", "", {}, b"").status == 403


@pytest.mark.parametrize(
    "path",
    [
        "/{bucket}/../kept",
        "/{bucket}/a/../../kept",
        "/{bucket}/%2e%2e/kept",
        "/{bucket}/..%2f..%2fetc%2fpasswd",
        "//kept",
    ],
)
def test_paths_are_taken_as_they_stand(s3: S3Client, bucket: str, path: str, store: Store) -> None:
    target = path.format(bucket=bucket)
    stored = s3.send("PUT", target, body=b"odd key")
    assert stored.status < 500
    for drive in store.server.drives:
        assert not (drive.parent / "kept").exists()
    if stored.is_success:
        assert s3.send("GET", target).body == b"odd key"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x00\x01\x02\x03 nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"PUT /b/k HTTP/1.1\r\nHost: a\r\nContent-Length: -5\r\n\r\n",
        b"PUT /b/k HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"PUT /b/k HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + b"x" * 300_000 + b"\r\n\r\n",
        b"GET /" + b"k" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
)
def test_nonsense_gets_an_error_or_a_closed_connection(s3: S3Client, store: Store, request_bytes: bytes) -> None:
    answer = speak(store, request_bytes)
    assert answer == b"" or answer.split(b" ", 2)[1].startswith(b"4"), answer[:200]


@pytest.mark.parametrize(
    "document",
    [
        b"<Delete>",
        b"not xml",
        b'<!DOCTYPE d [<!ENTITY a SYSTEM "file:///etc/passwd">]><Delete><Object><Key>&a;</Key></Object></Delete>',
        b"<Delete>" + b"<Object><Key>k</Key></Object>" * 1001 + b"</Delete>",
    ],
)
def test_broken_documents_are_refused(s3: S3Client, bucket: str, document: bytes) -> None:
    md5 = base64.b64encode(hashlib.md5(document).digest()).decode()
    answer = s3.send("POST", f"/{bucket}", query="delete=", body=document, headers={"content-md5": md5})
    assert (answer.status, answer.code) == (400, "MalformedXML")
    assert b"root:" not in answer.body
