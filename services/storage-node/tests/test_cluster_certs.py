"""A cluster of `liteio certs`: real handshakes both ways, and a foreign authority is refused by either end."""

import asyncio
import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from live_node import SECRET

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_contracts.storage_errors import DriveOffline
from liteio_drives.remote.messages import HEALTH_PATH
from liteio_drives.remote.node_client import NodeTLS
from liteio_drives.remote.node_connection import NodeConnection
from liteio_runtime import probe
from liteio_runtime.cluster_certs import make_cluster_certs
from liteio_storage_node.app import build_app
from liteio_storage_node.server import NodeServer, ServerTLS

NODES = "localhost,127.0.0.1,gateway1.lan"


def certs(folder: Path, nodes: str = NODES, server_name: str = "") -> Path:
    make_cluster_certs(folder, nodes, server_name=server_name, now=datetime.datetime.now(datetime.UTC))
    return folder


def identity(folder: Path, name: str) -> bytes:
    return (folder / f"{name}.key").read_bytes() + (folder / f"{name}.pem").read_bytes()


@asynccontextmanager
async def serving(folder: Path, name: str) -> AsyncIterator[int]:
    app = build_app([], SECRET, SystemClock(), SystemRandomness())
    tls = ServerTLS(folder / f"{name}.pem", folder / f"{name}.key", folder / "ca.pem")
    server = NodeServer(app, "127.0.0.1", 0, tls=tls)
    await server.start()
    try:
        yield server.port
    finally:
        await server.stop(drain_seconds=2.0)


async def ask(port: int, host: str, tls: NodeTLS) -> None:
    """Raises DriveOffline where there is no session."""
    clock = SystemClock()
    async with NodeConnection(f"https://{host}:{port}", SECRET, clock, SystemRandomness(), tls=tls) as node:
        assert await node.drives(deadline=Deadline.after(10.0, clock)) == ()


@pytest.mark.parametrize("served", ["localhost", "127.0.0.1"])
@pytest.mark.parametrize("shown", ["gateway1.lan", "localhost"])
async def test_machines_of_one_cluster_know_each_other_by_name_and_by_address(
    tmp_path: Path, served: str, shown: str
) -> None:
    certs(tmp_path)
    async with serving(tmp_path, served) as port:
        await ask(port, served, NodeTLS((tmp_path / "ca.pem").read_bytes(), identity(tmp_path, shown)))


async def test_a_client_of_a_foreign_authority_is_refused(tmp_path: Path) -> None:
    own, foreign = certs(tmp_path / "own"), certs(tmp_path / "foreign")
    authority = (own / "ca.pem").read_bytes()
    async with serving(own, "localhost") as port:
        for shown in (identity(foreign, "gateway1.lan"), None):
            with pytest.raises(DriveOffline):
                await ask(port, "localhost", NodeTLS(authority, shown))
        await ask(port, "localhost", NodeTLS(authority, identity(own, "gateway1.lan")))


async def test_a_server_of_a_foreign_authority_or_another_name_is_refused(tmp_path: Path) -> None:
    own, foreign = certs(tmp_path / "own"), certs(tmp_path / "foreign")
    tls = NodeTLS((own / "ca.pem").read_bytes(), identity(own, "gateway1.lan"))
    async with serving(foreign, "localhost") as port:
        with pytest.raises(DriveOffline):
            await ask(port, "localhost", tls)
    async with serving(own, "gateway1.lan") as port:
        with pytest.raises(DriveOffline):
            await ask(port, "localhost", tls)


async def test_a_server_name_makes_every_certificate_good_for_it(tmp_path: Path) -> None:
    certs(tmp_path, "gateway1.lan", server_name="localhost")
    async with serving(tmp_path, "gateway1.lan") as port:
        await ask(port, "localhost", NodeTLS((tmp_path / "ca.pem").read_bytes(), identity(tmp_path, "gateway1.lan")))


async def test_the_probe_of_containers_knows_a_node_that_lives(tmp_path: Path) -> None:
    own, foreign = certs(tmp_path / "own"), certs(tmp_path / "foreign")

    def ask_as(folder: Path, port: int, path: str = HEALTH_PATH) -> int:
        environment = {
            "LITEIO_CLUSTER_CA_FILE": str(folder / "ca.pem"),
            "LITEIO_CLUSTER_CERT_FILE": str(folder / "localhost.pem"),
            "LITEIO_CLUSTER_KEY_FILE": str(folder / "localhost.key"),
        }
        return probe.main([f"https://localhost:{port}{path}"], environment)

    async with serving(own, "localhost") as port:
        assert await asyncio.to_thread(ask_as, own, port) == 0
        assert await asyncio.to_thread(ask_as, own, port, "/nowhere") == 1
        assert await asyncio.to_thread(ask_as, foreign, port) == 1
    assert await asyncio.to_thread(ask_as, own, port) == 1
