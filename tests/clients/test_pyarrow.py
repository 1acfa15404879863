"""PyArrow's S3 filesystem and Parquet: programs/pyarrow_work.py, run in an environment of its own."""

from pathlib import Path

from tests.clients.harness import Runner, Store, have
from tests.clients.report import Uses
from tests.support.client_env import python_client


def test_its_normal_work(store: Store, tmp_path: Path, uses: Uses, bucket: str, tree: Path) -> None:
    python = have(lambda: python_client("pyarrow")) / "python"
    Runner("PyArrow", store, tmp_path / "home", uses, {}).program(python, "pyarrow_work", bucket, tree)
