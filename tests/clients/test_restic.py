"""restic (minio-go): chunk-signed uploads on http, a repository that checks itself."""

from pathlib import Path

from tests.clients.harness import Runner, Store, aws_variables, hashes_of, have, make_tree
from tests.clients.report import Uses
from tests.support import client_env


def test_backup_and_restore(store: Store, tmp_path: Path, uses: Uses, bucket: str, tree: Path) -> None:
    program = have(client_env.restic)
    variables = aws_variables(store) | {
        "RESTIC_REPOSITORY": f"s3:{store.url}/{bucket}",
        "RESTIC_PASSWORD": "of the tests",
        "RESTIC_CACHE_DIR": str(tmp_path / "cache"),
    }
    if store.ca:
        variables["RESTIC_CACERT"] = store.ca
    runner = Runner("restic", store, tmp_path / "home", uses, variables)
    ca = ("--cacert", store.ca) if store.ca else ()

    def restic(*words: str | Path) -> str:
        return runner.run(program, *ca, *words)

    restic("init")
    restic("backup", tree)
    restic("check", "--read-data")
    changed = tmp_path / "changed"
    make_tree(changed, seed=2)
    restic("backup", changed)
    restic("restore", "latest", "--target", tmp_path / "restored")
    assert hashes_of(tmp_path / "restored" / changed.relative_to("/")) == hashes_of(changed)
    restic("restore", "latest", "--path", tree, "--target", tmp_path / "first")
    assert hashes_of(tmp_path / "first" / tree.relative_to("/")) == hashes_of(tree)
    restic("forget", "latest", "--path", tree, "--keep-last", "1", "--prune")
    restic("check", "--read-data")
    runner.did(restic("version"), "backup", "restore", "check", "prune", "ranges", "delete")
