"""mc, MinIO's own client; it is built with Go, so it is here only where Go is."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import urllib3
from tests.clients.harness import TREE, Runner, Store, hashes_of, have
from tests.clients.report import Uses
from tests.support import client_env
from tests.support.server import ACCESS_KEY, SECRET_KEY

Mc = Callable[..., str]


@pytest.fixture
def runner(store: Store, tmp_path: Path, uses: Uses) -> Runner:
    return Runner("mc", store, tmp_path / "home", uses, {"SSL_CERT_FILE": store.ca} if store.ca else {})


@pytest.fixture
def mc(runner: Runner, store: Store) -> Mc:
    program = have(client_env.mc)

    def run(*words: str | Path) -> str:
        return runner.run(program, "--quiet", *words)

    run("alias", "set", "store", store.url, ACCESS_KEY, SECRET_KEY)
    return run


def version(mc: Mc) -> str:
    """A Go build knows its release only by the module's version."""
    return client_env.MC_MODULE.rpartition("@v")[2]


def test_mirror_there_and_back(mc: Mc, runner: Runner, bucket: str, tree: Path, tmp_path: Path) -> None:
    mc("mb", f"store/{bucket}")
    mc("mirror", tree, f"store/{bucket}/tree")
    back = tmp_path / "back"
    mc("mirror", f"store/{bucket}/tree", back)
    assert hashes_of(back) == hashes_of(tree)
    listed = [json.loads(line) for line in mc("--json", "ls", "--recursive", f"store/{bucket}/tree").splitlines()]
    assert {one["key"]: one["size"] for one in listed} == dict(TREE)
    mc("cp", "--recursive", f"store/{bucket}/tree/", f"store/{bucket}/copy/")
    again = tmp_path / "again"
    mc("cp", "--recursive", f"store/{bucket}/copy/", f"{again}/")
    assert hashes_of(again) == hashes_of(tree)
    mc("rm", "--recursive", "--force", f"store/{bucket}")
    mc("rb", f"store/{bucket}")
    runner.did(version(mc), "mirror", "multipart", "copies", "lists", "delete")


def test_share_and_versions(mc: Mc, runner: Runner, store: Store, bucket: str, tmp_path: Path) -> None:
    mc("mb", f"store/{bucket}")
    mc("version", "enable", f"store/{bucket}")
    for text in ("first", "second"):
        runner.run(client_env.mc(), "--quiet", "pipe", f"store/{bucket}/k", stdin=text.encode())
    share = json.loads(mc("--json", "share", "download", "--expire", "1m", f"store/{bucket}/k"))["share"]
    with urllib3.PoolManager(ca_certs=store.ca or None) as http:
        assert http.request("GET", share).data == b"second"
    assert mc("head", "--lines", "1", f"store/{bucket}/k").strip() == "second"
    mc("rm", f"store/{bucket}/k")
    listed = [json.loads(line) for line in mc("--json", "ls", "--versions", f"store/{bucket}").splitlines()]
    ids = [one["versionId"] for one in listed if not one.get("isDeleteMarker")]
    assert {mc("cat", "--version-id", one, f"store/{bucket}/k") for one in ids} == {"first", "second"}
    mc("rm", "--recursive", "--force", "--versions", f"store/{bucket}")
    mc("rb", f"store/{bucket}")
    runner.did(version(mc), "presigned URLs", "versions")
