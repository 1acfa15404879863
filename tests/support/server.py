"""`liteio server` as its users run it: real processes on a loopback port of their own, over fresh drive folders."""

import http.client
import os
import random
import signal
import socket
import ssl
import subprocess
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import trustme
from tests.support.paths import BIN
from tests.support.processes import ProcessFacts, facts_of, kill, tree_of, wait_gone

ACCESS_KEY: Final = "test-root-user"
SECRET_KEY: Final = "a-secret-of-the-tests-only"
REGION: Final = "us-east-1"
READY_SECONDS: Final = 60.0  # starting takes about 3 s; a machine that runs other things as well takes longer
STOP_SECONDS: Final = 40.0  # the supervisor gives its processes 30 s
_OWN_PORTS: Final = range(20_000, 30_000)  # below the kernel's range for outgoing connections
_claims: Final[list[socket.socket]] = []


@dataclass(frozen=True, slots=True)
class TLSFiles:
    ca: Path
    cert: Path
    key: Path


def make_tls(folder: Path) -> TLSFiles:
    """A certificate for 127.0.0.1 and localhost from an authority of its own."""
    files = TLSFiles(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    authority.cert_pem.write_to_path(str(files.ca))
    issued.private_key_pem.write_to_path(str(files.key))
    for index, certificate in enumerate(issued.cert_chain_pems):
        certificate.write_to_path(str(files.cert), append=index > 0)
    return files


def free_port() -> int:
    """A port that stays the server's over its restarts: not one that the kernel gives to outgoing connections, nor one
    that this gives to anybody else as long as this process lives."""
    for port in random.sample(_OWN_PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            if _claim(port):
                return port
    raise RuntimeError("no free port below 30000")


def _claim(port: int) -> bool:
    """Whether no other process of tests has the port: a name of the kernel's, gone with its process, stands for it."""
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind(f"\0liteio-tests-port-{port}")
    except OSError:
        claim.close()
        return False
    _claims.append(claim)
    return True


def free_ports(count: int, avoid: Iterable[int] = ()) -> list[int]:
    """So many that are all different, and none to `avoid`."""
    found: set[int] = set()
    while len(found) < count:
        found |= {free_port()} - set(avoid)
    return list(found)


@dataclass
class Server:
    """A store on this machine. `start` and `stop` may be called again and again: the drives stay."""

    folder: Path
    drives: Sequence[Path]
    parity: int
    tls: TLSFiles | None = None
    workers: int = 2
    nats: str = ""  # "off" for none
    port: int = field(default_factory=free_port)
    extra_environment: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None
    _seen: list[ProcessFacts] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def log_path(self) -> Path:
        return self.folder / "server.log"

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self, *, waits: bool = True) -> None:
        assert not self.is_running, "the server runs already"
        options = {
            "--address": f"127.0.0.1:{self.port}",
            "--drives": ",".join(map(str, self.drives)),
            "--parity": str(self.parity),
            "--access-key": ACCESS_KEY,
            "--secret-key": SECRET_KEY,
            "--state": str(self.folder / "state"),
            "--workers": str(self.workers),
            "--log-format": "json",
            **({"--nats": self.nats} if self.nats else {}),
            **({"--cert": str(self.tls.cert), "--key": str(self.tls.key)} if self.tls else {}),
        }
        command = [str(BIN / "liteio"), "server", *(word for pair in options.items() for word in pair)]
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LITEIO_", "AWS_"))}
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**kept, "PYTHONWARNINGS": "default", **self.extra_environment},
                start_new_session=True,
            )
        if waits:
            self.wait_ready()

    def wait_ready(self, seconds: float = READY_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not self.is_ready():
            assert self.is_running, f"the server ended with {self._process and self._process.returncode}:\n{self.log()}"
            assert time.monotonic() < end, f"not ready within {seconds} s:\n{self.log()}"
            time.sleep(0.05)

    def is_ready(self) -> bool:
        return self.probe("/health/ready") == 200

    def probe(self, path: str) -> int:
        """The status of a health probe, 0 without an answer."""
        with closing(self.connect(timeout_seconds=5)) as connection:
            try:
                connection.request("GET", path)
                with connection.getresponse() as response:
                    response.read()
                    return response.status
            except (OSError, http.client.HTTPException):
                return 0

    def connect(self, *, timeout_seconds: float = 30) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_seconds)
        context = ssl.create_default_context(cafile=str(self.tls.ca))
        return http.client.HTTPSConnection("127.0.0.1", self.port, timeout=timeout_seconds, context=context)

    def processes(self) -> list[ProcessFacts]:
        """The supervisor first, then what it started. Remembered, so that orphans are found later."""
        assert self._process is not None
        tree = tree_of(self._process.pid)
        self._seen = list({(one.pid, one.started): one for one in [*self._seen, *tree]}.values())
        return tree

    def find(self, kind: str) -> list[ProcessFacts]:
        """Processes of a kind: supervisor, gateway, healer, nats."""
        return [process for process in self.processes() if kind_of(process) == kind]

    def kill_all(self) -> None:
        """SIGKILL to every process at once, the supervisor first, so that it restarts nothing."""
        for process in self.processes():
            kill(process)
        self.reap()

    def reap(self, seconds: float = 10) -> None:
        """After the supervisor was killed: collect it, and see that it left nobody behind."""
        assert self._process is not None
        self._process.wait(timeout=seconds)
        self.assert_no_orphans(seconds)

    def stop(self) -> None:
        """SIGTERM, and everything gone in order: exit code 0, no orphan."""
        if self._process is None or self._process.poll() is not None:
            return
        self.processes()
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise AssertionError(f"the server did not stop within {STOP_SECONDS} s:\n{self.log()}") from None
        self.assert_no_orphans(5)
        assert code == 0, f"the server stopped with exit code {code}:\n{self.log()}"

    def assert_no_orphans(self, seconds: float) -> None:
        living = wait_gone([one for one in self._seen if not self.is_running or one.pid != self._process_id()], seconds)
        for process in living:
            kill(process)
        assert not living, f"left behind: {living}"
        self._seen = []

    def _process_id(self) -> int:
        return self._process.pid if self._process else 0

    def log(self, last_lines: int = 40) -> str:
        """The end of what the processes said, without the requests that went well."""
        try:
            lines = self.log_path.read_text(encoding="utf-8", errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        telling = [line for line in lines if not _is_routine(line)]
        return "\n".join(line[:1000] for line in telling[-last_lines:])


def kind_of(process: ProcessFacts) -> str:
    if "liteio_healer" in process.command:
        return "healer"
    if "liteio_gateway" in process.command:
        return "gateway"
    if "nats-server" in process.command:
        return "nats"
    return "supervisor" if " server " in process.command else "other"


def _is_routine(line: str) -> bool:
    """A request that was answered, or a probe that was told to wait."""
    return '"event":"request"' in line and ('"status":5' not in line or '"HealthProbe"' in line)


@contextmanager
def running_server(
    drive_count: int = 4,
    parity: int = 2,
    *,
    is_https: bool = False,
    workers: int = 2,
    nats: str = "",
    drives: Sequence[Path] | None = None,
    starts: bool = True,
) -> Iterator[Server]:
    """A server over fresh folders, stopped in order at the end (killed when the test failed). The folders are kept when
    it failed, and the message names them."""
    folder = Path(tempfile.mkdtemp(prefix="liteio-test-"))
    chosen = drives or [folder / f"d{number}" for number in range(1, drive_count + 1)]
    for drive in chosen:
        drive.mkdir(exist_ok=True)
    server = Server(folder, chosen, parity, make_tls(folder) if is_https else None, workers, nats)
    try:
        if starts:
            server.start()
        yield server
        server.stop()
    except BaseException as failure:
        failure.add_note(f"server files are kept in {folder}; the end of its log:\n{server.log()}")
        if server.is_running:
            server.kill_all()
        raise
    import shutil

    shutil.rmtree(folder, ignore_errors=True)


__all__ = ["ACCESS_KEY", "REGION", "SECRET_KEY", "Server", "facts_of", "kind_of", "make_tls", "running_server"]
