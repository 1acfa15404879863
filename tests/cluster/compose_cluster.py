"""compose.yaml as its users run it, in a project of its own, torn down with all that it made."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

import boto3
from botocore.config import Config
from tests.cluster.container_engine import Engine, run
from tests.cluster.outage import wait_until

NODES: Final = ("storage1", "storage2", "storage3", "storage4")
PARITY: Final = 4
_UP_SECONDS: Final = 300.0
_BUILD_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class ComposeCluster:
    engine: Engine
    folder: Path
    environment: dict[str, str]
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def compose(self, *arguments: str, check: bool = True, seconds: float = _UP_SECONDS) -> str:
        command = ("docker-compose", "--file", str(self.folder / "compose.yaml"), *arguments)
        return run(command, self.environment, check=check, seconds=seconds, folder=self.folder)

    def containers(self, service: str) -> list[str]:
        """The ids of all of the service's, running or not."""
        label = f"label=com.docker.compose.service={service}"
        project = f"label=com.docker.compose.project={self.environment['COMPOSE_PROJECT_NAME']}"
        return self.engine.docker("ps", "--all", "--quiet", "--filter", label, "--filter", project).split()

    def inspect(self, container: str) -> dict[str, Any]:
        (found,) = json.loads(self.engine.docker("inspect", container))
        return dict(found)

    def health(self, service: str) -> list[str]:
        """Of each of the service's containers: its health, or its state where it has no health check."""
        states = [self.inspect(container)["State"] for container in self.containers(service)]
        return [
            state.get("Health", {}).get("Status", state["Status"]) if state["Running"] else "gone" for state in states
        ]

    def drive_states(self) -> dict[str, set[str]]:
        """What `liteio admin drives` says beside a node that runs: the states of each node's drives."""
        told = json.loads(
            self.engine.docker("exec", self.containers("storage1")[0], "liteio", "admin", "drives", "--json")
        )
        states: dict[str, set[str]] = {node: set() for node in NODES}
        for drive in told:
            states[str(urlsplit(drive["name"]).hostname)].add(drive["state"])
        return states

    def log(self, container: str) -> str:
        """What it wrote to standard output and standard error."""
        return run(("sh", "-c", 'docker logs "$0" 2>&1', container), self.engine.environment)

    @contextmanager
    def telling(self) -> Iterator[None]:
        """What fails inside comes with the ends of all logs."""
        try:
            yield
        except BaseException:
            print(self.compose("ps", check=False))
            print(self.compose("logs", "--no-color", "--tail", "60", check=False))
            raise

    def drive_folders(self, *nodes: str) -> list[Path]:
        """The volumes of these nodes' drives, or of all, as the host sees them."""
        project = self.environment["COMPOSE_PROJECT_NAME"]
        volumes = [f"{project}_{node}-d{number}" for node in nodes or NODES for number in (1, 2)]
        return [Path(self.engine.docker("volume", "inspect", "--format", "{{.Mountpoint}}", one)) for one in volumes]

    def s3(self) -> Any:
        def secret(name: str) -> str:
            return self.engine.docker("exec", self.containers("gateway")[0], "cat", f"/secrets/{name}")

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=secret("root-access-key"),
            aws_secret_access_key=secret("root-secret-key"),
            region_name="us-east-1",
            config=Config(retries={"max_attempts": 4, "mode": "standard"}, connect_timeout=5, read_timeout=60),
        )


@contextmanager
def compose_cluster(engine: Engine, folder: Path, gateways: int) -> Iterator[ComposeCluster]:
    """Built, up and ready. `folder` is a build context."""
    with engine.port() as port:
        yield from _up(engine, folder, gateways, port)


def _up(engine: Engine, folder: Path, gateways: int, port: int) -> Iterator[ComposeCluster]:
    environment = engine.environment | {
        "COMPOSE_PROJECT_NAME": f"liteio-test-{os.getpid()}",
        "LITEIO_BASE": engine.base,
        "LITEIO_IMAGE": "liteio-test",
        "LITEIO_NATS_IMAGE": "liteio-test-nats",
        "LITEIO_BALANCER_IMAGE": "liteio-test-balancer",
        "LITEIO_PUBLISH": f"127.0.0.1:{port}",
        "LITEIO_PARITY": str(PARITY),
    }
    cluster = ComposeCluster(engine, folder, environment, port)
    cluster.compose("build", seconds=_BUILD_SECONDS)
    try:
        with cluster.telling():
            cluster.compose("up", "--detach", "--scale", f"gateway={gateways}")
            wait_until(lambda: is_ready(cluster.url), 60, "no gateway is ready")
        yield cluster
    finally:
        cluster.compose("down", "--volumes", "--remove-orphans", "--timeout", "10")


def is_ready(url: str) -> bool:
    try:
        with urlopen(f"{url}/health/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
