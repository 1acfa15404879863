"""Machines of one network, each a network namespace with an address, a name that the others know, and `liteio server`.

Everything is made here and gone at the end: a namespace with a bridge stands for the switch. The test itself is on none
of these networks; it reaches a machine's S3 port through a door (namespace_door.py).
"""

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import boto3
from botocore.config import Config
from tests.cluster.outage import wait_until
from tests.support.cluster import is_ready
from tests.support.paths import BIN, REPOSITORY
from tests.support.server import ACCESS_KEY, REGION, SECRET_KEY, free_port

S3_PORT: Final = 9000
NODE_PORT: Final = 9100
DRIVES: Final = 2
_MACHINES_MAX: Final = 9
_NETWORK: Final = "10.213.77"
_STOP_SECONDS: Final = 60.0
_HOSTS_FOLDER: Final = Path("/etc/netns")  # what `ip netns exec` lays over /etc
# The same folder on every machine, as it would be on machines of their own; then the command.
_WITH_ITS_DISKS: Final = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


def why_not() -> str:
    """Why no namespaces can be made here; "" when they can."""
    if os.geteuid() != 0:
        return "network namespaces are made by root"
    if shutil.which("ip") is None:
        return "network namespaces need the command ip (Debian: iproute2)"
    return ""


@dataclass
class Machine:
    """One of them. `start` and `kill` may be called again and again: its drives stay."""

    number: int
    namespace: str
    disks: Path
    log_path: Path
    command: Sequence[str]
    process: subprocess.Popen[bytes] | None = None
    door_port: int = field(default_factory=free_port)

    @property
    def drives(self) -> list[Path]:
        return [self.disks / f"d{number}" for number in range(1, DRIVES + 1)]

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LITEIO_", "AWS_"))}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                ["ip", "netns", "exec", self.namespace, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**kept, "LITEIO_SECRET_KEY": SECRET_KEY, "PYTHONWARNINGS": "default"},
            )

    def kill(self) -> None:
        """As a machine that loses its power: nothing of it gets another turn."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            for pid in _ip("netns", "pids", self.namespace).split():
                if "namespace_door" not in _command_of(pid):
                    _kill(int(pid))

    def stop(self) -> int:
        assert self.process is not None, "it was never started"
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_SECONDS)

    def s3(self) -> Any:
        """A client that says at once what it was told."""
        return boto3.client(
            "s3",
            endpoint_url=f"http://127.0.0.1:{self.door_port}",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name=REGION,
            config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}, read_timeout=30),
        )


@dataclass
class Machines:
    """All of them. Numbers count from 1."""

    prefix: str
    all: list[Machine]

    def __getitem__(self, number: int) -> Machine:
        return self.all[number - 1]

    @property
    def drives(self) -> list[Path]:
        return [drive for machine in self.all for drive in machine.drives]

    def unplug(self, number: int) -> None:
        """Its cable is pulled: packets go nowhere, and nobody is told."""
        _ip("-n", f"{self.prefix}-switch", "link", "set", f"port{number}", "down")

    def plug(self, number: int) -> None:
        _ip("-n", f"{self.prefix}-switch", "link", "set", f"port{number}", "up")

    def wait_ready(self, machines: Sequence[Machine], seconds: float = 90.0) -> None:
        for machine in machines:
            wait_until(partial(is_ready, machine.door_port), seconds, f"{machine.namespace} is not ready")

    def logs(self) -> str:
        return "\n".join(f"--- {one.namespace}\n{one.log_path.read_text(errors='replace')[-6000:]}" for one in self.all)


@contextmanager
def machines(folder: Path, count: int, nodes: int) -> Iterator[Machines]:
    """Made and plugged in, with certificates and a secret; none is started. Each has `nodes` storage nodes."""
    prefix = f"liteio{os.getpid()}"
    (folder / "disks").mkdir()
    _make_secrets(folder, count)
    with ExitStack() as made:
        _add_namespace(f"{prefix}-switch", made)
        _ip("-n", f"{prefix}-switch", "link", "add", "bridge", "type", "bridge")
        _ip("-n", f"{prefix}-switch", "link", "set", "bridge", "up")
        options = _options(folder, count, nodes)
        up = Machines(prefix, [_add_machine(prefix, number, folder, options, made) for number in range(1, count + 1)])
        try:
            yield up
        finally:
            for machine in up.all:
                machine.kill()


def _add_machine(prefix: str, number: int, folder: Path, options: Mapping[str, str], made: ExitStack) -> Machine:
    namespace = f"{prefix}-node{number}"
    _add_namespace(namespace, made)
    hosts = _HOSTS_FOLDER / namespace
    hosts.mkdir(parents=True)
    made.callback(shutil.rmtree, hosts)
    names = [f"{_NETWORK}.{other} node{other}" for other in range(1, _MACHINES_MAX + 1)]
    (hosts / "hosts").write_text("\n".join(["127.0.0.1 localhost", *names, ""]))
    _ip("-n", namespace, "link", "set", "lo", "up")
    switch = f"{prefix}-switch"
    _ip("-n", namespace, "link", "add", "eth0", "type", "veth", "peer", "name", f"port{number}", "netns", switch)
    _ip("-n", switch, "link", "set", f"port{number}", "master", "bridge", "up")
    _ip("-n", namespace, "address", "add", f"{_NETWORK}.{number}/24", "dev", "eth0")
    _ip("-n", namespace, "link", "set", "eth0", "up")
    (disks := folder / f"node{number}").mkdir()
    command = ["sh", "-c", _WITH_ITS_DISKS, "sh", str(disks), str(folder / "disks"), *_server(number, folder, options)]
    machine = Machine(number, namespace, disks, folder / f"node{number}.log", command)
    machine.log_path.touch()
    _open_door(machine, made)
    return machine


def _options(folder: Path, count: int, nodes: int) -> dict[str, str]:
    """The same on every machine."""
    each = DRIVES // nodes
    drives = [
        f"https://node{{1...{count}}}:{NODE_PORT + node}{folder}/disks/d{{{node * each + 1}...{(node + 1) * each}}}"
        for node in range(nodes)
    ]
    return {
        "--address": f":{S3_PORT}",
        "--drives": ",".join(drives),
        "--parity": str(count * DRIVES // 2),
        "--cluster-secret-file": str(folder / "cluster-secret"),
        "--cluster-ca": str(folder / "certs/ca.pem"),
        "--access-key": ACCESS_KEY,
        "--workers": "1",
        "--log-format": "json",
    } | ({"--cluster-address": f":{NODE_PORT}"} if nodes == 1 else {})


def _server(number: int, folder: Path, options: Mapping[str, str]) -> list[str]:
    own = {
        "--node-host": f"node{number}",
        "--cluster-cert": str(folder / f"certs/node{number}.pem"),
        "--cluster-key": str(folder / f"certs/node{number}.key"),
    }
    return [str(BIN / "liteio"), "server", *(word for pair in (*options.items(), *own.items()) for word in pair)]


def _make_secrets(folder: Path, count: int) -> None:
    """As an operator does it."""
    (secret := folder / "cluster-secret").write_bytes(os.urandom(32).hex().encode())
    secret.chmod(0o600)
    command = [str(BIN / "liteio"), "certs", "--folder", str(folder / "certs"), "--nodes", f"node{{1...{count}}}"]
    subprocess.run(command, check=True, capture_output=True)


def _open_door(machine: Machine, made: ExitStack) -> None:
    listening = made.enter_context(socket.create_server(("127.0.0.1", machine.door_port)))
    inside = ["nsenter", f"--net=/run/netns/{machine.namespace}", sys.executable, "-m", "tests.cluster.namespace_door"]
    door = subprocess.Popen(
        [*inside, str(listening.fileno()), str(S3_PORT)],
        pass_fds=[listening.fileno()],
        cwd=REPOSITORY,
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    made.callback(door.wait)
    made.callback(door.kill)


def _add_namespace(name: str, made: ExitStack) -> None:
    _ip("netns", "add", name)
    made.callback(_ip, "netns", "delete", name)


def _ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(words)}: {done.stderr}"
    return done.stdout


def _command_of(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
