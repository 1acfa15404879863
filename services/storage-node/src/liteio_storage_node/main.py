"""The storage node process: load settings, open the drives, serve, drain, in reading order."""

import asyncio
import logging
import signal
import sys
from collections.abc import Sequence
from typing import Final

import uvloop
from pydantic import ValidationError

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_drives.remote.sealing import WeakSecret, cluster_key
from liteio_runtime.affinity import hold_on_core
from liteio_runtime.cycles import collect_cycles_less_often
from liteio_storage_node.app import build_app
from liteio_storage_node.local_drives import open_local_drives
from liteio_storage_node.server import NodeServer, ServerTLS
from liteio_storage_node.settings import StorageNodeSettings, load_settings

CONFIG_EXIT_CODE: Final = 2  # tells the supervisor that starting again will not help
log: Final = logging.getLogger("liteio.storage_node")


def main(flags: Sequence[str] | None = None) -> int:
    """`python -m liteio_storage_node`. Exit code 2 for settings that can not be used."""
    try:
        settings = load_settings(sys.argv[1:] if flags is None else flags)
        secret = settings.read_secret()
        cluster_key(secret)
    except ValidationError as problems:
        # Input values are left out: one of them is the secret.
        wrong = problems.errors(include_input=False, include_url=False)
        return _refuse("; ".join(f"{'.'.join(map(str, one['loc'])) or 'settings'}: {one['msg']}" for one in wrong))
    except (OSError, WeakSecret) as problem:
        return _refuse(str(problem))
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        uvloop.run(serve(settings, secret))
    except OSError as problem:
        return _refuse(f"{settings.host}:{settings.port}: {problem}")
    return 0


async def serve(settings: StorageNodeSettings, secret: bytes) -> None:
    """Until SIGTERM or SIGINT. Drives are closed after the last request."""
    clock, randomness = SystemClock(), SystemRandomness()
    told_to_stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told_to_stop.set)
    async with open_local_drives(settings.drives, clock, randomness) as drives:
        app = build_app(drives, secret, clock, randomness)
        server = NodeServer(app, settings.host, settings.port, tls=_tls_of(settings))
        collect_cycles_less_often()
        if settings.core is not None:
            hold_on_core(settings.core)  # before granian's thread begins, which then stays there too
        await server.start()
        log.info("serving on %s port %s", settings.host, server.port)
        await told_to_stop.wait()
        log.info("draining")
        if not await server.stop(settings.drain_seconds):
            log.warning("requests were cut after %s s", settings.drain_seconds)


def _tls_of(settings: StorageNodeSettings) -> ServerTLS | None:
    if settings.cert_file is None or settings.key_file is None:
        return None
    return ServerTLS(settings.cert_file, settings.key_file, settings.client_ca_file)


def _refuse(why: str) -> int:
    print(f"liteio storage-node: {why}", file=sys.stderr)
    return CONFIG_EXIT_CODE
