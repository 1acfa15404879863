"""rclone, told that the store is some S3 (list v1) and that it is MinIO (list v2, url encoding)."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import urllib3
from tests.clients.harness import MIB, TREE, Runner, Store, hashes_of, have
from tests.clients.report import Uses
from tests.support.client_env import python_client
from tests.support.server import ACCESS_KEY, REGION, SECRET_KEY

Rclone = Callable[..., str]


@pytest.fixture(params=["Other", "Minio"])
def provider(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def runner(store: Store, tmp_path: Path, uses: Uses, provider: str) -> Runner:
    remote = {
        "TYPE": "s3",
        "PROVIDER": provider,
        "ENDPOINT": store.url,
        "ACCESS_KEY_ID": ACCESS_KEY,
        "SECRET_ACCESS_KEY": SECRET_KEY,
        "REGION": REGION,
    }
    variables = {f"RCLONE_CONFIG_STORE_{name}": value for name, value in remote.items()}
    variables |= {"RCLONE_S3_UPLOAD_CUTOFF": "5Mi", "RCLONE_S3_CHUNK_SIZE": "5Mi", "RCLONE_RETRIES": "1"}
    return Runner(
        "rclone", store, tmp_path / "home", uses, variables | ({"RCLONE_CA_CERT": store.ca} if store.ca else {})
    )


@pytest.fixture
def rclone(runner: Runner) -> Rclone:
    program = have(lambda: python_client("rclone")) / "rclone"
    return lambda *words: runner.run(program, *words)


def test_sync_check_and_back(
    rclone: Rclone, runner: Runner, bucket: str, provider: str, tree: Path, tmp_path: Path
) -> None:
    remote = f"store:{bucket}-{provider.lower()}"
    rclone("mkdir", remote)
    rclone("sync", tree, f"{remote}/tree")
    rclone("check", "--download", tree, f"{remote}/tree")
    rclone("check", tree, f"{remote}/tree")  # by ETag and the MD5 that it keeps in metadata
    listed = json.loads(rclone("lsjson", "--recursive", "--files-only", f"{remote}/tree"))
    assert {one["Path"]: one["Size"] for one in listed} == dict(TREE)
    back = tmp_path / "back"
    rclone("copy", f"{remote}/tree", back)
    assert hashes_of(back) == hashes_of(tree)
    (back / "one").unlink()
    rclone("sync", back, f"{remote}/tree")
    rclone("copy", f"{remote}/tree", f"{remote}/copy")  # on the server's side
    rclone("check", "--download", f"{remote}/tree", f"{remote}/copy")
    names = {one["Path"] for one in json.loads(rclone("lsjson", "-R", "--files-only", f"{remote}/copy"))}
    assert names == TREE.keys() - {"one"}
    rclone("purge", remote)
    runner.did(rclone("version"), "sync", "multipart", "check", "copies", "delete")


def test_ranges_and_links(rclone: Rclone, runner: Runner, store: Store, bucket: str, provider: str, tree: Path) -> None:
    remote = f"store:{bucket}-{provider.lower()}"
    rclone("copyto", tree / "big/seventeen", f"{remote}/big")
    whole = (tree / "big/seventeen").read_bytes()
    program = have(lambda: python_client("rclone")) / "rclone"
    piece = runner.run_bytes(program, "cat", "--offset", str(5 * MIB - 3), "--count", "7", f"{remote}/big")
    assert piece == whole[5 * MIB - 3 : 5 * MIB + 4]
    with urllib3.PoolManager(ca_certs=store.ca or None) as http:
        assert http.request("GET", rclone("link", f"{remote}/big").strip()).data == whole
    runner.did(rclone("version"), "ranges", "presigned URLs")


def test_versions(rclone: Rclone, runner: Runner, bucket: str, provider: str, tmp_path: Path) -> None:
    remote = f"store:{bucket}-{provider.lower()}"
    rclone("mkdir", remote)
    assert "Enabled" in rclone("backend", "versioning", remote, "Enabled")
    for text in ("first", "second"):
        (tmp_path / "file").write_text(text * 1000)
        rclone("copyto", "--ignore-times", tmp_path / "file", f"{remote}/k")
        time.sleep(1.1)  # rclone tells versions apart by a time of whole seconds
    rclone("deletefile", f"{remote}/k")
    assert json.loads(rclone("lsjson", remote)) == []
    old = json.loads(rclone("lsjson", "--s3-versions", remote))
    bodies = {rclone("cat", "--s3-versions", f"{remote}/{one['Path']}") for one in old}
    assert bodies == {"first" * 1000, "second" * 1000}
    runner.did(rclone("version"), "versions")
