"""`liteio server`: everything of one machine under one supervisor, alone or as a node of a cluster."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from liteio_runtime.listening import listen, make_tally, urls_of
from liteio_runtime.nats_server import NatsRoutes, prepare_nats_server
from liteio_runtime.problems import Problem, StartRefused
from liteio_runtime.process import CONFIG_EXIT_CODE, LineSink, ProcessSpec
from liteio_runtime.settings import DEFAULT_NODE_PORT, NO_BUS, LogFormat, ServerSettings, split_address
from liteio_runtime.state import CREDENTIALS_NAME, RootCredentials, StateFolder
from liteio_runtime.store_specs import store_specs
from liteio_runtime.supervisor import ConfigurationRefused, Supervisor

_PATIENCE_SECONDS: Final = 10.0  # then a line says that the store is not ready yet


def run_server(settings: ServerSettings) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code. Raises StartRefused for what a user can mend."""
    if settings.is_cluster and not settings.access_key:
        remedy = "give access key and secret key, the same on every node"
        raise StartRefused([Problem("the nodes of a cluster can not make up credentials", "--access-key", remedy)])
    state = StateFolder(settings.state_dir)
    try:
        with listen(settings) as listener:
            credentials = _credentials(settings, state)
            nats_url, bus_specs = _bus(settings, state)
            fds = (listener.fileno(), make_tally(settings.worker_count))
            log_format = "json" if _wants_json(settings) else "plain"
            specs = [*bus_specs, *store_specs(settings, credentials, nats_url, fds, log_format=log_format)]
            return asyncio.run(_supervise(settings, state, credentials, specs, listener))
    finally:
        state.close()


def _credentials(settings: ServerSettings, state: StateFolder) -> RootCredentials:
    if settings.access_key:
        return RootCredentials(settings.access_key, settings.secret_key.get_secret_value())
    return state.root_credentials(settings.own_drives)


def _bus(settings: ServerSettings, state: StateFolder) -> tuple[str, Sequence[ProcessSpec]]:
    if settings.nats == NO_BUS:
        return "", ()
    if settings.nats:
        return settings.nats, ()
    server = prepare_nats_server(state.nats_path, _bus_routes(settings) if settings.is_cluster else None)
    return server.url, (server.spec,)


def _bus_routes(settings: ServerSettings) -> NatsRoutes:
    """All machines' servers form one bus. Each listens to the others on the port behind the last one of its drives."""
    assert settings.cluster_secret_file is not None
    at = {nodes: (urlsplit(nodes[0]).hostname, max(map(_port_of, nodes)) + 1) for nodes in settings.servers}
    _, port = at.pop(settings.own_origins)
    if settings.cluster_address:
        port = split_address(settings.cluster_address)[1] + 1
    tls = None
    if settings.cluster_cert and settings.cluster_key and settings.cluster_ca:
        tls = (settings.cluster_cert, settings.cluster_key, settings.cluster_ca)
    return NatsRoutes(
        server_name=urlsplit(settings.own_origins[0]).netloc,
        port=port,
        peers=tuple(f"{host}:{port}" for host, port in at.values()),
        secret=settings.cluster_secret_file.read_bytes().strip(),
        tls=tls,
    )


def _port_of(origin: str) -> int:
    return urlsplit(origin).port or DEFAULT_NODE_PORT


async def _supervise(
    settings: ServerSettings,
    state: StateFolder,
    credentials: RootCredentials,
    specs: Sequence[ProcessSpec],
    listener: socket.socket,
) -> int:
    supervisor = Supervisor(specs, on_line=_late_line_passer(as_json=_wants_json(settings)))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, supervisor.stop)
    announcing = asyncio.create_task(_announce(settings, state, credentials, supervisor, listener))
    try:
        await supervisor.run()
    except ConfigurationRefused as refused:
        print(f"liteio can not start: {refused}; the lines above say why", file=sys.stderr)
        return CONFIG_EXIT_CODE
    finally:
        announcing.cancel()
        await asyncio.gather(announcing, return_exceptions=True)
    return 0


async def _announce(
    settings: ServerSettings,
    state: StateFolder,
    credentials: RootCredentials,
    supervisor: Supervisor,
    listener: socket.socket,
) -> None:
    await supervisor.all_started.wait()
    # From here on imports cost nothing: the processes that were started import as well.
    import structlog

    from liteio_runtime.banner import ServerFacts, render_json, render_page
    from liteio_runtime.logs import configure_logs
    from liteio_runtime.readiness import wait_until_ready

    configure_logs(as_json=_wants_json(settings))
    port = listener.getsockname()[1]
    ready = asyncio.create_task(wait_until_ready(settings.host, port, has_tls=settings.cert is not None))
    try:
        while not (await asyncio.wait([ready], timeout=_PATIENCE_SECONDS))[0]:
            structlog.get_logger().warning("not ready yet: waiting for enough drives", drives=len(settings.drives))
    finally:
        ready.cancel()
    supervisor.mark_up()
    if not settings.access_key:
        state.spread_credentials(settings.own_drives)
    facts = ServerFacts(
        urls=urls_of(listener, settings),
        drives=settings.drives,
        drives_online=await _count_online(settings),
        set_count=settings.layout.set_count,
        code=settings.code,
        region=settings.region,
        credentials=credentials,
        credentials_path=None if settings.access_key else settings.state_dir / CREDENTIALS_NAME,
        bus=_describe_bus(settings),
        workers=settings.worker_count,
        node_count=len(settings.plan.origins) if settings.is_cluster else 1,
    )
    print(render_page(facts) if sys.stdout.isatty() else render_json(facts), flush=True)


async def _count_online(settings: ServerSettings) -> int:
    """Drives that are there: of this machine by looking, of a cluster by asking the nodes."""
    from liteio_runtime.banner import count_online

    if not settings.is_cluster:
        return count_online(settings.drives)
    from liteio_runtime.drive_views import view_drives

    return sum(view.is_online for view in await view_drives(settings))


def _describe_bus(settings: ServerSettings) -> str:
    if settings.nats == NO_BUS:
        return "none: no events are published"
    if settings.nats:
        return settings.nats.rpartition("@")[2].removeprefix("nats://")  # never the password
    port = (Path(settings.state_dir) / "nats" / "port").read_text(encoding="utf-8").strip()
    together = f", one of {len(settings.servers)}" if settings.is_cluster else ""
    return f"own NATS server on 127.0.0.1:{port}{together}"


def _wants_json(settings: ServerSettings) -> bool:
    return settings.log_format is LogFormat.JSON or (
        settings.log_format is LogFormat.AUTO and not os.isatty(sys.stderr.fileno())
    )


def _late_line_passer(*, as_json: bool) -> LineSink:
    """`line_passer`, imported with the first line."""

    @cache
    def passer() -> LineSink:
        from liteio_runtime.logs import line_passer

        return line_passer(as_json=as_json)

    return lambda name, line: passer()(name, line)
