"""The doctor's look at a cluster: the secret, this node's certificate, and whether every node answers."""

import asyncio
import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_cluster.access import ClusterAccess
from liteio_cluster.nodes import Nodes
from liteio_contracts.storage_errors import StorageError
from liteio_runtime.findings import Finding, bad, good, warn
from liteio_runtime.settings import ServerSettings
from liteio_runtime.store_specs import cluster_config

_NODE_SECONDS: Final = 6.0
_OTHERS_MAY_READ: Final = 0o077

CertificateDates = Callable[[bytes, datetime.datetime, str], Iterator[Finding]]


def look_at_cluster(settings: ServerSettings, dates_of: CertificateDates) -> Iterator[Finding]:
    """Nothing on one machine."""
    if not settings.is_cluster:
        return
    assert settings.cluster_secret_file is not None
    yield _secret(settings.cluster_secret_file)
    yield from _certificate(settings, dates_of)
    yield from asyncio.run(_ask_nodes(settings))


def _secret(path: Path) -> Finding:
    if path.stat().st_mode & _OTHERS_MAY_READ:
        return warn("cluster secret", f"others than its owner may read {path}", f"chmod 600 {path}")
    return good("cluster secret", "readable by its owner only")


def _certificate(settings: ServerSettings, dates_of: CertificateDates) -> Iterator[Finding]:
    from cryptography import x509

    from liteio_runtime.certificates import is_issued_by, names_of

    if settings.cluster_cert is None or settings.cluster_ca is None:
        remedy = "give certificates (`liteio certs`), or keep the cluster's port in a network of its own"
        yield warn("cluster TLS", "off: what passes between nodes can be read on the way, not changed unseen", remedy)
        return
    try:
        certificate = x509.load_pem_x509_certificate(settings.cluster_cert.read_bytes())
        authorities = x509.load_pem_x509_certificates(settings.cluster_ca.read_bytes())
    except ValueError as problem:
        yield bad("cluster certificate", f"can not be read: {problem}", "give PEM files, as `liteio certs` makes them")
        return
    if not any(is_issued_by(certificate, authority) for authority in authorities):
        yield bad(
            "cluster certificate", "is not by the cluster's authority", "make it with the same `liteio certs` folder"
        )
    wanted = settings.cluster_server_name or (urlsplit(settings.own_origins[0]).hostname or "")
    if wanted not in (names := names_of(certificate)):
        named = ", ".join(sorted(names))
        yield bad("cluster certificate", f"is for {named}, not for {wanted}", "make one that bears the node's name")
    yield from dates_of(settings.cluster_cert.read_bytes(), datetime.datetime.now(datetime.UTC), "cluster")


async def _ask_nodes(settings: ServerSettings) -> list[Finding]:
    nodes = Nodes(ClusterAccess.model_validate(cluster_config(settings)), SystemClock(), SystemRandomness())
    try:
        return list(await asyncio.gather(*(_ask_node(nodes, origin) for origin in settings.plan.origins)))
    finally:
        await nodes.close()


async def _ask_node(nodes: Nodes, origin: str) -> Finding:
    subject = f"node {urlsplit(origin).netloc}"
    try:
        drives = await nodes.get(origin).drives(deadline=Deadline.after(_NODE_SECONDS, SystemClock()))
    except StorageError as trouble:
        remedy = "start it; see that name and port are right, that it has the same secret, and its certificate"
        return bad(subject, str(trouble), remedy)
    missing = [info for info in drives if info.reason]
    if missing:
        return bad(subject, f"{missing[0].name}: {missing[0].reason}", "see to the drive, on that node")
    return good(subject, f"answers, with {len(drives)} drives")
