"""DuckDB at work: Parquet and CSV written to the store and queried back. Arguments: URL, access key, secret key, CA
file or "", bucket, folder of files (unused)."""

import sys
from pathlib import Path
from urllib.parse import urlsplit

import duckdb  # type: ignore[import-not-found,unused-ignore]  # installed in the client's own environment only
import duckdb_extension_httpfs  # type: ignore[import-not-found,unused-ignore]

url, access_key, secret_key, ca, bucket, _ = sys.argv[1:]
print(duckdb.__version__)
package = Path(duckdb_extension_httpfs.__file__).parent
(extension,) = package.rglob("httpfs.duckdb_extension")
db = duckdb.connect(config={"allow_unsigned_extensions": "true"})
db.execute(f"LOAD '{extension}'")
if ca:
    db.execute(f"SET ca_cert_file = '{ca}'")
db.execute(
    f"""CREATE SECRET (TYPE s3, KEY_ID '{access_key}', SECRET '{secret_key}', REGION 'us-east-1',
    ENDPOINT '{urlsplit(url).netloc}', URL_STYLE 'path', USE_SSL {url.startswith("https")})"""
)

rows = 400_000  # about 14 MB of Parquet: several parts, several row groups
query = f"SELECT i AS id, hash(i) AS h, md5(i::VARCHAR) AS text, i % 7 AS part FROM range({rows}) AS t(i)"
expected = db.execute(f"SELECT count(*), sum(id), bit_xor(h), min(text), max(text) FROM ({query})").fetchone()
db.execute(f"COPY ({query}) TO 's3://{bucket}/big file.parquet' (FORMAT parquet, ROW_GROUP_SIZE 50000)")
found = db.execute(
    f"SELECT count(*), sum(id), bit_xor(h), min(text), max(text) FROM 's3://{bucket}/big file.parquet'"
).fetchone()
assert found == expected, (found, expected)
print("Parquet")
print("multipart")

wanted = db.execute(f"SELECT text FROM ({query}) WHERE id = 123456").fetchall()
assert db.execute(f"SELECT text FROM 's3://{bucket}/big file.parquet' WHERE id = 123456").fetchall() == wanted
print("ranges")

db.execute(f"COPY ({query}) TO 's3://{bucket}/by part' (FORMAT parquet, PARTITION_BY (part))")
found = db.execute(
    f"SELECT count(*), sum(id), bit_xor(h), min(text), max(text) FROM 's3://{bucket}/by part/*/*.parquet'"
).fetchone()
assert found == expected, (found, expected)
names = db.execute(f"SELECT file FROM glob('s3://{bucket}/by part/*/*.parquet')").fetchall()
assert len(names) >= 7, names
print("lists")

db.execute(f"COPY (SELECT 'ä,\"b\"' AS text, 1 AS n) TO 's3://{bucket}/a.csv' (HEADER)")
assert db.execute(f"SELECT text, n FROM 's3://{bucket}/a.csv'").fetchall() == [('ä,"b"', 1)]
print("CSV")
db.close()
