"""A cluster as plain processes on loopback: storage nodes, gateways and healers, each killed and started alone."""

import http.client
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.paths import BIN, REPOSITORY
from tests.support.server import ACCESS_KEY, REGION, SECRET_KEY, free_ports

CLUSTER_SECRET: Final = "a-cluster-secret-of-the-tests-only"
READY_SECONDS: Final = 60.0


@dataclass
class Member:
    """One process of the cluster. `start` and `stop` may be called again and again. `through`: a module that runs
    `module` changed (tests.support.odd_member); `tell_start` is called with the name and the process id."""

    name: str
    module: str
    environment: Mapping[str, str]
    folder: Path
    process: subprocess.Popen[bytes] | None = None
    through: str = ""
    tell_start: Callable[[str, int], None] | None = None

    @property
    def log_path(self) -> Path:
        return self.folder / f"{self.name}.log"

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    @property
    def pid(self) -> int:
        assert self.process is not None, "it was never started"
        return self.process.pid

    def start(self) -> None:
        assert not self.is_running, f"{self.name} runs already"
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("LITEIO_", "AWS_"))}
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *filter(None, (self.through, self.module))],
                cwd=REPOSITORY,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**kept, "PYTHONWARNINGS": "default", **self.environment},
            )
        if self.tell_start is not None:
            self.tell_start(self.name, self.process.pid)

    def kill(self) -> None:
        """SIGKILL, and see it gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self, seconds: float = 40.0) -> int:
        """SIGTERM. The exit code; it is killed when it does not end in time."""
        assert self.process is not None, "it was never started"
        self.process.terminate()
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{self.name} did not stop within {seconds} s:\n{self.log()}") from None

    def signal(self, number: int) -> None:
        assert self.process is not None, "it was never started"
        self.process.send_signal(number)

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""


@dataclass(frozen=True, slots=True)
class GatewayHost:
    """Where a gateway serves S3, for tests.support.s3_client."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def connect(self, *, timeout_seconds: float = 30.0) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_seconds)


