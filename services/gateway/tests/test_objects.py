"""PutObject, GetObject, HeadObject, DeleteObject as a client sees them."""

import hashlib

from services.gateway.tests.raw_client import RawClient


async def test_object_comes_back_as_it_was_put(client: RawClient) -> None:
    await client.send("PUT", "/bucket")
    body = b"hello, world"
    put = await client.send("PUT", "/bucket/a/b", body=body, headers={"x-amz-meta-colour": "blue"})
    assert put.status == 200, put.body
    assert put.headers["etag"] == f'"{hashlib.md5(body).hexdigest()}"'
    got = await client.send("GET", "/bucket/a/b")
    assert (got.status, got.body) == (200, body)
    assert got.headers["x-amz-meta-colour"] == "blue"
    assert got.headers["content-length"] == "12"
    assert len(got.headers["x-amz-request-id"]) == 16
