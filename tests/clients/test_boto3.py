"""boto3, what most programs use. It signs and frames a PUT differently on http and on https."""

import hashlib
import io
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import boto3
import pytest
import urllib3
from boto3.s3.transfer import TransferConfig
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.clients.harness import MIB, TREE, Store
from tests.clients.report import Uses
from tests.support.server import ACCESS_KEY, REGION, SECRET_KEY

PARTS = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB, max_concurrency=3)


def client_of(store: Store, **config: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=store.url,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        region_name=REGION,
        verify=store.ca or None,
        config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 1, "mode": "standard"}, **config),
    )


@pytest.fixture
def s3(store: Store) -> Iterator[Any]:
    client = client_of(store)
    yield client
    client.close()


@pytest.fixture
def note(uses: Uses, store: Store) -> Any:
    return lambda *works: uses.note("boto3", version("boto3"), store.scheme, works)


def test_files_come_back_as_they_went(s3: Any, bucket: str, tree: Path, note: Any) -> None:
    s3.create_bucket(Bucket=bucket)
    for name in TREE:
        s3.upload_file(str(tree / name), bucket, name, Config=PARTS)
    for name, size in TREE.items():
        body = io.BytesIO()
        s3.download_fileobj(bucket, name, body, Config=PARTS)
        assert hashlib.sha256(body.getvalue()).digest() == hashlib.sha256((tree / name).read_bytes()).digest()
        head = s3.head_object(Bucket=bucket, Key=name)
        assert head["ContentLength"] == size
        if size >= 5 * MIB:
            assert head["ETag"].endswith('-4"')
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 2})
    listed = {one["Key"]: one["Size"] for page in pages for one in page["Contents"]}
    assert listed == dict(TREE)
    assert list(listed) == sorted(TREE, key=str.encode)
    s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": name} for name in TREE]})
    assert s3.list_objects_v2(Bucket=bucket)["KeyCount"] == 0
    s3.delete_bucket(Bucket=bucket)
    note("files", "multipart", "lists", "bulk delete")


def test_ranges_are_exact(s3: Any, bucket: str, tree: Path, note: Any) -> None:
    s3.create_bucket(Bucket=bucket)
    whole = (tree / "big/seventeen").read_bytes()
    s3.upload_file(str(tree / "big/seventeen"), bucket, "big", Config=PARTS)
    for first, last in [(0, 0), (MIB - 1, MIB), (5 * MIB - 1, 5 * MIB), (4 * MIB, 11 * MIB), (17 * MIB, 99 * MIB)]:
        got = s3.get_object(Bucket=bucket, Key="big", Range=f"bytes={first}-{last}")
        assert got["Body"].read() == whole[first : last + 1]
    assert s3.get_object(Bucket=bucket, Key="big", Range="bytes=-3")["Body"].read() == whole[-3:]
    with pytest.raises(ClientError, match="InvalidRange"):
        s3.get_object(Bucket=bucket, Key="big", Range=f"bytes={len(whole)}-")
    part = s3.get_object(Bucket=bucket, Key="big", PartNumber=2)
    assert part["Body"].read() == whole[5 * MIB : 10 * MIB]
    note("ranges")


def test_presigned_addresses_work_without_credentials(s3: Any, bucket: str, store: Store, note: Any) -> None:
    """It presigns with version 2, unless told."""
    s3.create_bucket(Bucket=bucket)
    told = client_of(store, signature_version="s3v4")
    parameters = {"Bucket": bucket, "Key": "shared/ä b"}
    with urllib3.PoolManager(ca_certs=store.ca or None) as http:
        for client, mark in ((s3, "AWSAccessKeyId="), (told, "X-Amz-Credential=")):
            put, get = (client.generate_presigned_url(name, Params=parameters) for name in ("put_object", "get_object"))
            assert mark in put
            assert http.request("PUT", put, body=mark.encode()).status == 200
            assert http.request("GET", get).data == mark.encode()
            assert http.request("GET", get[:-1] + ("0" if get[-1] != "0" else "1")).status == 403
    told.close()
    note("presigned URLs")


def test_versions_are_kept_hidden_and_restored(s3: Any, bucket: str, note: Any) -> None:
    s3.create_bucket(Bucket=bucket)
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    bodies = [f"version {number}".encode() * 20_000 for number in range(3)]
    ids = [s3.put_object(Bucket=bucket, Key="k", Body=body)["VersionId"] for body in bodies]
    marker = s3.delete_object(Bucket=bucket, Key="k")
    assert marker["DeleteMarker"] is True
    with pytest.raises(ClientError, match="NoSuchKey"):
        s3.get_object(Bucket=bucket, Key="k")
    for body, version_id in zip(bodies, ids, strict=True):
        assert s3.get_object(Bucket=bucket, Key="k", VersionId=version_id)["Body"].read() == body
    listed = s3.list_object_versions(Bucket=bucket)
    assert [one["VersionId"] for one in listed["Versions"]] == ids[::-1]
    assert [one["VersionId"] for one in listed["DeleteMarkers"]] == [marker["VersionId"]]
    s3.delete_object(Bucket=bucket, Key="k", VersionId=marker["VersionId"])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == bodies[-1]
    s3.delete_object(Bucket=bucket, Key="k", VersionId=ids[-1])
    assert s3.get_object(Bucket=bucket, Key="k")["Body"].read() == bodies[1]
    note("versions")


def test_copies_and_conditions(s3: Any, bucket: str, tree: Path, note: Any) -> None:
    s3.create_bucket(Bucket=bucket)
    whole = (tree / "big/seventeen").read_bytes()
    s3.put_object(Bucket=bucket, Key="source", Body=whole, Metadata={"colour": "grün".encode().hex()})
    s3.copy({"Bucket": bucket, "Key": "source"}, bucket, "by parts", Config=PARTS)
    s3.copy_object(Bucket=bucket, Key="at once", CopySource={"Bucket": bucket, "Key": "source"})
    for key in ("by parts", "at once"):
        assert s3.get_object(Bucket=bucket, Key=key)["Body"].read() == whole
    assert s3.head_object(Bucket=bucket, Key="at once")["Metadata"] == {"colour": "grün".encode().hex()}
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="source", Body=b"", IfNoneMatch="*")
    etag = s3.head_object(Bucket=bucket, Key="source")["ETag"]
    s3.put_object(Bucket=bucket, Key="source", Body=b"newer", IfMatch=etag)
    with pytest.raises(ClientError, match="PreconditionFailed"):
        s3.put_object(Bucket=bucket, Key="source", Body=b"newest", IfMatch=etag)
    assert s3.get_object(Bucket=bucket, Key="source")["Body"].read() == b"newer"
    note("copies", "conditional writes")
