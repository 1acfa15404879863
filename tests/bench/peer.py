"""What liteio is measured beside, where it has to be fetched first.

`python -m tests.bench.peer` prints the path of SeaweedFS's program, which is installed first if need be; nothing where
it can not be had.
"""

import subprocess
import sys
from functools import cache
from pathlib import Path

from tests.support.client_env import ClientMissing, python_client
from tests.support.paths import CLIENTS, REPOSITORY


@cache
def previous_release() -> Path | None:
    """The program `liteio` of the newest release that is tagged (v*), set up under .clients/; None without a tag.

    Raises CalledProcessError when it can not be set up.
    """
    tag = _git("tag", "--list", "v*", "--sort=-version:refname").partition("\n")[0]
    if not tag:
        return None
    folder = CLIENTS / f"liteio-{tag}"
    if not (folder / "tools" / "setup.sh").exists():
        folder.mkdir(parents=True, exist_ok=True)
        archive = subprocess.run(("git", "archive", tag), cwd=REPOSITORY, capture_output=True, check=True)
        subprocess.run(("tar", "-x", "-C", str(folder)), input=archive.stdout, check=True)
    subprocess.run((str(folder / "tools" / "setup.sh"),), check=True, stdout=subprocess.DEVNULL)
    return folder / ".venv" / "bin" / "liteio"


def _git(*words: str) -> str:
    return subprocess.run(("git", *words), cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.strip()


def main() -> None:
    try:
        print(python_client("seaweedfs") / "weed")
    except ClientMissing as missing:
        print(f"the bench goes without SeaweedFS: {missing}", file=sys.stderr)


if __name__ == "__main__":
    main()
