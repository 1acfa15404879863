"""The servers that are measured: how each is started on folders of its own, what it does for a write, what it used."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.bench.credentials import ACCESS_KEY, SECRET_KEY
from tests.bench.peer import previous_release
from tests.support.paths import BIN
from tests.support.processes import kill, pss_bytes, tree_of, wait_gone
from tests.support.server import free_ports

_START_SECONDS: Final = 60.0
_STOP_SECONDS: Final = 40.0
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PORTS: Final = 8  # that a server may use; kept over its restarts, since some write them down


class ServerFailed(Exception):
    """A server did not come up. The text ends with what it said."""


@dataclass(slots=True)
class Running:
    """A server process tree and what it has used."""

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

    def sample_memory(self) -> None:
        """Look at the proportional set size of all processes together, and remember the peak of what was seen."""
        total = 0
        for pid in self._pids():
            try:
                total += pss_bytes(pid)
            except OSError:
                continue
        self.peak_bytes = max(self.peak_bytes, total)

    def forget_peak(self) -> None:
        self.peak_bytes = 0

    def _pids(self) -> list[int]:
        return [facts.pid for facts in tree_of(self.process.pid)]


@dataclass(frozen=True, slots=True)
class Server:
    """`name` is what `--peers` calls it. `command` takes the folder, where the data stays over restarts, and the ports,
    the first of which serves S3. `missing` says why it can not be measured here, and nothing when it can."""

    name: str
    title: str
    does: str
    command: Callable[[Path, Sequence[int]], list[str]]
    version: Callable[[], str]
    environment: Mapping[str, str] = field(default_factory=dict)
    missing: Callable[[], str] = lambda: ""


def ports_for_server() -> list[int]:
    return free_ports(_PORTS)


@contextmanager
def running(server: Server, folder: Path, ports: Sequence[int]) -> Iterator[Running]:
    """Started, serving, and at the end gone with all its processes; the folder stays. Raises ServerFailed."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **server.environment}
    command = server.command(folder, ports)
    log_path = folder / "server.log"
    with log_path.open("ab") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
        )
    try:
        _wait_until_it_answers(process, ports[0], log_path)
        yield Running(ports[0], process)
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """In order, or else by force; and nobody left behind."""
    family = tree_of(process.pid)
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    for left in wait_gone([one for one in family if one.pid != process.pid], 5):
        kill(left)


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
    told = log.read_text(errors="replace")[-2000:]
    raise ServerFailed(f"it did not come up within {_START_SECONDS:.0f} s (exit code {process.poll()}):\n{told}")


def _program(name: str, variable: str) -> str:
    """Its path, from the variable or PATH; "" when it is not there."""
    return os.environ.get(variable) or shutil.which(name, path=f"{BIN}:{os.environ['PATH']}") or ""


def warp_program() -> str:
    """MinIO's load generator; "" when it is not there."""
    return _program("warp", "BENCH_WARP")


