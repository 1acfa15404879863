"""`liteio server`: everything on one machine under one supervisor."""

import asyncio
import json
import os
import signal
import socket
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Final

from liteio_runtime.affinity import core_of_worker
from liteio_runtime.listening import listen, make_tally, urls_of
from liteio_runtime.nats_server import prepare_nats_server
from liteio_runtime.process import CONFIG_EXIT_CODE, LineSink, ProcessSpec
from liteio_runtime.settings import NO_BUS, LogFormat, ServerSettings
from liteio_runtime.state import CREDENTIALS_NAME, RootCredentials, StateFolder
from liteio_runtime.supervisor import ConfigurationRefused, Supervisor

GATEWAY_CONFIG: Final = "LITEIO_GATEWAY_CONFIG"
HEALER_CONFIG: Final = "LITEIO_HEALER_CONFIG"
# Every thread that allocates would get a heap of its own, and each heap keeps the blocks that passed through it: under
# load a worker held 280 MiB instead of 195. Two are enough, since threads take turns at the interpreter lock.
_MALLOC: Final = {"MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "2")}
_PATIENCE_SECONDS: Final = 10.0  # then a line says that the store is not ready yet


def run_server(settings: ServerSettings) -> int:
    """Serve until SIGTERM or SIGINT. Returns the exit code. Raises StartRefused for what a user can mend."""
    state = StateFolder(settings.state_dir)
    try:
        with listen(settings) as listener:
            credentials = _credentials(settings, state)
            nats_url, bus_specs = _bus(settings, state)
            fds = (listener.fileno(), make_tally(settings.worker_count))
            specs = [*bus_specs, *store_specs(settings, credentials, nats_url, fds)]
            return asyncio.run(_supervise(settings, state, credentials, specs, listener))
    finally:
        state.close()


def store_specs(
    settings: ServerSettings, credentials: RootCredentials, nats_url: str, shared_fds: tuple[int, int]
) -> list[ProcessSpec]:
    """The gateway workers, which share the listening socket and a tally of connections, and the healer, which looks
    after the drives."""
    store: dict[str, Any] = {
        "region": settings.region,
        "drives": settings.drives,
        "parity": settings.code.m,
        "set_drives": settings.layout.set_width,
        "state_dir": str(settings.state_dir),
        "nats_url": nats_url,
    }
    config = store | {
        "domains": settings.domain,
        "access_key": credentials.access_key,
        "secret_key": credentials.secret_key,
        "log_format": "json" if _wants_json(settings) else "plain",
    }
    if settings.cert and settings.key:
        config |= {"cert_file": str(settings.cert), "key_file": str(settings.key)}
    workers = [
        ProcessSpec(
            f"gateway-{index}",
            (sys.executable, "-m", "liteio_gateway"),
            {**_MALLOC, GATEWAY_CONFIG: json.dumps(config | _own_config(settings, shared_fds, index))},
            pass_fds=shared_fds,
        )
        for index in range(settings.worker_count)
    ]
    healer = ProcessSpec(
        "healer", (sys.executable, "-m", "liteio_healer"), {**_MALLOC, HEALER_CONFIG: json.dumps(store)}
    )
    return [*workers, healer]


def _own_config(settings: ServerSettings, shared_fds: tuple[int, int], index: int) -> dict[str, Any]:
    return {
        "listen_fd": shared_fds[0],
        "tally_fd": shared_fds[1],
        "workers": settings.worker_count,
        "worker_index": index,
        "core": core_of_worker(index) if settings.pin_workers else None,
    }


def _credentials(settings: ServerSettings, state: StateFolder) -> RootCredentials:
    if settings.access_key:
        return RootCredentials(settings.access_key, settings.secret_key.get_secret_value())
    return state.root_credentials(settings.drives)


def _bus(settings: ServerSettings, state: StateFolder) -> tuple[str, Sequence[ProcessSpec]]:
    if settings.nats == NO_BUS:
        return "", ()
    if settings.nats:
        return settings.nats, ()
    server = prepare_nats_server(state.nats_path)
    return server.url, (server.spec,)


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

    from liteio_runtime.banner import ServerFacts, count_online, render_json, render_page
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
        state.spread_credentials(settings.drives)
    facts = ServerFacts(
        urls=urls_of(listener, settings),
        drives=settings.drives,
        drives_online=count_online(settings.drives),
        set_count=settings.layout.set_count,
        code=settings.code,
        region=settings.region,
        credentials=credentials,
        credentials_path=None if settings.access_key else settings.state_dir / CREDENTIALS_NAME,
        bus=_describe_bus(settings),
        workers=settings.worker_count,
    )
    print(render_page(facts) if sys.stdout.isatty() else render_json(facts), flush=True)


def _describe_bus(settings: ServerSettings) -> str:
    if settings.nats == NO_BUS:
        return "none: no events are published"
    if settings.nats:
        return settings.nats.rpartition("@")[2].removeprefix("nats://")  # never the password
    port = (Path(settings.state_dir) / "nats" / "port").read_text(encoding="utf-8").strip()
    return f"own NATS server on 127.0.0.1:{port}"


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
