"""`Rig`: a cluster with everything that a test may break: links through one proxy, a bus, healers, clocks, slow drives.

Nodes are killed and paused by their `Member`, links by `links`, clocks and drives by `dials`.
"""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.support.async_s3 import AsyncS3
from tests.support.cluster import CLUSTER_SECRET, Cluster, Member
from tests.support.drive_check import DriveReport, check_drives
from tests.support.drive_damage import shard_files
from tests.support.link_rules import Door
from tests.support.links import Links
from tests.support.odd_member import DIALS, PLANT, SLOW, Dials
from tests.support.processes import tree_of
from tests.support.s3_client import S3Client
from tests.support.server import free_port, free_ports

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_cluster.plan import PoolPlan
from liteio_contracts.lock_names import LockKind
from liteio_drives.remote.lock_report import report_locks
from liteio_drives.remote.node_connection import NodeConnection
from liteio_testkit.real_nats import RealNats

ODD: Final = "tests.support.odd_member"


@dataclass
class Rig:
    """Made by `running_rig`."""

    cluster: Cluster
    links: Links
    nats: RealNats | None
    dials: Mapping[str, Dials] = field(default_factory=dict)
    clients: list[S3Client] = field(default_factory=list)

    @property
    def nodes(self) -> list[Member]:
        return self.cluster.nodes

    @property
    def gateways(self) -> list[Member]:
        return self.cluster.gateways

    @property
    def members(self) -> list[Member]:
        return self.cluster.members

    @property
    def clients_of_nodes(self) -> list[str]:
        """The names of all that connect to nodes."""
        return [member.name for member in self.members]

    def now_of(self, gateway: int) -> Callable[[], float]:
        """The clock of a gateway: what its clients sign with."""
        dials = self.dials[self.gateways[gateway].name]
        return lambda: time.time() + dials.clock_seconds

    def async_client(self, gateway: int, *, timeout_seconds: float = 30.0) -> AsyncS3:
        return AsyncS3(self.cluster.url_of(gateway), timeout_seconds=timeout_seconds, now=self.now_of(gateway))

    def client(self, gateway: int, *, timeout_seconds: float = 30.0) -> S3Client:
        """Signs with the machine's clock. Closed with the rig."""
        self.clients.append(S3Client(self.cluster.host(gateway), timeout_seconds=timeout_seconds))
        return self.clients[-1]

    def cut_off(self, target: int) -> None:
        """A node that nobody hears, and that hears nobody."""
        name = self.nodes[target].name
        others = [one for one in self.clients_of_nodes if one != name]
        self.links.cut(others, [name])
        self.links.cut([name], [node.name for node in self.nodes if node.name != name])

    def be_well(self) -> None:
        """Everything runs, every link is free, every clock is right, no drive is slow."""
        self.links.free()
        for dials in self.dials.values():
            dials.clock_seconds = dials.slow_seconds = 0.0
        for member in self.members:
            if member.is_running:
                member.signal(signal.SIGCONT)
            else:
                member.start()
        for gateway in range(self.cluster.gateway_count):
            self.cluster.wait_ready(gateway)

    async def wait_locked(self, key: str, seconds: float = 20.0) -> None:
        """Until a quorum of the nodes holds a lock on an object of this key. Raises TimeoutError."""
        clock, randomness = SystemClock(), SystemRandomness()
        async with asyncio.timeout(seconds), AsyncExitStack() as opened:
            nodes = [
                await opened.enter_async_context(
                    NodeConnection(f"http://127.0.0.1:{port}", CLUSTER_SECRET.encode(), clock, randomness)
                )
                for port in self.cluster.node_ports  # not through the proxy
            ]
            while True:
                report = await report_locks([nodes], deadline=Deadline.after(seconds, clock))
                held = [one for holding in report.holdings if holding.has_quorum for one in holding.subjects]
                if any((one.kind, one.key) == (LockKind.OBJECT, key.encode()) for one in held):
                    return

    def drive_paths(self) -> list[Path]:
        """In slot order; the cluster has one set."""
        plan = PoolPlan.of_patterns(self.cluster.drive_patterns, self.cluster.parity)
        return [Path(endpoint.path) for endpoint in plan.endpoints]

    @property
    def parity(self) -> int:
        return PoolPlan.of_patterns(self.cluster.drive_patterns, self.cluster.parity).layout.parity

    def census(self, *, collects: bool = True) -> DriveReport:
        """Stop everything in order, then read and hash all that the drives hold."""
        self.cluster.stop()
        self._date_back()
        return check_drives(self.drive_paths(), self.parity, collects=collects)

    def _date_back(self) -> None:
        """Files made while a node's clock was ahead are as old as their nodes thought, so that what nobody names is
        given its hour from then on: here they are made now."""
        now = time.time()
        for path in [path for drive in self.drive_paths() for path in shard_files(drive)]:
            if path.stat().st_mtime > now:
                os.utime(path, (now, now))

    def usage(self) -> "Usage":
        """Of all members together."""
        return Usage.of(member.pid for member in self.members if member.is_running)


