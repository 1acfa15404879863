"""The storage node process: load settings, open the drives, serve, drain, in reading order."""

import asyncio
import logging
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import uvloop
from pydantic import ValidationError

from liteio_base.clock import Clock, Randomness, SystemClock, SystemRandomness
from liteio_cluster.nodes import Nodes
from liteio_drives.format_rules import FormatRefused
from liteio_drives.remote.lock_table import LockTable
from liteio_drives.remote.sealing import WeakSecret, cluster_key
from liteio_runtime.affinity import hold_on_core
from liteio_runtime.cycles import collect_cycles_less_often
from liteio_runtime.leash import watch_pipe
from liteio_storage_node.app import build_app
from liteio_storage_node.node_drives import NodeDrives
from liteio_storage_node.peers import Peers
from liteio_storage_node.server import NodeServer, ServerTLS
from liteio_storage_node.settings import StorageNodeSettings, load_settings

CONFIG_EXIT_CODE: Final = 2  # tells the supervisor that starting again will not help
log: Final = logging.getLogger("liteio.storage_node")


def main(flags: Sequence[str] | None = None) -> int:
    """`python -m liteio_storage_node`. Exit code 2 for settings that can not be used."""
    watch_pipe()
    try:
        settings = load_settings(sys.argv[1:] if flags is None else flags)
        cluster_key(settings.read_secret())
        settings.read_tls()
    except ValidationError as problems:
        # Input values are left out: one of them is the secret.
        wrong = problems.errors(include_input=False, include_url=False)
        return _refuse("; ".join(f"{'.'.join(map(str, one['loc'])) or 'settings'}: {one['msg']}" for one in wrong))
    except (OSError, WeakSecret) as problem:
        return _refuse(str(problem))
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        uvloop.run(serve(settings))
    except FormatRefused as problem:
        return _refuse(str(problem))
    except OSError as problem:
        return _refuse(f"{settings.host}:{settings.listen_port}: {problem}")
    return 0


async def serve(settings: StorageNodeSettings) -> None:
    """Until SIGTERM or SIGINT. Drives are closed after the last request. Raises FormatRefused, OSError."""
    clock, randomness = SystemClock(), SystemRandomness()
    told_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told_to_stop.set)
    locks, peers = LockTable(clock), Peers(clock)
    async with _opened(settings, clock, randomness, locks.open_now) as drives:
        secret = settings.read_secret()
        app = build_app(drives.drives, secret, clock, randomness, locks=locks, formats=drives, peers=peers)
        server = NodeServer(app, settings.host, settings.listen_port, tls=_tls_of(settings), peers=peers)
        collect_cycles_less_often()
        if settings.core is not None:
            hold_on_core(settings.core)  # before granian's thread begins, which then stays there too
        await server.start()
        log.info("serving on %s port %s", settings.host, server.port)
        looking, stopping = asyncio.ensure_future(drives.run()), asyncio.ensure_future(told_to_stop.wait())
        await asyncio.wait((looking, stopping), return_when=asyncio.FIRST_COMPLETED)
        log.info("draining")
        if not await server.stop(settings.drain_seconds):
            log.warning("requests were cut after %s s", settings.drain_seconds)
        if looking.done():
            looking.result()  # It ends only by an error: whoever started the process starts it again.
        looking.cancel()
        stopping.cancel()
        await asyncio.gather(looking, stopping, return_exceptions=True)


@asynccontextmanager
async def _opened(
    settings: StorageNodeSettings, clock: Clock, randomness: Randomness, on_first_format: Callable[[], None]
) -> AsyncIterator[NodeDrives]:
    """With the drives that need nobody else's word: those that are formatted."""
    async with AsyncExitStack() as opened:
        nodes = Nodes(settings, clock, randomness)
        opened.push_async_callback(nodes.close)
        plan, origin = settings.plan(), settings.origin()
        drives = NodeDrives(
            plan, origin, nodes, clock, randomness, joins=settings.joins, on_first_format=on_first_format
        )
        opened.push_async_callback(drives.close)
        await drives.look(is_alone=True)
        yield drives


def _tls_of(settings: StorageNodeSettings) -> ServerTLS | None:
    if settings.cluster_cert_file is None or settings.cluster_key_file is None:
        return None
    return ServerTLS(settings.cluster_cert_file, settings.cluster_key_file, settings.cluster_ca_file)


def _refuse(why: str) -> int:
    print(f"liteio storage-node: {why}", file=sys.stderr)
    return CONFIG_EXIT_CODE
