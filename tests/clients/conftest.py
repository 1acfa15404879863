"""The clients' store, once over http and once over https, and the table of what they did.

Every change runs boto3, the aws cli, rclone and the raw client. LITEIO_PROOF=1 runs all and writes the table;
LITEIO_CLIENTS=s3cmd,restic runs those besides. What is not run is printed, never silent.
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parents[2]))

import pytest  # the path comes first
from tests.clients.harness import Store, make_tree
from tests.clients.report import Uses, write_table
from tests.support.paths import IS_PROOF
from tests.support.server import SECRET_KEY, Server, running_server

EVERY_CHANGE: Final = frozenset({"boto3", "aws", "rclone", "raw"})
_ALL: Final = frozenset(path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py"))
_ASKED: Final = frozenset(os.environ.get("LITEIO_CLIENTS", "").split(",")) - {""}
_CHOSEN: Final = _ALL if IS_PROOF or "all" in _ASKED else EVERY_CHANGE | (_ASKED & _ALL)
_USES: Final = Uses()

collect_ignore = [f"test_{name}.py" for name in _ALL - _CHOSEN]


@pytest.fixture(scope="session", params=["http", "https"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with running_server(is_https=request.param == "https") as server:
        yield Store(server, request.param)
        assert_log_tells_no_secret(server)


def assert_log_tells_no_secret(server: Server) -> None:
    """After all that clients of every kind have sent: no secret, no signature and no query of a presigned URL."""
    log = server.log_path.read_text(encoding="utf-8", errors="replace")
    assert '"event":"request"' in log, "the requests were not logged"
    for telling in (SECRET_KEY, "Signature=", "signature=", "AWS4-HMAC", "X-Amz-", "Authorization", "c2VjcmV0"):
        assert telling not in log, next(line for line in log.splitlines() if telling in line)[:300]


@pytest.fixture(scope="session")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with TREE in it. Not to be changed."""
    folder = tmp_path_factory.mktemp("tree")
    make_tree(folder)
    return folder


@pytest.fixture(scope="session")
def uses() -> Uses:
    return _USES


@pytest.fixture
def bucket(request: pytest.FixtureRequest) -> str:
    """A name for this test's bucket, not made yet."""
    name = request.node.originalname.removeprefix("test_").replace("_", "-")
    return f"{request.path.stem.removeprefix('test_')}-{name}".replace("_", "-")[:60].rstrip("-")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    left_out = sorted(_ALL - _CHOSEN)
    skipped = [one for one in terminalreporter.stats.get("skipped", []) if "client missing" in str(one.longrepr)]
    for one in skipped:
        terminalreporter.write_line(f"skipped: {one.nodeid}: {one.longrepr}")
    terminalreporter.write_line(
        f"clients: {len(_CHOSEN)} run, {len(skipped)} tests skipped for want of a client, "
        f"{len(left_out)} left to the proof ({', '.join(left_out) or 'none'})"
    )


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    if IS_PROOF and exitstatus == 0 and len(_USES.versions) >= len(_ALL) - 1:  # mc may be missing
        write_table(_USES)
