"""Which processes a server runs, and what each is told."""

import json
import os
import sys
from typing import Any, Final

from liteio_runtime.affinity import core_of_worker
from liteio_runtime.process import ProcessSpec
from liteio_runtime.settings import ServerSettings, split_address
from liteio_runtime.state import RootCredentials

GATEWAY_CONFIG: Final = "LITEIO_GATEWAY_CONFIG"
HEALER_CONFIG: Final = "LITEIO_HEALER_CONFIG"
_ALL_ADDRESSES: Final = "0.0.0.0"
# Every thread that allocates would get a heap of its own, and each heap keeps the blocks that passed through it: under
# load a worker held 280 MiB instead of 195. Two are enough, since threads take turns at the interpreter lock.
_MALLOC: Final = {"MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "2")}
_REPLICAS_MAX: Final = 3  # of what the bus keeps, where there are nodes enough


def store_specs(
    settings: ServerSettings,
    credentials: RootCredentials,
    nats_url: str,
    shared_fds: tuple[int, int],
    *,
    log_format: str,
) -> list[ProcessSpec]:
    """In a cluster the storage nodes; the gateway workers, which share the listening socket and a tally of connections;
    and the healer, which looks after the drives."""
    store = store_config(settings) | {
        "region": settings.region,
        "state_dir": str(settings.state_dir),
        "nats_url": nats_url,
        "nats_replicas": bus_replicas(settings),
    }
    config = store | {
        "domains": settings.domain,
        "access_key": credentials.access_key,
        "secret_key": credentials.secret_key,
        "log_format": log_format,
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
    nodes = [_storage_node(settings, index) for index in range(len(settings.own_origins))]
    return [*nodes, *workers, healer]


def bus_replicas(settings: ServerSettings) -> int:
    """Copies of what the bus keeps: three where the cluster's own servers are at least that many."""
    server_count = len(settings.servers) if settings.is_cluster and not settings.nats else 1
    return _REPLICAS_MAX if server_count >= _REPLICAS_MAX else 1


def store_config(settings: ServerSettings) -> dict[str, Any]:
    """Where the store is: drives of this machine, or nodes."""
    if settings.is_cluster:
        nodes = tuple(dict.fromkeys((*settings.plan.origins, *settings.peers)))
        return {"peers": nodes} | cluster_config(settings)
    return {"drives": settings.drives, "parity": settings.code.m, "set_drives": settings.layout.set_width}


def cluster_config(settings: ServerSettings) -> dict[str, str]:
    files = {
        "cluster_secret_file": settings.cluster_secret_file,
        "cluster_cert_file": settings.cluster_cert,
        "cluster_key_file": settings.cluster_key,
        "cluster_ca_file": settings.cluster_ca,
    }
    given = {name: str(path.absolute()) for name, path in files.items() if path is not None}
    return given | ({"cluster_server_name": settings.cluster_server_name} if settings.cluster_server_name else {})


def _storage_node(settings: ServerSettings, index: int) -> ProcessSpec:
    """The `index`-th of this machine."""
    origins = settings.own_origins
    environment = {
        "LITEIO_STORAGE_NODE_DRIVES": ",".join(settings.drives),
        "LITEIO_STORAGE_NODE_NODE_HOST": origins[index].partition("://")[2],
        "LITEIO_STORAGE_NODE_PARITY": str(settings.code.m),
        "LITEIO_STORAGE_NODE_HOST": _ALL_ADDRESSES,
    }
    if settings.pin_workers:  # Behind the workers: they share processors only where there are too few.
        environment["LITEIO_STORAGE_NODE_CORE"] = str(core_of_worker(settings.worker_count + index))
    if not set(settings.peers) <= set(settings.plan.origins):
        environment["LITEIO_STORAGE_NODE_JOINS"] = "true"
    if settings.cluster_address:
        host, port = split_address(settings.cluster_address)
        environment |= {
            "LITEIO_STORAGE_NODE_HOST": host or _ALL_ADDRESSES,
            "LITEIO_STORAGE_NODE_PORT": str(port),
        }
    environment |= {f"LITEIO_{name.upper()}": value for name, value in cluster_config(settings).items()}
    # Gateways answer requests in flight until they end: the drives go after them.
    name = "storage-node" if len(origins) == 1 else f"storage-node-{index}"
    return ProcessSpec(name, (sys.executable, "-m", "liteio_storage_node"), {**_MALLOC, **environment}, stops_last=True)


def _own_config(settings: ServerSettings, shared_fds: tuple[int, int], index: int) -> dict[str, Any]:
    return {
        "listen_fd": shared_fds[0],
        "tally_fd": shared_fds[1],
        "workers": settings.worker_count,
        "worker_index": index,
        "core": core_of_worker(index) if settings.pin_workers else None,
    }
