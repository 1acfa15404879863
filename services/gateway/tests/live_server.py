"""A gateway under real uvicorn on loopback, over the in-memory layer, in a thread of its own."""

import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import trustme
from botocore.config import Config
from pydantic import SecretStr
from services.gateway.tests.memory_layer import MemoryLayer
from services.gateway.tests.raw_client import ACCESS_KEY, REGION, SECRET_KEY

from liteio_gateway.app import build_app
from liteio_gateway.asgi import App
from liteio_gateway.lifespan import Lifespan
from liteio_gateway.server import GatewayServer, build_server
from liteio_gateway.settings import GatewaySettings
from liteio_s3.credentials import RootCredentials


@dataclass
class LiveServer:
    layer: MemoryLayer
    port: int
    ca_file: Path | None
    log: list[Mapping[str, object]] = field(default_factory=list)
    server: GatewayServer | None = None

    def stop(self) -> None:
        """Ask the server to drain, as SIGTERM does."""
        assert self.server is not None
        self.server.should_exit = True

    @property
    def url(self) -> str:
        return f"{'https' if self.ca_file else 'http'}://127.0.0.1:{self.port}"

    def s3(self, **config: Any) -> Any:
        """A boto3 client."""
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            region_name=REGION,
            verify=str(self.ca_file) if self.ca_file else None,
            config=Config(
                s3={"addressing_style": "path"},
                retries={"max_attempts": 1, "mode": "standard"},
                **config,
            ),
        )

    def connect(self) -> socket.socket:
        """A plain connection, for requests that no library sends."""
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=10)
        if self.ca_file is None:
            return plain
        context = ssl.create_default_context(cafile=str(self.ca_file))
        return context.wrap_socket(plain, server_hostname="127.0.0.1")


@contextmanager
def live_server(
    folder: Path, *, has_tls: bool = False, layer: MemoryLayer | None = None, **settings: Any
) -> Iterator[LiveServer]:
    listening = socket.create_server(("127.0.0.1", 0))
    ca_file = None
    if has_tls:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        ca_file, cert_file, key_file = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
        authority.cert_pem.write_to_path(str(ca_file))
        issued.private_key_pem.write_to_path(str(key_file))
        for index, certificate in enumerate(issued.cert_chain_pems):
            certificate.write_to_path(str(cert_file), append=index > 0)
        settings |= {"cert_file": cert_file, "key_file": key_file}
    chosen = GatewaySettings(access_key=ACCESS_KEY, secret_key=SecretStr(SECRET_KEY), **settings)
    live = LiveServer(layer or MemoryLayer(), listening.getsockname()[1], ca_file)

    @asynccontextmanager
    async def opening() -> AsyncIterator[App]:
        yield build_app(live.layer, chosen, RootCredentials(ACCESS_KEY, SECRET_KEY), log_sink=live.log.append)

    server = live.server = build_server(Lifespan(opening), chosen)
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        _wait_until(lambda: server.started)
        yield live
    finally:
        server.should_exit = True
        thread.join(timeout=20)
        assert not thread.is_alive()


def _wait_until(holds: Callable[[], bool], seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "the server did not start"
        time.sleep(0.01)
