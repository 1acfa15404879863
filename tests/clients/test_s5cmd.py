"""s5cmd, on the Go SDK of the first generation."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import urllib3
from tests.clients.harness import TREE, Runner, Store, aws_variables, hashes_of, have
from tests.clients.report import Uses
from tests.support.client_env import python_client

S5cmd = Callable[..., str]


@pytest.fixture
def runner(store: Store, tmp_path: Path, uses: Uses) -> Runner:
    variables = aws_variables(store) | {"S3_ENDPOINT_URL": store.url, "AWS_REGION": "us-east-1"}
    return Runner(
        "s5cmd", store, tmp_path / "home", uses, variables | ({"AWS_CA_BUNDLE": store.ca} if store.ca else {})
    )


@pytest.fixture
def s5cmd(runner: Runner) -> S5cmd:
    program = have(lambda: python_client("s5cmd")) / "s5cmd"
    return lambda *words: runner.run(program, *words)


def test_sync_there_and_back(s5cmd: S5cmd, runner: Runner, bucket: str, tree: Path, tmp_path: Path) -> None:
    s5cmd("mb", f"s3://{bucket}")
    s5cmd("cp", "--part-size", "5", "--concurrency", "2", f"{tree}/", f"s3://{bucket}/tree/")
    back = tmp_path / "back"
    s5cmd("cp", "--part-size", "5", f"s3://{bucket}/tree/*", f"{back}/")  # big files by ranges, some beyond the end
    assert hashes_of(back) == hashes_of(tree)
    assert s5cmd("sync", "--size-only", f"{back}/", f"s3://{bucket}/tree/") == ""
    listed = [json.loads(line) for line in s5cmd("--json", "ls", f"s3://{bucket}/tree/*").splitlines()]
    assert {one["key"].split("/tree/")[1]: one.get("size", 0) for one in listed} == dict(TREE)
    s5cmd("cp", f"s3://{bucket}/tree/*", f"s3://{bucket}/copy/")
    s5cmd("rm", f"s3://{bucket}/tree/*")
    assert len(s5cmd("ls", f"s3://{bucket}/*").splitlines()) == len(TREE)
    again = tmp_path / "again"
    s5cmd("sync", f"s3://{bucket}/copy/*", f"{again}/")
    assert hashes_of(again) == hashes_of(tree)
    s5cmd("rm", f"s3://{bucket}/*")
    s5cmd("rb", f"s3://{bucket}")
    runner.did(s5cmd("version"), "sync", "multipart", "ranges", "copies", "lists", "delete")


def test_presign(s5cmd: S5cmd, runner: Runner, store: Store, bucket: str, tree: Path) -> None:
    s5cmd("mb", f"s3://{bucket}")
    s5cmd("cp", tree / "block and one", f"s3://{bucket}/k")
    with urllib3.PoolManager(ca_certs=store.ca or None) as http:
        answer = http.request("GET", s5cmd("presign", "--expire", "60s", f"s3://{bucket}/k").strip())
    assert answer.data == (tree / "block and one").read_bytes()
    runner.did(s5cmd("version"), "presigned URLs")


def test_versions(s5cmd: S5cmd, runner: Runner, bucket: str) -> None:
    s5cmd("mb", f"s3://{bucket}")
    s5cmd("bucket-version", "--set", "Enabled", f"s3://{bucket}")
    for text in (b"first", b"second"):
        runner.run(python_client("s5cmd") / "s5cmd", "pipe", f"s3://{bucket}/k", stdin=text)
    s5cmd("rm", f"s3://{bucket}/k")
    listed = [line.split() for line in s5cmd("ls", "--all-versions", f"s3://{bucket}/k").splitlines()]
    ids = [version_id for *_, size, _, version_id in listed if size != "0"]  # the delete marker's is 0
    assert {s5cmd("cat", "--version-id", one, f"s3://{bucket}/k") for one in ids} == {"first", "second"}
    s5cmd("rm", "--all-versions", f"s3://{bucket}/*")
    s5cmd("rb", f"s3://{bucket}")
    runner.did(s5cmd("version"), "versions")
