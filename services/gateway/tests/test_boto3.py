"""The main flows with boto3 over real connections, on http and on https: it signs and frames differently on the two."""

import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import ClientError
from services.gateway.tests.live_server import LiveServer, live_server
from services.gateway.tests.memory_layer import MemoryLayer

from liteio_contracts.object_errors import ReadQuorumLost

MIB = 1024 * 1024


@pytest.fixture(scope="module", params=["http", "https"])
def live(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    folder: Path = tmp_path_factory.mktemp("tls")
    with live_server(folder, has_tls=request.param == "https") as server:
        yield server


@pytest.fixture
def s3(live: LiveServer) -> Iterator[Any]:
    client = live.s3()
    yield client
    client.close()


@pytest.fixture
def bucket(s3: Any, request: pytest.FixtureRequest) -> str:
    name = "b-" + hashlib.md5(request.node.name.encode()).hexdigest()[:12]
    s3.create_bucket(Bucket=name)
    return name


def code_of(error: ClientError) -> str:
    return str(error.response["Error"]["Code"])


def test_put_get_head_delete(s3: Any, bucket: str) -> None:
    put = s3.put_object(Bucket=bucket, Key="päth/to //..", Body=b"content", Metadata={"a": "b"}, ContentType="text/x")
    assert put["ETag"] == f'"{hashlib.md5(b"content").hexdigest()}"'
    assert put["ChecksumCRC32"]
    got = s3.get_object(Bucket=bucket, Key="päth/to //..")
    assert got["Body"].read() == b"content"
    assert got["ChecksumCRC32"] == put["ChecksumCRC32"]
    head = s3.head_object(Bucket=bucket, Key="päth/to //..")
    assert (head["ContentLength"], head["Metadata"], head["ContentType"]) == (7, {"a": "b"}, "text/x")
    s3.delete_object(Bucket=bucket, Key="päth/to //..")
    with pytest.raises(ClientError) as missing:
        s3.get_object(Bucket=bucket, Key="päth/to //..")
    assert code_of(missing.value) == "NoSuchKey"


@pytest.mark.parametrize("algorithm", ["CRC32", "CRC32C", "CRC64NVME", "SHA1", "SHA256"])
def test_every_checksum_is_kept_and_returned(s3: Any, bucket: str, algorithm: str) -> None:
    put = s3.put_object(Bucket=bucket, Key="summed", Body=b"x" * 70_000, ChecksumAlgorithm=algorithm)
    got = s3.get_object(Bucket=bucket, Key="summed", ChecksumMode="ENABLED")
    assert got["Body"].read() == b"x" * 70_000
    assert got["Checksum" + algorithm] == put["Checksum" + algorithm]
    assert got["ChecksumType"] == "FULL_OBJECT"
    partial = s3.get_object(Bucket=bucket, Key="summed", ChecksumMode="ENABLED", Range="bytes=0-9")
    assert partial["Body"].read() == b"x" * 10
    assert "Checksum" + algorithm not in partial


def test_multipart_upload_and_download(s3: Any, bucket: str, live: LiveServer) -> None:
    body = b"0123456789abcdef" * (MIB // 16) * 17
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=8 * MIB, max_concurrency=3)
    s3.upload_fileobj(io.BytesIO(body), bucket, "big", Config=config)
    head = s3.head_object(Bucket=bucket, Key="big")
    assert head["ETag"].endswith('-3"')
    back = io.BytesIO()
    s3.download_fileobj(bucket, "big", back, Config=config)
    assert back.getvalue() == body
    part = s3.get_object(Bucket=bucket, Key="big", PartNumber=2)
    assert (part["ContentLength"], part["PartsCount"]) == (8 * MIB, 3)
    assert part["ResponseMetadata"]["HTTPStatusCode"] == 206
    assert part["Body"].read() == body[8 * MIB : 16 * MIB]


def test_copy_of_a_large_object_in_parts(s3: Any, bucket: str) -> None:
    body = bytes(range(256)) * (12 * MIB // 256)
    s3.put_object(Bucket=bucket, Key="source", Body=body)
    config = TransferConfig(multipart_threshold=5 * MIB, multipart_chunksize=5 * MIB)
    s3.copy({"Bucket": bucket, "Key": "source"}, bucket, "copy", Config=config)
    assert s3.get_object(Bucket=bucket, Key="copy")["Body"].read() == body


def test_list_pages_and_bulk_delete(s3: Any, bucket: str) -> None:
    keys = [f"dir{index % 3}/file {index}\x01&<é>" for index in range(30)]
    for key in keys:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    found = [
        entry["Key"]
        for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, PaginationConfig={"PageSize": 7})
        for entry in page.get("Contents", [])
    ]
    assert found == sorted(keys)
    shallow = s3.list_objects_v2(Bucket=bucket, Delimiter="/")
    assert [prefix["Prefix"] for prefix in shallow["CommonPrefixes"]] == ["dir0/", "dir1/", "dir2/"]
    clean = [key.replace("\x01", "") for key in keys]
    for key in clean:
        s3.put_object(Bucket=bucket, Key=key, Body=b"")
    gone = s3.delete_objects(Bucket=bucket, Delete={"Objects": [{"Key": key} for key in clean]})
    assert len(gone["Deleted"]) == 30
    assert "Errors" not in gone


def test_versions(s3: Any, bucket: str) -> None:
    s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    first = s3.put_object(Bucket=bucket, Key="v", Body=b"1")["VersionId"]
    second = s3.put_object(Bucket=bucket, Key="v", Body=b"2")["VersionId"]
    marker = s3.delete_object(Bucket=bucket, Key="v")
    assert marker["DeleteMarker"]
    with pytest.raises(ClientError) as hidden:
        s3.head_object(Bucket=bucket, Key="v")
    assert hidden.value.response["ResponseMetadata"]["HTTPHeaders"]["x-amz-delete-marker"] == "true"
    with pytest.raises(ClientError) as refused:
        s3.get_object(Bucket=bucket, Key="v", VersionId=marker["VersionId"])
    assert code_of(refused.value) == "MethodNotAllowed"
    assert s3.get_object(Bucket=bucket, Key="v", VersionId=first)["Body"].read() == b"1"
    listed = s3.list_object_versions(Bucket=bucket)
    assert [version["VersionId"] for version in listed["Versions"]] == [second, first]
    assert [entry["IsLatest"] for entry in listed["DeleteMarkers"]] == [True]
    s3.delete_object(Bucket=bucket, Key="v", VersionId=marker["VersionId"])
    assert s3.get_object(Bucket=bucket, Key="v")["Body"].read() == b"2"


def test_conditional_writes(s3: Any, bucket: str) -> None:
    etag = s3.put_object(Bucket=bucket, Key="c", Body=b"1", IfNoneMatch="*")["ETag"]
    with pytest.raises(ClientError) as exists:
        s3.put_object(Bucket=bucket, Key="c", Body=b"2", IfNoneMatch="*")
    assert code_of(exists.value) == "PreconditionFailed"
    s3.put_object(Bucket=bucket, Key="c", Body=b"3", IfMatch=etag)
    with pytest.raises(ClientError) as stale:
        s3.put_object(Bucket=bucket, Key="c", Body=b"4", IfMatch=etag)
    assert stale.value.response["ResponseMetadata"]["HTTPStatusCode"] == 412
    assert s3.get_object(Bucket=bucket, Key="c")["Body"].read() == b"3"


@pytest.mark.parametrize("config", [{}, {"signature_version": "s3v4"}])
def test_presigned_urls(bucket: str, live: LiveServer, config: dict[str, str]) -> None:
    s3 = live.s3(**config)  # boto3 presigns with version 2 in this region, unless it is told
    pool = urllib3.PoolManager(ca_certs=str(live.ca_file) if live.ca_file else None)
    put = s3.generate_presigned_url("put_object", {"Bucket": bucket, "Key": "p q", "ContentType": "text/plain"})
    assert ("AWSAccessKeyId=" in put) == (not config)
    assert pool.request("PUT", put, body=b"presigned", headers={"content-type": "text/plain"}).status == 200
    assert pool.request("PUT", put, body=b"presigned", headers={"content-type": "text/html"}).status in (400, 403)
    get = s3.generate_presigned_url(
        "get_object", {"Bucket": bucket, "Key": "p q", "ResponseContentDisposition": "attachment"}
    )
    got = pool.request("GET", get)
    assert (got.status, got.data) == (200, b"presigned")
    assert got.headers["content-disposition"] == "attachment"
    assert got.headers["content-type"] == "text/plain"
    assert pool.request("GET", get.replace("=attachment", "=inline")).status == 403
    assert pool.request("DELETE", get).status == 403
    listed = pool.request("GET", s3.generate_presigned_url("list_objects_v2", {"Bucket": bucket, "Prefix": "p"}))
    assert (listed.status, listed.data.count(b"<Key>")) == (200, 1)
    made = s3.generate_presigned_url("create_multipart_upload", {"Bucket": bucket, "Key": "m"})
    upload_id = pool.request("POST", made).data.partition(b"<UploadId>")[2].partition(b"<")[0].decode()
    part = {"Bucket": bucket, "Key": "m", "UploadId": upload_id, "PartNumber": 1}
    assert pool.request("PUT", s3.generate_presigned_url("upload_part", part), body=b"part").status == 200
    del part["PartNumber"]
    assert b"<Size>4</Size>" in pool.request("GET", s3.generate_presigned_url("list_parts", part)).data
    pool.clear()
    s3.close()


def test_a_presigned_url_ends(s3: Any, bucket: str, live: LiveServer) -> None:
    s3.put_object(Bucket=bucket, Key="k", Body=b"1")
    url = s3.generate_presigned_url("get_object", {"Bucket": bucket, "Key": "k"}, ExpiresIn=0)
    with urllib3.PoolManager(ca_certs=str(live.ca_file) if live.ca_file else None) as pool:
        answer = pool.request("GET", url)
    assert answer.status == 403
    assert b"<Message>Request has expired</Message>" in answer.data


def test_tags_acl_and_settings_that_are_not_set(s3: Any, bucket: str) -> None:
    s3.put_object(Bucket=bucket, Key="t", Body=b"", Tagging="a=1&b=2")
    assert s3.get_object_tagging(Bucket=bucket, Key="t")["TagSet"] == [
        {"Key": "a", "Value": "1"},
        {"Key": "b", "Value": "2"},
    ]
    assert s3.get_object(Bucket=bucket, Key="t")["TagCount"] == 2
    s3.put_object_tagging(Bucket=bucket, Key="t", Tagging={"TagSet": [{"Key": "c d", "Value": "ö"}]})
    assert s3.get_object_tagging(Bucket=bucket, Key="t")["TagSet"] == [{"Key": "c d", "Value": "ö"}]
    s3.delete_object_tagging(Bucket=bucket, Key="t")
    assert s3.get_object_tagging(Bucket=bucket, Key="t")["TagSet"] == []
    assert s3.get_bucket_acl(Bucket=bucket)["Grants"][0]["Permission"] == "FULL_CONTROL"
    s3.put_bucket_acl(Bucket=bucket, ACL="private")
    for call, code in [
        (s3.get_bucket_policy, "NoSuchBucketPolicy"),
        (s3.get_bucket_cors, "NoSuchCORSConfiguration"),
        (s3.get_bucket_lifecycle_configuration, "NoSuchLifecycleConfiguration"),
        (s3.get_bucket_tagging, "NoSuchTagSet"),
        (s3.get_object_lock_configuration, "ObjectLockConfigurationNotFoundError"),
    ]:
        with pytest.raises(ClientError) as unset:
            call(Bucket=bucket)
        assert code_of(unset.value) == code
    assert s3.get_bucket_location(Bucket=bucket)["LocationConstraint"] is None
    assert "Status" not in s3.get_bucket_versioning(Bucket=bucket)


def test_a_denied_client_never_uploads_its_body(live: LiveServer, bucket: str) -> None:
    stranger = live.s3()
    stranger._request_signer._credentials.secret_key = "wrong-secret"
    before = live.layer.calls["put"]
    with pytest.raises(ClientError) as denied:
        stranger.put_object(Bucket=bucket, Key="k", Body=b"z" * (3 * MIB))
    assert code_of(denied.value) == "SignatureDoesNotMatch"
    assert live.layer.calls["put"] == before
    assert live.log[-1]["bytes_in"] == 0
    stranger.close()


def test_a_read_that_fails_midway_breaks_the_connection(tmp_path: Path) -> None:
    layer = MemoryLayer()
    with live_server(tmp_path, layer=layer) as live:
        s3 = live.s3()
        s3.create_bucket(Bucket="bucket")
        s3.put_object(Bucket="bucket", Key="k", Body=b"y" * (3 * MIB))
        layer.read_breaks_after, layer.read_failure = 2 * MIB, ReadQuorumLost(needed=2, got=1)
        url = s3.generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "k"})
        pool = urllib3.PoolManager(retries=False)
        with pytest.raises(urllib3.exceptions.ProtocolError):
            pool.request("GET", url)
        pool.clear()
        s3.close()
    assert all(reader.is_closed for reader in layer.readers)
