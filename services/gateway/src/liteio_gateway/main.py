"""The gateway process: load settings, build, run, in reading order."""

import logging
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_cluster.opening import open_store, prepare_drives
from liteio_drives.format_rules import FormatRefused
from liteio_drives.remote.sealing import WeakSecret
from liteio_gateway.app import build_app
from liteio_gateway.asgi import App
from liteio_gateway.bus_link import bus_link
from liteio_gateway.lifespan import LOCAL_PATIENCE_SECONDS, PATIENCE_SECONDS, Lifespan
from liteio_gateway.request_log import LineLog, standard_error
from liteio_gateway.server import build_server, inherited_sockets
from liteio_gateway.settings import GatewaySettings, LogFormat, load_settings
from liteio_runtime.affinity import hold_on_core
from liteio_runtime.cycles import collect_cycles_less_often
from liteio_runtime.leash import watch_pipe
from liteio_runtime.process import CONFIG_EXIT_CODE
from liteio_runtime.service_settings import report_settings_problem
from liteio_s3.credentials import InvalidRootCredentials, RootCredentials


def main() -> int:
    """`python -m liteio_gateway`. Exit code 2 for settings that can not be used."""
    watch_pipe()
    try:
        settings = load_settings(os.environ)
    except ValueError as problem:
        report_settings_problem("gateway", problem)
        return CONFIG_EXIT_CODE
    return run(settings)


def run(settings: GatewaySettings) -> int:
    """Serve until SIGTERM or SIGINT. The exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        credentials = RootCredentials(settings.access_key, settings.read_secret_key())
        prepare_drives(settings)
    except (InvalidRootCredentials, FormatRefused, WeakSecret, OSError) as problem:
        print(f"liteio gateway: {problem}", file=sys.stderr)
        return CONFIG_EXIT_CODE
    lines = LineLog(standard_error(), is_json=settings.log_format is LogFormat.JSON)

    @asynccontextmanager
    async def opening() -> AsyncIterator[App]:
        async with (
            bus_link(settings) as link,
            open_store(settings, SystemClock(), SystemRandomness(), link.report) as opened,
        ):
            link.answer_for(opened)
            app = build_app(opened.store, settings, credentials, log_sink=lines)
            collect_cycles_less_often()
            if settings.core is not None:
                hold_on_core(settings.core)
            try:
                yield app
            finally:
                lines.flush()

    # Drives of this machine open in seconds, also damaged ones: their clients wait in the socket's queue.
    lifespan = Lifespan(opening, patience_seconds=PATIENCE_SECONDS if settings.peers else LOCAL_PATIENCE_SECONDS)
    server = build_server(lifespan, settings)
    has_failed = False

    def fail() -> None:
        nonlocal has_failed
        has_failed = server.should_exit = True

    lifespan.on_failure = fail
    server.run(inherited_sockets(settings))
    return 0 if server.started and not has_failed else 1
