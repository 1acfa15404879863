"""s3cmd: list v1, signatures of its own make, long metadata."""

from collections.abc import Callable
from pathlib import Path

import pytest
import urllib3
from tests.clients.harness import MIB, TREE, Runner, Store, hashes_of, have
from tests.clients.report import Uses
from tests.support.client_env import python_client
from tests.support.server import ACCESS_KEY, REGION, SECRET_KEY

S3cmd = Callable[..., str]


@pytest.fixture
def runner(store: Store, tmp_path: Path, uses: Uses) -> Runner:
    return Runner("s3cmd", store, tmp_path / "home", uses, {"LC_ALL": "C.UTF-8"})


@pytest.fixture
def s3cmd(runner: Runner, store: Store, tmp_path: Path) -> S3cmd:
    program = have(lambda: python_client("s3cmd")) / "s3cmd"
    config = tmp_path / "s3cfg"
    lines = {
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
        "bucket_location": REGION,
        "host_base": store.host,
        "host_bucket": store.host,
        "use_https": store.scheme == "https",
        "signurl_use_https": store.scheme == "https",
        "ca_certs_file": store.ca,
        "signature_v2": False,
        "multipart_chunk_size_mb": 5,
        "progress_meter": False,
    }
    config.write_text("[default]\n" + "".join(f"{name} = {value}\n" for name, value in lines.items()))
    return lambda *words: runner.run(program, "-c", config, *words)


def test_sync_there_and_back(s3cmd: S3cmd, runner: Runner, bucket: str, tree: Path, tmp_path: Path) -> None:
    s3cmd("mb", f"s3://{bucket}")
    s3cmd("sync", f"{tree}/", f"s3://{bucket}/tree/")
    back = tmp_path / "back"
    back.mkdir()
    s3cmd("sync", f"s3://{bucket}/tree/", f"{back}/")
    assert hashes_of(back) == hashes_of(tree)
    assert "upload" not in s3cmd("sync", f"{back}/", f"s3://{bucket}/tree/")
    listed = s3cmd("ls", "--recursive", f"s3://{bucket}").splitlines()
    assert {line.split(f"s3://{bucket}/tree/")[1] for line in listed} == TREE.keys()
    s3cmd("cp", "--recursive", f"s3://{bucket}/tree/", f"s3://{bucket}/copy/")
    s3cmd("del", "--recursive", "--force", f"s3://{bucket}/tree/")
    again = tmp_path / "again"
    again.mkdir()
    s3cmd("get", "--recursive", f"s3://{bucket}/copy/", f"{again}/")
    assert hashes_of(again) == hashes_of(tree)
    s3cmd("rb", "--recursive", "--force", f"s3://{bucket}")
    runner.did(s3cmd("--version"), "sync", "multipart", "copies", "lists", "delete")


def test_continued_download(s3cmd: S3cmd, runner: Runner, bucket: str, tree: Path, tmp_path: Path) -> None:
    s3cmd("mb", f"s3://{bucket}")
    s3cmd("put", tree / "big/seventeen", f"s3://{bucket}/big")
    whole = (tree / "big/seventeen").read_bytes()
    half = tmp_path / "half"
    half.write_bytes(whole[: 7 * MIB + 3])
    s3cmd("get", "--continue", f"s3://{bucket}/big", half)
    assert half.read_bytes() == whole
    runner.did(s3cmd("--version"), "ranges")


def test_signed_addresses(s3cmd: S3cmd, runner: Runner, store: Store, bucket: str, tmp_path: Path) -> None:
    """Of version 2: s3cmd signs addresses in no other way."""
    s3cmd("mb", f"s3://{bucket}")
    (tmp_path / "file").write_text("by address")
    s3cmd("put", tmp_path / "file", f"s3://{bucket}/shared/ä + b")
    address = s3cmd("signurl", f"s3://{bucket}/shared/ä + b", "+60").strip()
    disposition = ("--content-disposition", "attachment; filename=c d")
    named = s3cmd(*disposition, "signurl", f"s3://{bucket}/shared/ä + b", "+60").strip()
    with urllib3.PoolManager(ca_certs=store.ca or None) as http:
        assert http.request("GET", address).data == b"by address"
        assert http.request("GET", named).headers["content-disposition"] == disposition[1]
        assert http.request("GET", address.replace("shared", "other")).status == 403
    runner.did(s3cmd("--version"), "presigned URLs")


def test_versions(s3cmd: S3cmd, runner: Runner, bucket: str, tmp_path: Path) -> None:
    s3cmd("mb", f"s3://{bucket}")
    s3cmd("setversioning", f"s3://{bucket}", "enable")
    (tmp_path / "file").write_text("first")
    s3cmd("put", tmp_path / "file", f"s3://{bucket}/k")
    s3cmd("del", f"s3://{bucket}/k")
    assert s3cmd("ls", f"s3://{bucket}") == ""
    runner.did(s3cmd("--version"), "versions")