def _first_line(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return " ".join((done.stdout or done.stderr).strip().partition("\n")[0].split())


def _liteio(program: str) -> Callable[[Path, Sequence[int]], list[str]]:
    return lambda folder, ports: _liteio_server(program, folder, ports[0], [f"{folder}/d{{1...4}}"])


def _liteio_nodes(*drives: str) -> Callable[[Path, Sequence[int]], list[str]]:
    """With a node for each of `drives`."""

    def command(folder: Path, ports: Sequence[int]) -> list[str]:
        (secret := folder / "cluster-secret").write_text("that of the benchmark alone")
        named = [f"http://127.0.0.1:{port}{folder}/{some}" for port, some in zip(ports[1:], drives, strict=False)]
        return [*_liteio_server(_OWN, folder, ports[0], named), "--cluster-secret-file", str(secret)]

    return command


def _liteio_server(program: str, folder: Path, port: int, drives: Sequence[str]) -> list[str]:
    return [
        *(program, "server", "--address", f"127.0.0.1:{port}", "--drives", ",".join(drives), "--parity", "2"),
        *("--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY, "--state", f"{folder}/state"),
    ]


def _minio(folder: Path, ports: Sequence[int]) -> list[str]:
    addresses = ("--address", f"127.0.0.1:{ports[0]}", "--console-address", f"127.0.0.1:{ports[1]}")
    return [_program("minio", "BENCH_MINIO"), "server", "--quiet", *addresses, f"{folder}/d{{1...4}}"]


def _seaweedfs(folder: Path, ports: Sequence[int]) -> list[str]:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    credentials = [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}]
    identity = {"name": "bench", "credentials": credentials, "actions": ["Admin"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
    command = [_program("weed", "BENCH_WEED"), "server", f"-dir={folder}/data", "-ip=127.0.0.1", "-s3"]
    command += [f"-s3.port={ports[0]}", f"-master.port={ports[1]}", f"-volume.port={ports[2]}"]
    command += [f"-filer.port={ports[3]}", f"-s3.port.grpc={ports[4]}", f"-master.port.grpc={ports[5]}"]
    command += [f"-volume.port.grpc={ports[6]}", f"-filer.port.grpc={ports[7]}"]
    return [*command, "-volume.max=100", "-master.volumeSizeLimitMB=1024", f"-s3.config={folder}/s3.json"]


def minio_version(program: str) -> str:
    """What it says, and the module's version: a build of one's own does not tell its release, but Go writes that in."""
    module = re.search(rb"\tgithub\.com/minio/minio\t(v[^\t\n]+)", Path(program).read_bytes())
    told = _first_line([program, "--version"])
    return f"{told}, module {module[1].decode()}" if module else told


def _liteio_version(program: str) -> str:
    return _first_line([program, "version"])


def _previous() -> str:
    return str(previous_release() or "")


def _previous_missing() -> str:
    try:
        return "" if _previous() else "no release of liteio is tagged yet, so there is none to compare with"
    except subprocess.CalledProcessError as failed:
        return f"it can not be set up ({failed})"


_OWN: Final = str(BIN / "liteio")

SERVERS: Final = (
    Server(
        "liteio",
        "liteio",
        "2+2 over four folders of one machine. A write is answered after each drive has synced it (one commit and one "
        "sync for all writers that wait); every block is coded, hashed with HighwayHash-256 and verified where it is "
        "read; ETags are MD5.",
        _liteio(_OWN),
        lambda: _liteio_version(_OWN),
    ),
    Server(
        "liteio-one-node",
        "liteio, one node",
        "The same, with the four drives behind one storage node, reached over HTTP/2: `liteio server` as a "
        "cluster's node.",
        _liteio_nodes("d{1...4}"),
        lambda: _liteio_version(_OWN),
    ),
    Server(
        "liteio-four-nodes",
        "liteio, four nodes",
        "The same through four storage nodes with a drive each, all on the machine's cores.",
        _liteio_nodes("d1", "d2", "d3", "d4"),
        lambda: _liteio_version(_OWN),
    ),
    Server(
        "liteio-previous",
        "liteio, previous release",
        "The release before, on one machine.",
        lambda folder, ports: _liteio(_previous())(folder, ports),
        lambda: _liteio_version(_previous()),
        missing=_previous_missing,
    ),
    Server(
        "minio",
        "MinIO",
        "2+2 over four folders (MINIO_STORAGE_CLASS_STANDARD=EC:2). Shard files are written with O_DIRECT and "
        "fdatasync, xl.meta, which carries small objects, with O_DSYNC or O_DIRECT and fdatasync; the renames and new "
        "directories are not synced (MINIO_FS_OSYNC is off by default). HighwayHash-256 of each shard block, verified "
        "when it is read; ETags are MD5. MINIO_ROOTDRIVE_THRESHOLD_SIZE=1 lets the folders lie on the system's disk, "
        "which it refuses otherwise; MINIO_CI_CD=1 would, too, but shortens the queue of deleted files to purge from "
        "100,000 to 1. Source: its cmd/xl-storage.go.",
        _minio,
        lambda: minio_version(_program("minio", "BENCH_MINIO")),
        {
            "MINIO_ROOT_USER": ACCESS_KEY,
            "MINIO_ROOT_PASSWORD": SECRET_KEY,
            "MINIO_STORAGE_CLASS_STANDARD": "EC:2",
            "MINIO_ROOTDRIVE_THRESHOLD_SIZE": "1",
            "MINIO_BROWSER": "off",
        },
        lambda: "" if _program("minio", "BENCH_MINIO") else "minio is not on PATH, and BENCH_MINIO does not name it",
    ),
    Server(
        "seaweedfs",
        "SeaweedFS",
        "One node with one copy, its defaults: fresh objects are not erasure coded (that is for full volumes), "
        "a write is synced only where its path is configured so, a delete never. A CRC-32C of each needle; ETags are "
        "MD5. Source: its weed/storage/volume_write.go.",
        _seaweedfs,
        lambda: _first_line([_program("weed", "BENCH_WEED"), "version"]),
        missing=lambda: (
            "" if _program("weed", "BENCH_WEED") else "weed is not on PATH, and BENCH_WEED does not name it"
        ),
    ),
)
