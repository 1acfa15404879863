"""The table of operations against what botocore, and so every SDK of AWS, can send."""

import botocore.session
import pytest
from services.gateway.tests.raw_client import RawClient

from liteio_gateway.operations import OPERATIONS, Names

_S3 = botocore.session.get_session().get_service_model("s3")
_NOT_OF_BUCKETS = {"WriteGetObjectResponse"}  # its path names no bucket; it is sent to hosts of its own


def sent_by_botocore() -> list[tuple[str, str, Names, str]]:
    """Name, method, what the path names, and the query that chooses the operation, of all that have one."""
    found = []
    for name in _S3.operation_names:
        http = _S3.operation_model(name).http
        path, _, query = http["requestUri"].partition("?")
        names = Names.OBJECT if "{Key" in path else Names.BUCKET if "{Bucket" in path else Names.SERVICE
        if query and name not in _NOT_OF_BUCKETS:
            found.append((name, http["method"], names, query))
    return found


def is_answered(method: str, names: Names, query: str) -> bool:
    asked = frozenset(pair.partition("=")[0] for pair in query.split("&"))
    return any((one.method, one.names, one.selectors) == (method, names, asked) for one in OPERATIONS)


@pytest.mark.parametrize(("name", "method", "names", "query"), sent_by_botocore())
async def test_no_subresource_is_taken_for_a_plain_request(
    client: RawClient, name: str, method: str, names: Names, query: str
) -> None:
    await client.send("PUT", "/bucket")
    await client.send("PUT", "/bucket/key", body=b"as it was")
    path = "/bucket/key" if names is Names.OBJECT else "/bucket"
    answer = await client.send(method, path, query=query, body=b"<X/>" if method in ("PUT", "POST") else b"")
    assert is_answered(method, names, query) or (answer.status, answer.code) == (501, "NotImplemented"), name
    assert (await client.send("GET", "/bucket/key")).body == b"as it was", name
