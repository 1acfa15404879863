"""The gateway process: load settings, build, run, in reading order."""

import logging
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pydantic import ValidationError

from liteio_base.clock import Clock, Randomness, SystemClock, SystemRandomness
from liteio_contracts.object_layer import ObjectLayer
from liteio_gateway.access import Authorizer, RootOnly
from liteio_gateway.app import build_pipeline, host_id_of
from liteio_gateway.asgi import App
from liteio_gateway.lifespan import Lifespan
from liteio_gateway.request_log import LineLog, LogSink, standard_error
from liteio_gateway.server import build_server, inherited_sockets
from liteio_gateway.settings import GatewaySettings, LogFormat, load_settings
from liteio_gateway.store import open_store
from liteio_s3.credentials import CredentialSource, InvalidRootCredentials, RootCredentials

CONFIG_EXIT_CODE = 2  # tells the supervisor that starting again will not help


def main() -> int:
    """`python -m liteio_gateway`. Exit code 2 for settings that can not be used."""
    try:
        settings = load_settings(os.environ)
    except ValidationError as problems:
        # Input values are left out: one of them is the secret key.
        for problem in problems.errors(include_input=False, include_url=False):
            print(f"liteio gateway: {'.'.join(map(str, problem['loc']))}: {problem['msg']}", file=sys.stderr)
        return CONFIG_EXIT_CODE
    except ValueError as problem:
        print(f"liteio gateway: {problem}", file=sys.stderr)
        return CONFIG_EXIT_CODE
    return run(settings)


def run(settings: GatewaySettings) -> int:
    """Serve until SIGTERM or SIGINT. The exit code."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        credentials = RootCredentials(settings.access_key, settings.read_secret_key())
    except (InvalidRootCredentials, OSError) as problem:
        print(f"liteio gateway: {problem}", file=sys.stderr)
        return CONFIG_EXIT_CODE
    lines = LineLog(standard_error(), is_json=settings.log_format is LogFormat.JSON)

    @asynccontextmanager
    async def opening() -> AsyncIterator[App]:
        async with open_store(settings, SystemClock(), SystemRandomness()) as store:
            try:
                yield build_app(store, settings, credentials, log_sink=lines)
            finally:
                lines.flush()

    server = build_server(Lifespan(opening), settings)
    server.run(inherited_sockets(settings))
    return 0 if server.started else 1


def build_app(
    object_layer: ObjectLayer,
    settings: GatewaySettings,
    credentials: CredentialSource,
    clock: Clock | None = None,
    *,
    authorizer: Authorizer | None = None,
    randomness: Randomness | None = None,
    log_sink: LogSink | None = None,
) -> App:
    """The S3 front door over any ObjectLayer. What is not given is the system's; without a sink nothing is logged."""
    return build_pipeline(
        object_layer,
        credentials=credentials,
        authorizer=authorizer or RootOnly(),
        clock=clock or SystemClock(),
        randomness=randomness or SystemRandomness(),
        log_sink=log_sink or (lambda facts: None),
        region=settings.region,
        domains=settings.domains,
        host_id=host_id_of(f"{socket.gethostname()}/{settings.worker_index}"),
        operation_seconds=settings.operation_seconds,
        body_idle_seconds=settings.body_idle_seconds,
    )
