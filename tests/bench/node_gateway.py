"""Gateways whose drives are one storage node's, reached over HTTP/2 on loopback, as in a cluster.

`python -m tests.bench.node_gateway FOLDER PORT` formats four drives in the folder, starts the node and a gateway for
each core, and serves until SIGTERM. A cluster's own way to be started takes the place of this when there is one.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from pydantic import SecretStr
from tests.bench.credentials import ACCESS_KEY, SECRET_KEY
from tests.support.server import free_port

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_base.ids import DeploymentId
from liteio_contracts.storage_errors import StorageError
from liteio_drives.files import RealFiles
from liteio_drives.format_rules import Layout
from liteio_drives.format_set import settle_formats
from liteio_drives.remote.messages import DriveInfo
from liteio_drives.remote.node_connection import NodeConnection
from liteio_drives.remote.remote_drive import RemoteDrive
from liteio_drives.remote.remote_locks import RemoteLocks
from liteio_erasure.code import CodeParams
from liteio_gateway.app import build_app
from liteio_gateway.asgi import App
from liteio_gateway.lifespan import Lifespan
from liteio_gateway.server import build_server, inherited_sockets
from liteio_gateway.settings import GatewaySettings
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.store_map import StoreMap
from liteio_runtime.cycles import collect_cycles_less_often
from liteio_s3.credentials import RootCredentials

_CODE: Final = CodeParams(2, 2)
_CLUSTER_SECRET: Final = "a-cluster-secret-of-the-benchmark-only"
_START_SECONDS: Final = 30.0


def start(folder: Path, port: int) -> None:
    """Start everything, and stop it again when told to."""
    paths = [str(folder / f"d{number}") for number in range(1, _CODE.width + 1)]
    layout = Layout(1, _CODE.width, _CODE.m)
    deployment_id, _ = settle_formats(paths, layout, randomness=SystemRandomness(), files=RealFiles())
    node_port = free_port()
    node = [sys.executable, "-m", "liteio_storage_node", "--port", str(node_port), "--core", "0"]
    for path in paths:
        node += ["--drives", path]
    environment = {**os.environ, "LITEIO_CLUSTER_SECRET": _CLUSTER_SECRET}
    listening = socket.create_server(("127.0.0.1", port), backlog=2048)
    worker = [sys.executable, "-m", __spec__.name, str(folder), str(port)]
    worker += ["--node", f"http://127.0.0.1:{node_port}", "--deployment", deployment_id]
    worker += ["--listen-fd", str(listening.fileno())]
    children = [subprocess.Popen(node, env=environment)]
    children += [subprocess.Popen(worker, pass_fds=[listening.fileno()]) for _ in range(os.cpu_count() or 1)]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        signal.pause()
    finally:
        for child in reversed(children):  # the node is the last to go
            child.terminate()
            child.wait()


def work(url: str, deployment_id: DeploymentId, listen_fd: int) -> None:
    """One gateway."""
    settings = GatewaySettings(access_key=ACCESS_KEY, secret_key=SecretStr(SECRET_KEY), listen_fd=listen_fd)
    clock, randomness = SystemClock(), SystemRandomness()

    @asynccontextmanager
    async def opening() -> AsyncIterator[App]:
        async with (
            NodeConnection(url, _CLUSTER_SECRET.encode(), clock, randomness) as node,
            RemoteLocks([node], clock, randomness) as locks,
        ):
            infos = await _drives_of(node, clock)
            drives = tuple(RemoteDrive(node, info.drive_id, info.slot) for info in infos)
            store = Store(StoreMap(deployment_id, [DriveSet(drives, _CODE, 0)]), clock, randomness, locks)
            store.start()
            app = build_app(store, settings, RootCredentials(ACCESS_KEY, SECRET_KEY), log_sink=lambda _: None)
            collect_cycles_less_often()
            yield app
            await store.close()

    build_server(Lifespan(opening), settings).run(inherited_sockets(settings))


async def _drives_of(node: NodeConnection, clock: SystemClock) -> list[DriveInfo]:
    """In the order of their slots, when the node serves them all."""
    soon = Deadline.after(_START_SECONDS, clock)
    while not soon.has_passed:
        try:
            infos = await node.drives(deadline=soon)
        except StorageError:
            infos = ()
        if len(infos) == _CODE.width:
            return sorted(infos, key=lambda info: info.slot)
        await clock.sleep(0.1)
    raise RuntimeError("the storage node did not come up")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--node")
    parser.add_argument("--deployment")
    parser.add_argument("--listen-fd", type=int)
    options = parser.parse_args()
    if options.node is None:
        start(options.folder, options.port)
    else:
        work(options.node, DeploymentId(options.deployment), options.listen_fd)


if __name__ == "__main__":
    main()
