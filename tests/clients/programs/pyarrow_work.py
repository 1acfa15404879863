"""PyArrow at work: files, ranges and Parquet data sets. Arguments: URL, access key, secret key, CA file or "", bucket,
folder of files."""

import sys
from pathlib import Path
from urllib.parse import urlsplit

import pyarrow  # type: ignore[import-not-found,unused-ignore]  # installed in the client's own environment only
import pyarrow.dataset as datasets  # type: ignore[import-not-found,unused-ignore]
import pyarrow.parquet as parquet  # type: ignore[import-not-found,unused-ignore]
from pyarrow import fs  # type: ignore[import-not-found,unused-ignore]

url, access_key, secret_key, ca, bucket, folder = sys.argv[1:]
MIB = 1024 * 1024
print(pyarrow.__version__)
store = fs.S3FileSystem(
    access_key=access_key,
    secret_key=secret_key,
    endpoint_override=urlsplit(url).netloc,
    scheme=urlsplit(url).scheme,
    region="us-east-1",
    allow_bucket_creation=True,
    allow_bucket_deletion=True,
    **({"tls_ca_file_path": ca} if ca else {}),
)
files = {str(path.relative_to(folder)): path for path in Path(folder).rglob("*") if path.is_file()}

store.create_dir(bucket)
for name, path in files.items():
    with store.open_output_stream(f"{bucket}/tree/{name}", buffer_size=5 * MIB) as out:
        out.write(path.read_bytes())
for name, path in files.items():
    with store.open_input_stream(f"{bucket}/tree/{name}") as stream:
        assert stream.read() == path.read_bytes(), name
found = store.get_file_info(fs.FileSelector(f"{bucket}/tree", recursive=True))
sizes = {one.path.removeprefix(f"{bucket}/tree/"): one.size for one in found if one.is_file}
assert sizes == {name: path.stat().st_size for name, path in files.items()}, sizes
print("files")
print("multipart")
print("lists")

whole = files["big/seventeen"].read_bytes()
with store.open_input_file(f"{bucket}/tree/big/seventeen") as file:
    assert file.read_at(5, 5 * MIB - 2) == whole[5 * MIB - 2 : 5 * MIB + 3]
print("ranges")

table = pyarrow.table({"id": range(300_000), "text": [f"row {number}" for number in range(300_000)]})
parquet.write_table(table, f"{bucket}/one.parquet", filesystem=store, row_group_size=50_000)
assert parquet.read_table(f"{bucket}/one.parquet", filesystem=store).equals(table)
datasets.write_dataset(
    table, f"{bucket}/set", filesystem=store, format="parquet", max_rows_per_file=100_000, max_rows_per_group=50_000
)
read = datasets.dataset(f"{bucket}/set", filesystem=store, format="parquet").to_table().sort_by("id")
assert read.equals(table)
assert store.get_file_info(f"{bucket}/nothing").type == fs.FileType.NotFound
print("Parquet")

store.copy_file(f"{bucket}/one.parquet", f"{bucket}/two.parquet")
store.move(f"{bucket}/two.parquet", f"{bucket}/three.parquet")
assert parquet.read_table(f"{bucket}/three.parquet", filesystem=store).equals(table)
print("copies")

store.delete_dir_contents(bucket)
assert store.get_file_info(fs.FileSelector(bucket, recursive=True)) == []
store.delete_dir(bucket)
print("bulk delete")
