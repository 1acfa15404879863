"""minio-py at work. Arguments: URL, access key, secret key, CA file or "", bucket, folder of files."""

import io
import sys
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import minio  # type: ignore[import-not-found,unused-ignore]  # installed in the client's own environment only
import urllib3
from minio.commonconfig import ENABLED, ComposeSource, CopySource  # type: ignore[import-not-found,unused-ignore]
from minio.deleteobjects import DeleteObject  # type: ignore[import-not-found,unused-ignore]
from minio.versioningconfig import VersioningConfig  # type: ignore[import-not-found,unused-ignore]

url, access_key, secret_key, ca, bucket, folder = sys.argv[1:]
MIB = 1024 * 1024
http = urllib3.PoolManager(ca_certs=ca or None, retries=False)
client = minio.Minio(
    urlsplit(url).netloc,
    access_key=access_key,
    secret_key=secret_key,
    secure=url.startswith("https"),
    http_client=http,
)
files = {str(path.relative_to(folder)): path for path in Path(folder).rglob("*") if path.is_file()}
print(minio.__version__)


def read(key: str, **options: object) -> bytes:
    answer = client.get_object(bucket_name=bucket, object_name=key, **options)
    try:
        return bytes(answer.read())
    finally:
        answer.close()
        answer.release_conn()


client.make_bucket(bucket_name=bucket)
for name, path in files.items():
    client.fput_object(
        bucket_name=bucket, object_name=name, file_path=str(path), part_size=5 * MIB, metadata={"origin": "tests"}
    )
for name, path in files.items():
    assert read(name) == path.read_bytes(), name
    found = client.stat_object(bucket_name=bucket, object_name=name)
    assert (found.size, found.metadata["x-amz-meta-origin"]) == (path.stat().st_size, "tests"), name
listed = {one.object_name: one.size for one in client.list_objects(bucket_name=bucket, recursive=True)}
assert listed == {name: path.stat().st_size for name, path in files.items()}, listed
print("files")
print("multipart")
print("lists")

whole = files["big/seventeen"].read_bytes()
assert read("big/seventeen", offset=5 * MIB - 2, length=5) == whole[5 * MIB - 2 : 5 * MIB + 3]
print("ranges")

# Unknown length: it reads ahead and uploads by parts.
client.put_object(bucket_name=bucket, object_name="stream", data=io.BytesIO(whole), length=-1, part_size=5 * MIB)
assert read("stream") == whole
client.copy_object(
    bucket_name=bucket, object_name="copied", source=CopySource(bucket_name=bucket, object_name="stream")
)
assert read("copied") == whole
sources = [ComposeSource(bucket_name=bucket, object_name=one) for one in ("stream", "one")]
client.compose_object(bucket_name=bucket, object_name="composed", sources=sources)
assert read("composed") == whole + files["one"].read_bytes()
print("copies")

put = client.presigned_put_object(bucket_name=bucket, object_name="shared ä", expires=timedelta(minutes=1))
assert http.request("PUT", put, body=b"by address").status == 200
get = client.presigned_get_object(bucket_name=bucket, object_name="shared ä", expires=timedelta(minutes=1))
assert http.request("GET", get).data == b"by address"
print("presigned URLs")

names = [one.object_name for one in client.list_objects(bucket_name=bucket, recursive=True)]
assert list(client.remove_objects(bucket_name=bucket, delete_object_list=[DeleteObject(name) for name in names])) == []
assert list(client.list_objects(bucket_name=bucket)) == []
print("bulk delete")

client.set_bucket_versioning(bucket_name=bucket, config=VersioningConfig(ENABLED))
ids = [
    client.put_object(bucket_name=bucket, object_name="k", data=io.BytesIO(body), length=len(body)).version_id
    for body in (b"first", b"second")
]
client.remove_object(bucket_name=bucket, object_name="k")
assert [read("k", version_id=one) for one in ids] == [b"first", b"second"]
for one in client.list_objects(bucket_name=bucket, include_version=True):
    client.remove_object(bucket_name=bucket, object_name="k", version_id=one.version_id)
client.remove_bucket(bucket_name=bucket)
print("versions")
