"""Hostile XML in the body of every operation that takes one: refused at once, and nothing is read or asked for."""

import socket
import time
from collections.abc import Iterator

import pytest
from services.gateway.tests.raw_client import RawClient, md5_header

CPU_SECONDS_MAX = 0.05
SECRET = "in a file that no client may read"

TAGGING = "<Tagging><TagSet><Tag><Key>%s</Key><Value/></Tag></TagSet></Tagging>"
ACL = (
    "<AccessControlPolicy><Owner><ID>root</ID></Owner><AccessControlList><Grant><Grantee><ID>%s</ID></Grantee>"
    "<Permission>FULL_CONTROL</Permission></Grant></AccessControlList></AccessControlPolicy>"
)
# Method, path, query, a document with a place for a text, and a text that makes it a good one.
OPERATIONS = [
    (
        "PUT",
        "/other",
        "",
        "<CreateBucketConfiguration><LocationConstraint>%s</LocationConstraint></CreateBucketConfiguration>",
        "us-east-1",
    ),
    (
        "PUT",
        "/bucket",
        "versioning",
        "<VersioningConfiguration><Status>%s</Status></VersioningConfiguration>",
        "Enabled",
    ),
    ("PUT", "/bucket", "tagging", TAGGING, "a"),
    ("PUT", "/bucket", "acl", ACL, "root"),
    ("POST", "/bucket", "delete", "<Delete><Object><Key>%s</Key></Object></Delete>", "k"),
    ("PUT", "/bucket/k", "tagging", TAGGING, "a"),
    ("PUT", "/bucket/k", "acl", ACL, "root"),
    (
        "POST",
        "/bucket/k",
        f"uploadId={'0' * 48}",
        "<CompleteMultipartUpload><Part><PartNumber>%s</PartNumber><ETag>x</ETag></Part></CompleteMultipartUpload>",
        "1",
    ),
]
Hostile = dict[str, tuple[str, str]]  # name → what stands before the root, and in the place of the text


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hostile]:
    """`VALUE` stands for the good text. The listener is there to be asked for, and is not."""
    secret = tmp_path_factory.mktemp("outside") / "secret"
    secret.write_text(SECRET)
    laughs = "".join(f'<!ENTITY l{level} "{f"&l{level - 1};" * 10}">' for level in range(1, 10))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/x"
        yield {
            "entity": ('<!DOCTYPE r [<!ENTITY e "VALUE">]>', "&e;"),
            "type alone": ("<!DOCTYPE r>", "VALUE"),
            "laughs": (f'<!DOCTYPE r [<!ENTITY l0 "ha">{laughs}]>', "&l9;"),
            "quadratic": (f'<!DOCTYPE r [<!ENTITY a "{"a" * 50_000}">]>', "&a;" * 10_000),
            "file": (f'<!DOCTYPE r [<!ENTITY f SYSTEM "file://{secret}">]>', "&f;"),
            "url": (f'<!DOCTYPE r [<!ENTITY u SYSTEM "{url}">]>', "&u;"),
            "outer type": (f'<!DOCTYPE r SYSTEM "{url}">', "VALUE"),
            "parameter": (f'<!DOCTYPE r [<!ENTITY % p SYSTEM "file://{secret}"> %p;]>', "VALUE"),
            "inclusion": (
                "",
                f'<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="file://{secret}" parse="text"/>',
            ),
            "undefined": ("", "&nobody;"),
            "deep": ("", "<a>" * 100_000),
        }
        with pytest.raises(BlockingIOError):
            listening.accept()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize(("method", "path", "query", "document", "value"), OPERATIONS)
async def test_no_document_does_more_than_be_refused(
    client: RawClient, hostile: Hostile, method: str, path: str, query: str, document: str, value: str, encoding: str
) -> None:
    await client.send("PUT", "/bucket")
    await client.send("PUT", "/bucket/k", body=b"as it was")
    for name, (before, text) in hostile.items():
        declared = f'<?xml version="1.0" encoding="{encoding}"?>{before}{document % text}'.replace("VALUE", value)
        body = declared.encode(encoding)
        started = time.thread_time()
        answer = await client.send(method, path, query=query, body=body, headers=md5_header(body))
        assert time.thread_time() - started < CPU_SECONDS_MAX, name
        assert (answer.status, answer.code) in ((400, "MalformedXML"), (400, "MalformedACLError")), (name, answer.body)
        assert SECRET.encode() not in answer.body
    assert (await client.send("GET", "/bucket/k")).body == b"as it was"
    assert (await client.send("HEAD", "/other")).status == 404
    good = (document % value).encode()
    taken = await client.send(method, path, query=query, body=good, headers=md5_header(good))
    assert taken.status < 300 or taken.code == "NoSuchUpload", taken.body
