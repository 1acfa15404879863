"""The state folder: credentials that stay, files nobody else reads, one server at a time."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from liteio_runtime.problems import StartRefused
from liteio_runtime.state import StateFolder, write_private


def test_credentials_are_made_once_and_kept_private(tmp_path: Path) -> None:
    first = StateFolder(tmp_path / "state")
    made = first.root_credentials()
    assert made.is_new
    assert (len(made.access_key), len(made.secret_key)) == (20, 40)
    first.close()
    second = StateFolder(tmp_path / "state")
    kept = second.root_credentials()
    second.close()
    assert (kept.access_key, kept.secret_key, kept.is_new) == (made.access_key, made.secret_key, False)
    assert stat.S_IMODE((tmp_path / "state" / "root-credentials").stat().st_mode) == 0o600
    assert made.secret_key not in repr(made)


def test_a_file_left_half_written_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.with_name("secret.new").write_text("half")
    write_private(path, "whole")
    assert path.read_text() == "whole"
    assert [one.name for one in tmp_path.iterdir()] == ["secret"]


def test_damaged_credentials_are_a_problem_and_not_replaced(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    (tmp_path / "root-credentials").write_text("LITEIO_ACCESS_KEY=root\n")
    with pytest.raises(StartRefused, match="LITEIO_SECRET_KEY"):
        state.root_credentials()
    state.close()


def test_a_second_server_is_refused_and_told_of_the_first(tmp_path: Path) -> None:
    state = StateFolder(tmp_path)
    source = (
        "import sys; from pathlib import Path; from liteio_runtime.state import StateFolder as S; S(Path(sys.argv[1]))"
    )
    second = subprocess.run((sys.executable, "-c", source, str(tmp_path)), capture_output=True, text=True, check=False)
    assert second.returncode != 0
    assert f"process {os.getpid()}" in second.stderr
    state.close()
    StateFolder(tmp_path).close()


def test_a_folder_that_can_not_be_made_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartRefused) as caught:
        StateFolder(tmp_path / "file" / "state")
    assert str(tmp_path / "file") in caught.value.report


def test_credentials_survive_the_loss_of_the_drive_that_holds_the_state(tmp_path: Path) -> None:
    drives = [str(tmp_path / name) for name in ("d1", "d2", "d3")]
    for drive in drives[:2]:
        (Path(drive) / ".liteio.sys").mkdir(parents=True)
        (Path(drive) / ".liteio.sys" / "format.json").write_text("{}")
    state = StateFolder(Path(drives[0]) / ".liteio.sys")
    made = state.root_credentials(drives)
    state.spread_credentials(drives)
    state.close()
    assert not Path(drives[2]).exists()  # not formatted: left alone
    shutil.rmtree(drives[0])
    again = StateFolder(Path(drives[0]) / ".liteio.sys")
    found = again.root_credentials(drives)
    again.close()
    assert (found.secret_key, found.is_new) == (made.secret_key, False)
    copy = Path(drives[1]) / ".liteio.sys" / "root-credentials"
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
