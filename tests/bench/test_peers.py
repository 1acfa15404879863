"""Servers are measured in alternation; one that fails is told about and the others go on."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import pytest  # the path comes first
from tests.bench import peer, peers
from tests.bench.lines import QUICK, select_lines
from tests.bench.peers import compare
from tests.bench.physical import Limit
from tests.bench.servers import Server
from tests.support.processes import tree_of

SCALE = replace(QUICK, rounds=2, seconds=0.2, small_keys=8, fill_seconds=1.0)
OBEDIENT = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
    do_HEAD = do_PUT = do_DELETE = do_GET
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def server(name: str, code: str = OBEDIENT, missing: str = "") -> Server:
    def command(folder: Path, ports: object) -> list[str]:
        assert isinstance(ports, list)
        return [sys.executable, "-c", code, str(ports[0])]

    return Server(name, name.upper(), "", command, lambda: "1", missing=lambda: missing)


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """No limits measured, no warp, folders under the test's own."""

    async def no_limits(folder: Path, seconds: float) -> list[Limit]:
        return []

    monkeypatch.setattr(peers, "measure_limits", no_limits)
    monkeypatch.setattr(peers, "warp_program", lambda: "")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    peer.previous_release.cache_clear()
    yield tmp_path
    peer.previous_release.cache_clear()


async def test_rounds_alternate_and_nothing_is_left_on_the_disk(bare: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for line in select_lines("stat,delete") if line.operation in ("HEAD", "DELETE")]
    found = await compare([server("a"), server("b")], lines, SCALE)
    told = [line.split()[:3] for line in capsys.readouterr().out.splitlines() if line.startswith("round ")]
    assert told == [["round", f"{number}:", name] for number in (1, 2) for name in ("A", "A", "B", "B")]
    assert found.rounds_done == 2
    assert set(found.rounds_of("a", "DELETE 4 KiB")) == {1, 2}
    assert all(figure.operations_a_second > 0 and not figure.errors for figure in found.figures.values())
    assert os.listdir(bare) == []


async def test_a_server_that_fails_is_told_about_in_a_line_and_the_others_go_on() -> None:
    broken = server("broken", "print('first', flush=True); raise SystemExit('second')")
    found = await compare([broken, server("b")], select_lines("stat"), replace(SCALE, rounds=1))
    assert [name for name, _, _ in found.figures] == ["b"]
    [note] = [note for note in found.notes if note.startswith("BROKEN")]
    assert note.startswith("BROKEN failed in filling it, and is left out from there on: it did not come up")
    assert "second" not in note


async def test_a_server_that_is_not_there_is_named_with_its_reason() -> None:
    found = await compare([server("a", missing="it is on holiday")], select_lines("stat"), SCALE)
    assert found.notes[0] == "A is not measured: it is on holiday."
    assert (found.servers, found.figures) == ([], {})


async def test_no_round_is_begun_that_would_end_after_the_time() -> None:
    found = await compare([server("a")], select_lines("stat"), replace(SCALE, minutes=0.0))
    assert found.rounds_done == 1
    assert found.notes[-1] == "Only 1 of 2 rounds were run: 0 minutes are the limit."


async def test_a_run_that_is_told_to_end_takes_its_servers_and_folders_with_it(bare: Path) -> None:
    asyncio.get_running_loop().call_later(4, os.kill, os.getpid(), signal.SIGTERM)
    with pytest.raises(asyncio.CancelledError):
        await compare([server("a")], select_lines("stat"), replace(SCALE, seconds=60.0))
    assert os.listdir(bare) == []
    assert not [one for one in tree_of(os.getpid()) if "ThreadingHTTPServer" in one.command]


def repository(folder: Path, *tags: str) -> Path:
    (folder / "tools").mkdir(parents=True)
    setup = folder / "tools" / "setup.sh"
    setup.write_text('#!/bin/sh\ncd "$(dirname "$0")/.." && mkdir -p .venv/bin && cp mark .venv/bin/liteio\n')
    setup.chmod(0o755)

    def git(*words: str) -> None:
        subprocess.run(("git", "-c", "user.name=x", "-c", "user.email=x@x", *words), cwd=folder, check=True)

    git("init", "--quiet")
    for tag in tags or ("",):
        (folder / "mark").write_text(tag)
        git("add", ".")
        git("commit", "--quiet", "--message", "x")
        if tag:
            git("tag", tag)
    return folder


def test_the_previous_release_is_the_newest_tag_set_up_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "REPOSITORY", repository(tmp_path / "tree", "v0.2.0", "v0.10.0"))
    monkeypatch.setattr(peer, "CLIENTS", tmp_path / "clients")
    program = peer.previous_release()
    assert program == tmp_path / "clients" / "liteio-v0.10.0" / ".venv" / "bin" / "liteio"
    assert program.read_text() == "v0.10.0"


def test_without_a_tag_there_is_no_previous_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "REPOSITORY", repository(tmp_path / "tree"))
    assert peer.previous_release() is None
    [previous] = peers.select_servers("liteio-previous")
    assert previous.missing() == "no release of liteio is tagged yet, so there is none to compare with"