@dataclass
class Cluster:
    """`nodes` serve `drives_per_node` drives each, as one set; `gateways` serve S3 over them."""

    folder: Path
    node_count: int = 4
    drives_per_node: int = 2
    gateway_count: int = 2
    healer_count: int = 0
    parity: int | None = None
    nats_url: str = ""
    joins: bool = False  # a pool that waits to be added to a store
    node_ports: Sequence[int] = ()
    seen_ports: Sequence[int] = ()  # through which gateways and nodes reach each node: a proxy's, where there is one
    nodes: list[Member] = field(default_factory=list)
    gateways: list[Member] = field(default_factory=list)
    healers: list[Member] = field(default_factory=list)
    gateway_ports: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.node_ports = self.node_ports or free_ports(self.node_count)
        self.seen_ports = self.seen_ports or self.node_ports
        self.gateway_ports = free_ports(self.gateway_count, avoid=[*self.node_ports, *self.seen_ports])
        self.nodes = [self._node(index) for index in range(self.node_count)]
        self.gateways = [self._gateway(index) for index in range(self.gateway_count)]
        self.healers = [self._healer(index) for index in range(self.healer_count)]

    @property
    def members(self) -> list[Member]:
        return [*self.nodes, *self.gateways, *self.healers]

    @property
    def peers(self) -> str:
        return ",".join(f"http://127.0.0.1:{port}" for port in self.seen_ports)

    @property
    def drive_patterns(self) -> str:
        return ",".join(
            f"http://127.0.0.1:{port}{self.node_folder(index)}/d{{1...{self.drives_per_node}}}"
            for index, port in enumerate(self.seen_ports)
        )

    def node_folder(self, index: int) -> Path:
        return self.folder / f"node{index}"

    def drives_of(self, index: int) -> list[Path]:
        return [self.node_folder(index) / f"d{number}" for number in range(1, self.drives_per_node + 1)]

    def host(self, gateway: int) -> GatewayHost:
        return GatewayHost(self.gateway_ports[gateway])

    def url_of(self, gateway: int) -> str:
        return self.host(gateway).url

    def start(self) -> None:
        for member in self.members:
            member.start()
        for gateway in range(self.gateway_count):
            self.wait_ready(gateway)

    def stop(self) -> None:
        """Gateways first, as an operator does; then nothing is left."""
        for member in [*self.gateways, *self.healers, *self.nodes]:
            if member.is_running:
                member.stop()

    def kill(self) -> None:
        for member in self.members:
            member.kill()

    def wait_ready(self, gateway: int, seconds: float = READY_SECONDS) -> None:
        end = time.monotonic() + seconds
        while not is_ready(self.gateway_ports[gateway]):
            assert self.gateways[gateway].is_running, f"a gateway ended:\n{self.gateways[gateway].log()}"
            assert time.monotonic() < end, f"not ready:\n{self.logs()}"
            time.sleep(0.1)

    def admin(self, *words: str) -> str:
        """What `liteio admin` prints of this store. Raises AssertionError when it fails."""
        (secret := self.folder / "secret").write_text(CLUSTER_SECRET)
        secret.chmod(0o600)
        where = ["--drives", self.drive_patterns, "--node-host", f"127.0.0.1:{self.seen_ports[0]}"]
        command = [str(BIN / "liteio"), "admin", *words, *where, "--cluster-secret-file", str(secret)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def logs(self) -> str:
        return "\n".join(f"--- {member.name}\n{member.log()[-4000:]}" for member in self.members)

    def _node(self, index: int) -> Member:
        self.node_folder(index).mkdir(parents=True, exist_ok=True)
        environment = {
            "LITEIO_STORAGE_NODE_PORT": str(self.node_ports[index]),
            "LITEIO_STORAGE_NODE_DRIVES": self.drive_patterns,
            "LITEIO_STORAGE_NODE_NODE_HOST": f"127.0.0.1:{self.seen_ports[index]}",
            "LITEIO_STORAGE_NODE_JOINS": str(self.joins),
            "LITEIO_CLUSTER_SECRET": CLUSTER_SECRET,
        }
        if self.parity is not None:
            environment["LITEIO_STORAGE_NODE_PARITY"] = str(self.parity)
        return Member(f"node{index}", "liteio_storage_node", environment, self.folder)

    def _gateway(self, index: int) -> Member:
        environment = {
            "LITEIO_GATEWAY_PORT": str(self.gateway_ports[index]),
            "LITEIO_GATEWAY_PEERS": self.peers,
            "LITEIO_GATEWAY_ACCESS_KEY": ACCESS_KEY,
            "LITEIO_GATEWAY_SECRET_KEY": SECRET_KEY,
            "LITEIO_GATEWAY_REGION": REGION,
            "LITEIO_GATEWAY_NATS_URL": self.nats_url,
            "LITEIO_CLUSTER_SECRET": CLUSTER_SECRET,
        }
        return Member(f"gateway{index}", "liteio_gateway", environment, self.folder)

    def _healer(self, index: int) -> Member:
        environment = {
            "LITEIO_HEALER_PEERS": self.peers,
            "LITEIO_HEALER_NATS_URL": self.nats_url,
            "LITEIO_HEALER_REGION": REGION,
            "LITEIO_CLUSTER_SECRET": CLUSTER_SECRET,
        }
        return Member(f"healer{index}", "liteio_healer", environment, self.folder)


@contextmanager
def running(cluster: Cluster) -> Iterator[Cluster]:
    """Started, and gone at the end whatever happens."""
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


def is_ready(port: int) -> bool:
    """Whether a gateway says that it can serve."""
    connection = GatewayHost(port).connect(timeout_seconds=5)
    try:
        connection.request("GET", "/health/ready")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
