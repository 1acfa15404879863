"""What SDKs refuse to send: broken, greedy and hostile requests over plain sockets. The answer is a 4xx, nothing is
stored, and the server goes on."""

import base64
import contextlib
import hashlib
import os
import re
import shutil
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Final
from urllib.parse import quote

import pytest
from tests.clients.harness import Store
from tests.clients.report import Uses
from tests.support.s3_client import S3Client
from tests.support.server import SECRET_KEY

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
    """Send bytes as they are; all that comes back until the server closes, 5 s without an answer or 0.3 s after one."""
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
                connection.settimeout(0.3)
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


ESCAPES: Final = [
    "../escaped",
    "a/../../escaped",
    "../" * 40 + "escaped",
    "%2e%2e/escaped",
    "..%2f..%2fescaped",
    "%252e%252e%252fescaped",
    "..%5c..%5cescaped",
    "/escaped",
    "%2fescaped",
    "%00/escaped",
    "escaped%00.txt",
    "..%c0%afescaped",
    "%e2%80%a5/%ef%bc%8e%ef%bc%8e%ef%bc%8fescaped",
    "/".join(["e" * 255] * 3) + "/escaped",
    "./escaped/.",
    "escaped/",
    "~/escaped",
    "C:%5cescaped",
]


@pytest.mark.parametrize("name", ESCAPES)
def test_names_never_become_paths(s3: S3Client, bucket: str, name: str, store: Store) -> None:
    """In the place of a key, a bucket, a version, an upload and a source; with a body large enough for shard files."""
    body = b"odd key" * 50_000
    stored = s3.send("PUT", f"/{bucket}/{name}", body=body)
    assert stored.is_success or (stored.status, stored.code) == (400, "InvalidURI")
    if stored.is_success:
        assert s3.send("GET", f"/{bucket}/{name}").body == body
    inside = quote(name, safe="%")
    for method, path, query, headers in [
        ("PUT", f"/{name}", "", {}),
        ("GET", f"/{bucket}/kept", f"versionId={inside}", {}),
        ("DELETE", f"/{bucket}/kept", f"versionId={inside}", {}),
        ("PUT", f"/{bucket}/kept", f"partNumber=1&uploadId={inside}", {}),
        ("POST", f"/{bucket}/kept", f"uploadId={inside}", {}),
        ("PUT", f"/{bucket}/copied", "", {"x-amz-copy-source": f"/{bucket}/{name}-none"}),
        ("PUT", f"/{bucket}/copied", "", {"x-amz-copy-source": f"/{name}"}),
        ("PUT", f"/{bucket}/copied", f"partNumber=1&uploadId={'0' * 48}", {"x-amz-copy-source": f"/{bucket}/{name}"}),
        ("GET", f"/{bucket}", f"list-type=2&prefix={inside}&start-after={inside}", {}),
    ]:
        answer = s3.send(method, path, query=query, headers=headers)
        assert answer.status < 500, (method, path, query, answer.body)
        assert b"root:" not in answer.body
    assert_within_drives(store)


def assert_within_drives(store: Store) -> None:
    """No name that a client chose is the name of any file, and nothing stands beside the drives that was not there."""
    folder = store.server.folder
    ours = {"server.log", "state", "ca.pem", "cert.pem", "key.pem", *(drive.name for drive in store.server.drives)}
    assert {path.name for path in folder.iterdir()} <= ours
    for path in (*folder.rglob("*"), *folder.parent.iterdir(), *Path("/").iterdir(), *Path.cwd().iterdir()):
        assert not re.search(r"escaped|^e{255}$", path.name), path
    for drive in store.server.drives:
        for path in (drive / "data").rglob("*"):
            assert re.fullmatch(r"[0-9a-f]{2}|[0-9a-f]{32}[0-9a-f._-]*", path.name), path


def test_what_lies_on_a_drive_is_no_object(s3: S3Client, bucket: str, store: Store) -> None:
    """Only the index says what there is: folders and files without a row are never listed or read."""
    for drive in store.server.drives:
        for folder in (drive / bucket / "ghost", drive / "data" / "00" / "ghost"):
            folder.mkdir(parents=True)
            (folder / "xl.meta").write_bytes(b"not ours")
    assert s3.list_keys(bucket) == {"kept": (9, s3.head(bucket, "kept").headers["etag"])}
    assert s3.send("GET", f"/{bucket}", query="delimiter=%2F").texts("Prefix") == [""]
    assert s3.get(bucket, "ghost").status == s3.get(bucket, "ghost/xl.meta").status == 404
    for drive in store.server.drives:
        for folder in (drive / bucket, drive / "data" / "00" / "ghost"):
            shutil.rmtree(folder)


