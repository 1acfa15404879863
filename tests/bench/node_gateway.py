"""Gateways over storage nodes on loopback, as in a cluster: the drives are reached over HTTP/2.

`python -m tests.bench.node_gateway FOLDER PORT --node-ports 7001` starts a node a port (1, 2 or 4), which share four
drives, and as many gateways as `liteio server` would have beside a node, and serves until SIGTERM.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.bench.credentials import ACCESS_KEY, SECRET_KEY
from tests.support.cluster import CLUSTER_SECRET, Cluster

from liteio_runtime.affinity import core_of_worker, usual_worker_count
from liteio_runtime.listening import make_tally

_DRIVES: Final = 4


def start(folder: Path, port: int, node_ports: Sequence[int]) -> None:
    """Start everything, and stop it again when told to."""
    cluster = Cluster(
        folder,
        node_count=len(node_ports),
        drives_per_node=_DRIVES // len(node_ports),
        gateway_count=0,
        parity=2,
        node_ports=node_ports,
    )
    listening = socket.create_server(("127.0.0.1", port), backlog=2048)
    gateway_count = usual_worker_count(1)
    fds = (listening.fileno(), make_tally(gateway_count))
    if len(node_ports) == 1:
        # As `liteio server` does it; of several nodes, which have a machine each, none is to be kept from a processor.
        [node] = cluster.nodes
        node.environment = {**node.environment, "LITEIO_STORAGE_NODE_CORE": str(core_of_worker(gateway_count))}
    gateways: list[subprocess.Popen[bytes]] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        for node in cluster.nodes:
            node.start()
        gateways += [_gateway(cluster, fds, index, gateway_count) for index in range(gateway_count)]
        signal.pause()
    finally:
        for gateway in gateways:
            gateway.terminate()
            gateway.wait()
        cluster.stop()


def _gateway(cluster: Cluster, fds: tuple[int, int], index: int, gateway_count: int) -> subprocess.Popen[bytes]:
    config = {
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
        "listen_fd": fds[0],
        "tally_fd": fds[1],
        "workers": gateway_count,
        "worker_index": index,
        "core": core_of_worker(index),
        "peers": cluster.peers,
        "cluster_secret": CLUSTER_SECRET,
    }
    environment = {**os.environ, "LITEIO_GATEWAY_CONFIG": json.dumps(config)}
    command = [sys.executable, "-m", "liteio_gateway"]
    with (cluster.folder / f"gateway{index}.log").open("ab") as log:
        return subprocess.Popen(
            command, env=environment, pass_fds=fds, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--node-ports", required=True, help="with commas between")
    options = parser.parse_args()
    start(options.folder, options.port, [int(port) for port in options.node_ports.split(",")])


if __name__ == "__main__":
    main()
