"""s3fs at work. Arguments: URL, access key, secret key, CA file or "", bucket, folder of files."""

import sys
import urllib.request
from pathlib import Path
from ssl import create_default_context

import s3fs  # installed in the client's own environment only

url, access_key, secret_key, ca, bucket, folder = sys.argv[1:]
MIB = 1024 * 1024
print(s3fs.__version__)
fs = s3fs.S3FileSystem(
    key=access_key,
    secret=secret_key,
    endpoint_url=url,
    client_kwargs={"region_name": "us-east-1", **({"verify": ca} if ca else {})},
    config_kwargs={"retries": {"max_attempts": 1}},
    version_aware=True,
    use_listings_cache=False,
    max_concurrency=3,
)
files = {str(path.relative_to(folder)): path for path in Path(folder).rglob("*") if path.is_file()}

fs.mkdir(bucket)
fs.put(folder + "/", f"{bucket}/tree", recursive=True, chunksize=5 * MIB)
for name, path in files.items():
    assert fs.cat_file(f"{bucket}/tree/{name}") == path.read_bytes(), name
found = {
    name.removeprefix(f"{bucket}/tree/"): facts["size"]
    for name, facts in fs.find(f"{bucket}/tree", detail=True).items()
}
assert found == {name: path.stat().st_size for name, path in files.items()}, found
assert sorted(fs.ls(f"{bucket}/tree/big", detail=False)) == [f"{bucket}/tree/big/seventeen"]
print("files")
print("lists")

whole = files["big/seventeen"].read_bytes()
with fs.open(f"{bucket}/written", "wb", block_size=5 * MIB) as file:
    for start in range(0, len(whole), 3 * MIB):
        file.write(whole[start : start + 3 * MIB])
with fs.open(f"{bucket}/written", "rb", block_size=MIB) as file:
    file.seek(5 * MIB - 2)
    assert file.read(5) == whole[5 * MIB - 2 : 5 * MIB + 3]
assert fs.cat_file(f"{bucket}/written", start=-3) == whole[-3:]
print("multipart")
print("ranges")

fs.copy(f"{bucket}/written", f"{bucket}/copied")
assert fs.cat_file(f"{bucket}/copied") == whole
try:
    fs.pipe_file(f"{bucket}/copied", b"not over it", mode="create")
except FileExistsError:
    print("conditional writes")
assert fs.cat_file(f"{bucket}/copied") == whole
print("copies")

address = fs.sign(f"{bucket}/copied", expiration=60)
with urllib.request.urlopen(address, context=create_default_context(cafile=ca) if ca else None) as answer:
    assert answer.read() == whole
print("presigned URLs")

fs.rm(f"{bucket}/tree", recursive=True)
assert fs.find(f"{bucket}/tree") == []
fs.rm(bucket, recursive=True)
assert not fs.exists(bucket)
print("bulk delete")

versioned = f"{bucket}-v"
fs.mkdir(versioned)
fs.make_bucket_versioned(versioned)
for body in (b"first", b"second"):
    fs.pipe_file(f"{versioned}/k", body)
ids = [one["VersionId"] for one in fs.object_version_info(f"{versioned}/k")]
assert [fs.cat_file(f"{versioned}/k", version_id=one) for one in ids] == [b"second", b"first"]
print("versions")
