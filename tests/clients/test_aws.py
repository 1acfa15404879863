"""The aws command line: sync, multipart cp, presign, ranges, versions, rm."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import urllib3
from tests.clients.harness import MIB, TREE, Runner, Store, aws_variables, hashes_of, have
from tests.clients.report import Uses
from tests.support.client_env import python_client

Aws = Callable[..., str]


@pytest.fixture
def runner(store: Store, tmp_path: Path, uses: Uses) -> Runner:
    variables = aws_variables(store) | ({"AWS_CA_BUNDLE": store.ca} if store.ca else {})
    return Runner("aws cli", store, tmp_path / "home", uses, variables)


@pytest.fixture
def aws(runner: Runner, store: Store) -> Aws:
    program = have(lambda: python_client("aws")) / "aws"
    return lambda *words: runner.run(program, "--endpoint-url", store.url, *words)


def test_sync_there_and_back(aws: Aws, runner: Runner, bucket: str, tree: Path, tmp_path: Path) -> None:
    aws("s3", "mb", f"s3://{bucket}")
    aws("s3", "sync", tree, f"s3://{bucket}/tree", "--only-show-errors")
    back = tmp_path / "back"
    aws("s3", "sync", f"s3://{bucket}/tree", back, "--only-show-errors")
    assert hashes_of(back) == hashes_of(tree)
    assert aws("s3", "sync", back, f"s3://{bucket}/tree", "--size-only") == ""
    head = json.loads(aws("s3api", "head-object", "--bucket", bucket, "--key", "tree/big/seventeen"))
    assert head["ETag"].endswith('-3"')  # 8 MiB parts
    aws("s3", "cp", f"s3://{bucket}/tree", f"s3://{bucket}/copy", "--recursive", "--only-show-errors")
    aws("s3", "rm", f"s3://{bucket}/tree", "--recursive", "--only-show-errors")
    left = json.loads(aws("s3api", "list-objects-v2", "--bucket", bucket))["Contents"]
    assert {one["Key"]: one["Size"] for one in left} == {f"copy/{name}": size for name, size in TREE.items()}
    aws("s3", "rb", f"s3://{bucket}", "--force")
    runner.did(aws("--version"), "sync", "multipart", "copies", "lists", "delete")


def test_presign_and_ranges(aws: Aws, runner: Runner, store: Store, bucket: str, tree: Path, tmp_path: Path) -> None:
    aws("s3", "mb", f"s3://{bucket}")
    aws("s3", "cp", tree / "big/seventeen", f"s3://{bucket}/big", "--only-show-errors")
    whole = (tree / "big/seventeen").read_bytes()
    address = aws("s3", "presign", f"s3://{bucket}/big", "--expires-in", "60").strip()
    with urllib3.PoolManager(ca_certs=store.ca or None) as http:
        assert http.request("GET", address).data == whole
    span = f"bytes={8 * MIB - 5}-{8 * MIB + 5}"
    aws("s3api", "get-object", "--bucket", bucket, "--key", "big", "--range", span, tmp_path / "piece")
    assert (tmp_path / "piece").read_bytes() == whole[8 * MIB - 5 : 8 * MIB + 6]
    runner.did(aws("--version"), "presigned URLs", "ranges")


def test_versions(aws: Aws, runner: Runner, bucket: str, tmp_path: Path) -> None:
    aws("s3api", "create-bucket", "--bucket", bucket)
    aws("s3api", "put-bucket-versioning", "--bucket", bucket, "--versioning-configuration", "Status=Enabled")
    for text in ("first", "second"):
        (tmp_path / text).write_text(text * 1000)
        aws("s3", "cp", tmp_path / text, f"s3://{bucket}/k", "--only-show-errors")
    aws("s3", "rm", f"s3://{bucket}/k", "--only-show-errors")
    listed = json.loads(aws("s3api", "list-object-versions", "--bucket", bucket))
    assert [one["IsLatest"] for one in listed["DeleteMarkers"]] == [True]
    for text, version in zip(("second", "first"), listed["Versions"], strict=True):
        identity = ("--bucket", bucket, "--key", "k", "--version-id", version["VersionId"])
        aws("s3api", "get-object", *identity, tmp_path / "back")
        assert (tmp_path / "back").read_text() == text * 1000
    runner.did(aws("--version"), "versions")
