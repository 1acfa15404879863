"""What the drives and nodes in the settings stand for, and what a cluster can not do without. Raises Mistake."""

import os
import socket
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from liteio_cluster.access import one_text
from liteio_cluster.plan import PoolPlan
from liteio_drives.remote.sealing import WeakSecret, cluster_key
from liteio_placement.endpoint_patterns import expand_endpoints, expand_origins
from liteio_placement.errors import PlacementError
from liteio_placement.layout import SetLayout, choose_layout
from liteio_runtime.problems import Mistake


def expand_peers(given: object) -> tuple[str, ...]:
    """The nodes that a pattern stands for."""
    if not given:
        return ()
    try:
        return tuple(expand_origins(one_text(given)))
    except PlacementError as refusal:
        raise Mistake(f"{refusal.problem} ({refusal.where})", refusal.remedy) from None


def expand_drives(given: object, peers: Sequence[str], node_host: str) -> tuple[str, ...]:
    """Folders of this machine, made absolute; with `peers`, or where URLs are given, the URLs of all drives."""
    try:
        endpoints = expand_endpoints([str(one) for one in given] if isinstance(given, (list, tuple)) else str(given))
        if endpoints[0].origin:
            drives = tuple(map(str, endpoints))
        else:
            folders = [os.path.abspath(endpoint.path) for endpoint in endpoints]
            drives = tuple(f"{peer}{folder}" for peer in peers for folder in folders) if peers else tuple(folders)
        if is_of_cluster(drives):
            _require_own_folders(PoolPlan.of_patterns(drives), node_host)
        else:
            choose_layout(len(drives))
    except PlacementError as refusal:
        raise Mistake(f"{refusal.problem} ({refusal.where})", refusal.remedy) from None
    return drives


def _require_own_folders(plan: PoolPlan, node_host: str) -> None:
    """This machine has nodes, and no folder is given to two of them. Raises LayoutRefused, Mistake."""
    folders = Counter(
        path for origin in plan.origins_of_host(node_host, own_names) for path in plan.drives_of(origin).values()
    )
    [(folder, count)] = folders.most_common(1)
    if count > 1:
        raise Mistake(
            f"{count} nodes of this machine have {folder}",
            "give each its own drives: https://node{1...4}.lan:9100/mnt/disk{1...4},"
            "https://node{1...4}.lan:9101/mnt/disk{5...8}",
        )


def require_one_node(drives: Sequence[str], node_host: str) -> None:
    """One address can not be that of several nodes."""
    if is_of_cluster(drives) and len(PoolPlan.of_patterns(drives).origins_of_host(node_host, own_names)) > 1:
        raise Mistake("this machine has several nodes", "leave the address out: each listens where its URL says")


def is_of_cluster(drives: Sequence[str]) -> bool:
    """Whether they are URLs."""
    return bool(drives) and "://" in drives[0]


def layout_of(drives: Sequence[str]) -> SetLayout:
    """Of drives that were found to fit."""
    if not is_of_cluster(drives):
        return choose_layout(len(drives))
    layout = PoolPlan.of_patterns(drives).layout
    return SetLayout(layout.set_count, layout.set_width)


def own_names() -> tuple[str, str]:
    """By what this machine may be named."""
    return socket.gethostname(), socket.getfqdn()


def require_secret(path: Path | None) -> None:
    """A cluster's secret is there and long enough."""
    if path is None:
        remedy = "make one that all nodes share: head -c 32 /dev/urandom | base64 > cluster-secret; name it here"
        raise Mistake("a cluster does not start without a secret of its own", remedy)
    try:
        cluster_key(path.read_bytes().strip())
    except WeakSecret as weak:
        raise Mistake(str(weak), "make a longer one: head -c 32 /dev/urandom | base64") from None
    except OSError as problem:
        raise Mistake(f"{path}: {problem.strerror}", f"make it readable for uid {os.getuid()}") from None


def require_certificates(given: Collection[str], authority: Path | None, drives: Sequence[str]) -> None:
    """Certificate, key and authority come together, and where drives are named https."""
    is_secure = is_of_cluster(drives) and drives[0].startswith("https:")
    if authority is None and not given and not is_secure:
        return
    if authority is None or len(given) < 2:
        raise Mistake(
            "a node with TLS needs its certificate, its key and the cluster's authority",
            "give cluster-cert, cluster-key and cluster-ca; `liteio certs` makes them; or write http:// for a network "
            "of your own",
        )
    if drives and not is_secure:
        raise Mistake("certificates are given, and the drives are not named https", "write https:// in front of them")
