"""A server is started, watched with all its processes, and gone at the end."""

import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import pytest  # the path comes first
from tests.bench import servers
from tests.bench.load import Result
from tests.bench.measuring import figure_of
from tests.bench.peers import select_servers
from tests.bench.servers import SERVERS, Running, Server, ServerFailed, minio_version, ports_for_server, running
from tests.support.processes import pss_bytes, tree_of, wait_gone

MIB = 1 << 20
HOLD = "import sys; held = bytearray(b'x' * (int(sys.argv[1]) << 20)); print('held', flush=True); sys.stdin.read()"
PARENT = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {HOLD!r}, *sys.argv[1:]])"
SERVER = """
import http.server, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def python(code: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", code, *map(str, arguments)]


def server_of(code: str) -> Server:
    return Server("x", "X", "", lambda folder, ports: python(code, ports[0]), lambda: "")


def holding(mebibytes: int) -> "subprocess.Popen[bytes]":
    child = subprocess.Popen(python(PARENT, mebibytes), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"held\n"
    return child


def test_memory_is_that_of_all_processes_and_its_peak_stays_until_it_is_forgotten() -> None:
    child = holding(64)
    watched = Running(1, child)
    watched.sample_memory()
    peak = watched.peak_bytes
    assert peak == pytest.approx(sum(pss_bytes(one.pid) for one in tree_of(child.pid)), rel=0.05)
    assert peak > 64 * MIB > pss_bytes(child.pid)
    child.communicate()
    watched.sample_memory()
    assert watched.peak_bytes == peak
    watched.forget_peak()
    watched.sample_memory()
    assert watched.peak_bytes == 0


def test_processor_time_counts_what_ended_children_used() -> None:
    busy = "import time\nwhile time.process_time() < 0.3: pass"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {busy!r}]); print('x', flush=True); input()"
    child = subprocess.Popen(python(code), stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    assert Running(1, child).cpu_seconds() >= 0.29
    child.communicate(b"\n")


def test_a_server_leaves_nobody_behind_and_its_folder_where_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "server"
    with running(server_of(SERVER), folder, ports_for_server()) as process:
        family = tree_of(process.process.pid)
    assert len(family) == 2
    assert not wait_gone(family, 5)
    assert folder.is_dir()


def test_a_server_that_ends_at_once_is_told_with_what_it_said(tmp_path: Path) -> None:
    began = time.monotonic()
    with (
        pytest.raises(ServerFailed, match=r"(?s)exit code 1.*no drive is there"),
        running(server_of("raise SystemExit('no drive is there')"), tmp_path, ports_for_server()),
    ):
        pass
    assert time.monotonic() - began < 30


def test_a_peer_that_is_not_there_says_how_to_name_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("BENCH_MINIO", raising=False)
    monkeypatch.setattr(servers, "BIN", tmp_path)
    [minio] = select_servers("minio")
    assert minio.missing() == "minio is not on PATH, and BENCH_MINIO does not name it"
    monkeypatch.setenv("BENCH_MINIO", "/somewhere/minio")
    assert minio.missing() == ""
    assert minio.command(tmp_path, [1, 2])[0] == "/somewhere/minio"


def test_the_version_of_a_minio_that_was_built_at_home_is_that_of_its_module(tmp_path: Path) -> None:
    program = tmp_path / "minio"
    program.write_bytes(
        b"#!/bin/sh\necho minio version DEVELOPMENT; exit\nmod\tgithub.com/minio/minio\tv0.0.0-2026-7a\th1:x\n"
    )
    program.chmod(0o755)
    assert minio_version(str(program)) == "minio version DEVELOPMENT, module v0.0.0-2026-7a"


def test_minio_is_started_with_as_much_parity_as_liteio(tmp_path: Path) -> None:
    liteio, minio = select_servers("liteio,minio")
    assert liteio.command(tmp_path, [1])[liteio.command(tmp_path, [1]).index("--parity") + 1] == "2"
    assert minio.environment["MINIO_STORAGE_CLASS_STANDARD"] == "EC:2"
    assert f"{tmp_path}/d{{1...4}}" in minio.command(tmp_path, [1, 2])


def test_servers_are_chosen_by_name_and_an_unknown_name_is_told() -> None:
    assert [server.name for server in select_servers("minio, liteio")] == ["liteio", "minio"]
    assert select_servers("") == list(SERVERS)
    with pytest.raises(ValueError, match="no server is called 'ceph'"):
        select_servers("ceph")


def test_a_figure_counts_only_what_went_well() -> None:
    figure = figure_of(Result(5, 2.0, [0.001] * 4, [0.0005] * 4, {"GET was answered 503": 1}), 0.02, 7 * MIB)
    assert (figure.operations_a_second, figure.cpu_ms, figure.memory_mib) == (2.0, 5.0, 7.0)
    assert (figure.p50_ms, figure.first_byte_p50_ms) == (1.0, 0.5)
    assert figure.errors == {"GET was answered 503": 1}