def test_clients_that_break_off_anywhere_leave_nothing(s3: S3Client, bucket: str, store: Store) -> None:
    """PUT, UploadPart, Complete, GET and LIST cut at many places, half of them with a reset."""
    body = b"half" * 80_000
    upload = s3.create_upload(bucket, "parts").text("UploadId")
    etag = s3.put_part(bucket, "parts", upload, 1, body).headers["etag"]
    part = f"<Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>"
    document = f"<CompleteMultipartUpload>{part}</CompleteMultipartUpload>".encode()
    requests = [
        signed_bytes(s3, store, "PUT", f"/{bucket}/cut", "", body),
        signed_bytes(s3, store, "PUT", f"/{bucket}/parts", f"partNumber=2&uploadId={upload}", body),
        signed_bytes(s3, store, "POST", f"/{bucket}/parts", f"uploadId={upload}", document),
        signed_bytes(s3, store, "GET", f"/{bucket}/kept", "", b""),
        signed_bytes(s3, store, "GET", f"/{bucket}", "list-type=2", b""),
    ]
    before = open_files(store)
    for request in requests:
        for number in range(24):
            break_off(store, request[: len(request) * number // 24], resets=number % 2 == 0)
    assert s3.get(bucket, "cut").status == 404
    listed = s3.send("GET", f"/{bucket}/parts", query=f"uploadId={upload}")
    assert listed.texts("PartNumber") == ["1"]
    break_off(store, requests[2], resets=True)  # whole: it may be carried out or not
    assert s3.complete_upload(bucket, "parts", upload, [etag]).status == 200
    assert s3.get(bucket, "parts").body == body
    assert s3.put(bucket, "cut", body).is_success
    end = time.monotonic() + 20
    while open_files(store) > before + 4:  # this client's own connection, and log or shard files of the moment
        assert time.monotonic() < end, f"{before} files were open, {open_files(store)} are"
        time.sleep(0.2)


def signed_bytes(s3: S3Client, store: Store, method: str, path: str, query: str, body: bytes) -> bytes:
    headers = {"host": store.host, **s3.sign(method, path, query, {}, hashlib.sha256(body).hexdigest())}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    target = path + (f"?{query}" if query else "")
    return f"{method} {target} HTTP/1.1\r\n{lines}content-length: {len(body)}\r\n\r\n".encode() + body


def break_off(store: Store, data: bytes, *, resets: bool) -> None:
    """Send these bytes and go: with a farewell, or with a reset."""
    plain = socket.create_connection(("127.0.0.1", store.server.port), timeout=5)
    if resets:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with contextlib.ExitStack() as opened:
        connection: socket.socket = opened.enter_context(plain)
        if store.ca:
            context = ssl.create_default_context(cafile=store.ca)
            connection = opened.enter_context(context.wrap_socket(plain, server_hostname="127.0.0.1"))
        with contextlib.suppress(OSError):
            connection.sendall(data)


def open_files(store: Store) -> int:
    """Of all gateway workers."""
    return sum(len(os.listdir(f"/proc/{gateway.pid}/fd")) for gateway in store.server.find("gateway"))


def test_refusals_tell_no_secret_back(s3: S3Client, bucket: str, store: Store) -> None:
    for authorization in ("Basic c2VjcmV0LXBhc3N3b3Jk", "Bearer c2VjcmV0LXBhc3N3b3Jk", "AWS a:c2VjcmV0LXBhc3N3b3Jk"):
        answer = s3.speak("GET", f"/{bucket}/kept", "", {"authorization": authorization}, b"")
        assert answer.status in (400, 403)
        assert b"c2VjcmV0" not in answer.body
    signed = s3.sign("GET", f"/{bucket}/other", "", {}, EMPTY_HASH)
    answer = s3.speak("GET", f"/{bucket}/kept", "", signed, b"")
    assert answer.code == "SignatureDoesNotMatch"
    assert SECRET_KEY.encode() not in answer.body
    assert signed["authorization"].rpartition("=")[2].encode() not in answer.body


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
        b"GET / HTTP/1.1\r\nHost: a\r\nRange: bytes=" + b"0-1," * 25_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nAccept: " + b"*/*;q=0.1," * 10_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nCookie: " + b"a=b; " * 20_000 + b"\r\n\r\n",
        b"GET /" + b"k" * 100_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a?b\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a#b\r\n\r\n",
        b"GET http://elsewhere/b/k HTTP/1.1\r\nHost: a\r\n\r\n",
        b"PUT /b/k HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!!\r\n0\r\n\r\n",
        b"PUT /b/k HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked, identity\r\n\r\n0\r\n\r\n",
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
