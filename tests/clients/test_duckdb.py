"""DuckDB with its httpfs extension: programs/duckdb_work.py, run in an environment of its own."""

from contextlib import closing
from pathlib import Path

from tests.clients.harness import Runner, Store, have
from tests.clients.report import Uses
from tests.support.client_env import python_client
from tests.support.s3_client import S3Client


def test_its_normal_work(store: Store, tmp_path: Path, uses: Uses, bucket: str, tree: Path) -> None:
    with closing(S3Client(store.server)) as s3:
        s3.create_bucket(bucket)  # DuckDB itself can not
    python = have(lambda: python_client("duckdb")) / "python"
    Runner("DuckDB", store, tmp_path / "home", uses, {}).program(python, "duckdb_work", bucket, tree)
