"""Lists: pages, prefixes, delimiters, encodings, versions."""

import pytest
from services.gateway.tests.raw_client import RawClient

KEYS = ["a", "b/1", "b/2", "b0", "c/x/1", "c/y", "d"]


@pytest.fixture
async def filled(client: RawClient) -> RawClient:
    await client.send("PUT", "/bucket")
    for key in KEYS:
        await client.send("PUT", f"/bucket/{key}", body=b"1")
    return client


async def pages(client: RawClient, query: str, marker: str) -> list[list[str]]:
    """All pages' keys and prefixes; `marker` is the parameter and element pair "name=Element"."""
    parameter, _, element = marker.partition("=")
    found, position = [], ""
    while True:
        at = f"&{parameter}={position.replace('/', '%2F')}" if position else ""
        answer = await client.send("GET", "/bucket", query=f"{query}{at}")
        assert answer.status == 200, answer.body
        prefixes = [text for text in answer.texts("Prefix") if text]
        found.append(sorted(answer.texts("Key") + prefixes))
        if answer.text("IsTruncated") == "false":
            return found
        position = answer.text(element)
        assert position


async def test_version_1_pages_with_a_delimiter(filled: RawClient) -> None:
    found = await pages(filled, "delimiter=%2F&max-keys=2", "marker=NextMarker")
    assert found == [["a", "b/"], ["b0", "c/"], ["d"]]


async def test_version_1_gives_no_next_marker_without_a_delimiter(filled: RawClient) -> None:
    answer = await filled.send("GET", "/bucket", query="max-keys=2")
    assert (answer.texts("Key"), answer.text("IsTruncated")) == (["a", "b/1"], "true")
    assert answer.texts("NextMarker") == []
    assert answer.text("ID") == "root"


async def test_version_2_pages(filled: RawClient) -> None:
    found = await pages(filled, "list-type=2&max-keys=3", "continuation-token=NextContinuationToken")
    assert found == [["a", "b/1", "b/2"], ["b0", "c/x/1", "c/y"], ["d"]]
    answer = await filled.send("GET", "/bucket", query="list-type=2&start-after=b%2F2")
    assert answer.texts("Key") == KEYS[3:]
    assert answer.texts("Owner") == []
    owned = await filled.send("GET", "/bucket", query="fetch-owner=true&list-type=2")
    assert owned.texts("ID") == ["root"] * len(KEYS)


async def test_prefix_and_empty_delimiter(filled: RawClient) -> None:
    answer = await filled.send("GET", "/bucket", query="delimiter=&list-type=2&prefix=c%2F")
    assert answer.texts("Key") == ["c/x/1", "c/y"]
    rolled = await filled.send("GET", "/bucket", query="delimiter=%2F&list-type=2&prefix=c%2F")
    assert (rolled.texts("Key"), rolled.texts("Prefix")) == (["c/y"], ["c/", "c/x/"])


async def test_a_page_of_nothing_is_not_truncated(filled: RawClient) -> None:
    for query in ("max-keys=0", "list-type=2&max-keys=0", "max-keys=0&versions=", "max-uploads=0&uploads="):
        answer = await filled.send("GET", "/bucket", query=query)
        assert (answer.texts("Key"), answer.text("IsTruncated")) == ([], "false")
        assert (await filled.send("GET", "/none", query=query)).status == 404


@pytest.mark.parametrize(
    "query",
    [
        "max-keys=x",
        "max-keys=-1",
        "encoding-type=xml",
        "continuation-token=%21&list-type=2",
        "version-id-marker=null&versions=",
    ],
)
async def test_bad_parameters(filled: RawClient, query: str) -> None:
    answer = await filled.send("GET", "/bucket", query=query)
    assert (answer.status, answer.code) == (400, "InvalidArgument")


async def test_versions_in_pages(client: RawClient) -> None:
    await client.send("PUT", "/bucket")
    document = b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>"
    await client.send("PUT", "/bucket", query="versioning", body=document)
    for key in ("a", "b", "b", "b", "dir/x"):
        await client.send("PUT", f"/bucket/{key}", body=b"1")
    await client.send("DELETE", "/bucket/b")
    seen: list[tuple[str, str]] = []
    query = "max-keys=2&versions="
    while True:
        answer = await client.send("GET", "/bucket", query=query)
        seen += list(zip(answer.texts("Key"), answer.texts("VersionId"), strict=True))
        if answer.text("IsTruncated") == "false":
            break
        key, version = answer.text("NextKeyMarker"), answer.text("NextVersionIdMarker")
        query = f"key-marker={key}&max-keys=2&version-id-marker={version}&versions="
    assert [key for key, _ in seen] == ["a", "b", "b", "b", "b", "dir/x"]
    assert len(set(seen)) == 6
    whole = await client.send("GET", "/bucket", query="delimiter=%2F&versions=")
    assert (len(whole.texts("Version")), len(whole.texts("DeleteMarker"))) == (4, 1)
    assert whole.texts("Prefix")[-1] == "dir/"
