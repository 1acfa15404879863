"""A real storage node on a loopback port of this process, for tests."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_contracts.storage import StorageAPI
from liteio_drives.remote.lock_table import LockTable
from liteio_drives.remote.node_connection import NodeConnection
from liteio_storage_node.app import build_app
from liteio_storage_node.peers import Peers
from liteio_storage_node.server import NodeServer

SECRET = b"a cluster secret for tests only"


@asynccontextmanager
async def serving(
    drives: Sequence[StorageAPI],
    *,
    port: int = 0,
    locks: LockTable | None = None,
    secret: bytes = SECRET,
    peers: Peers | None = None,
) -> AsyncIterator[NodeServer]:
    app = build_app(drives, secret, SystemClock(), SystemRandomness(), locks=locks, peers=peers)
    server = NodeServer(app, "127.0.0.1", port, peers=peers)
    await server.start()
    try:
        yield server
    finally:
        await server.stop(drain_seconds=2.0)


def connection_to(port: int, secret: bytes = SECRET) -> NodeConnection:
    return NodeConnection(f"http://127.0.0.1:{port}", secret, SystemClock(), SystemRandomness())


@asynccontextmanager
async def connected(drives: Sequence[StorageAPI]) -> AsyncIterator[NodeConnection]:
    async with serving(drives) as server, connection_to(server.port) as connection:
        yield connection
