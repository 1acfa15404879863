"""minio-py: programs/minio_work.py, run in an environment of its own."""

from pathlib import Path

from tests.clients.harness import Runner, Store, have
from tests.clients.report import Uses
from tests.support.client_env import python_client


def test_its_normal_work(store: Store, tmp_path: Path, uses: Uses, bucket: str, tree: Path) -> None:
    python = have(lambda: python_client("minio")) / "python"
    Runner("minio-py", store, tmp_path / "home", uses, {}).program(python, "minio_work", bucket, tree)