@dataclass(frozen=True, slots=True)
class Usage:
    """What processes hold of the machine. `memory_bytes` is their resident memory."""

    descriptors: int
    threads: int
    memory_bytes: int

    @classmethod
    def of(cls, pids: "Iterator[int] | Sequence[int]") -> "Usage":
        descriptors = threads = memory = 0
        for root in pids:
            for process in tree_of(root):
                folder = Path(f"/proc/{process.pid}")
                descriptors += len(os.listdir(folder / "fd"))
                threads += len(os.listdir(folder / "task"))
                memory += int((folder / "statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        return cls(descriptors, threads, memory)

    def __str__(self) -> str:
        return f"{self.descriptors} descriptors, {self.threads} threads, {self.memory_bytes >> 20} MiB"


@contextmanager
def running_rig(
    folder: Path,
    *,
    node_count: int = 4,
    drives_per_node: int = 2,
    gateway_count: int = 2,
    healer_count: int = 1,
    parity: int | None = None,
    has_bus: bool = True,
    slow_drives: Sequence[tuple[int, int]] = (),
    plant: str = "",
    prepare: Callable[[Rig], None] = lambda rig: None,
) -> Iterator[Rig]:
    """Started and ready, and gone at the end whatever happens. `slow_drives`: (node, drive) that the node's dials slow
    down; `plant`: a bug in every member; `prepare` is called before the first start."""
    nats = RealNats(folder / "nats", free_port()) if has_bus else None
    ports = free_ports(2 * node_count)
    seen_ports = ports[node_count:]
    cluster = Cluster(
        folder,
        node_count=node_count,
        drives_per_node=drives_per_node,
        gateway_count=gateway_count,
        healer_count=healer_count,
        parity=parity,
        nats_url=nats.url if nats else "",
        node_ports=ports[:node_count],
        seen_ports=seen_ports,
    )
    doors = [
        Door(node.name, seen, port)
        for node, seen, port in zip(cluster.nodes, seen_ports, cluster.node_ports, strict=True)
    ]
    with Links(doors) as links:
        rig = Rig(cluster, links, nats, {member.name: _make_odd(member, plant) for member in cluster.members})
        for member in cluster.members:
            member.tell_start = links.know
        for node, drive in slow_drives:
            member = cluster.nodes[node]
            member.environment = {**member.environment, SLOW: str(cluster.drives_of(node)[drive])}
        prepare(rig)
        try:
            if nats is not None:
                asyncio.run(nats.start())
            cluster.start()
            yield rig
        finally:
            for client in rig.clients:
                client.close()
            cluster.kill()
            if nats is not None:
                nats.stop()


def _make_odd(member: Member, plant: str) -> Dials:
    dials = Dials(member.folder / f"{member.name}.dials")
    member.through = ODD
    member.environment = {**member.environment, DIALS: str(dials.path), **({PLANT: plant} if plant else {})}
    return dials
