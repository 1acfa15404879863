"""Gateways over storage nodes on loopback, as in a cluster: the drives are reached over HTTP/2.

`python -m tests.bench.node_gateway FOLDER PORT --node-ports 7001` starts a node a port (1, 2 or 4), which share four
drives, and a gateway for each core, and serves until SIGTERM.
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
    cores = sorted(os.sched_getaffinity(0))
    if len(node_ports) == 1:
        # As `liteio server` does it; of several nodes, which have a machine each, none is to be kept from a processor.
        [node] = cluster.nodes
        node.environment = {**node.environment, "LITEIO_STORAGE_NODE_CORE": str(cores[0])}
    gateways: list[subprocess.Popen[bytes]] = []
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        for node in cluster.nodes:
            node.start()
        gateways += [_gateway(cluster, listening, index, core) for index, core in enumerate(cores)]
        signal.pause()
    finally:
        for gateway in gateways:
            gateway.terminate()
            gateway.wait()
        cluster.stop()


def _gateway(cluster: Cluster, listening: socket.socket, index: int, core: int) -> subprocess.Popen[bytes]:
    config = {
        "access_key": ACCESS_KEY,
        "secret_key": SECRET_KEY,
        "listen_fd": listening.fileno(),
        "worker_index": index,
        "core": core,
        "peers": cluster.peers,
        "cluster_secret": CLUSTER_SECRET,
    }
    environment = {**os.environ, "LITEIO_GATEWAY_CONFIG": json.dumps(config)}
    command = [sys.executable, "-m", "liteio_gateway"]
    with (cluster.folder / f"gateway{index}.log").open("ab") as log:
        return subprocess.Popen(
            command, env=environment, pass_fds=[listening.fileno()], stdin=subprocess.DEVNULL, stdout=log, stderr=log
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
