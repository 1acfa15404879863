"""From endpoint patterns to the drives of a pool: which place each takes, and on which node it is. Pure.

Every node is given the same patterns, so every node comes to the same plan.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from urllib.parse import urlsplit

from liteio_base.ids import DeploymentId, DriveId
from liteio_drives.format_rules import Layout
from liteio_erasure.code import CodeParams
from liteio_erasure.errors import CodeRefused
from liteio_formats.topology import PoolRecord, TopologyRecord
from liteio_placement.endpoint_patterns import Endpoint, expand_endpoints, parse_endpoint
from liteio_placement.errors import LayoutRefused
from liteio_placement.layout import arrange, group_by


@dataclass(frozen=True)
class PoolPlan:
    """`endpoints` in slot order: set by set, in each set slot by slot."""

    endpoints: tuple[Endpoint, ...]
    layout: Layout

    @classmethod
    def of_patterns(cls, patterns: str | Iterable[str], parity: int | None = None, pool: int = 0) -> "PoolPlan":
        """A new pool's. Raises PatternRefused, LayoutRefused."""
        endpoints = expand_endpoints(patterns)
        if not endpoints[0].origin:
            raise LayoutRefused(
                "they are folders without a node", str(endpoints[0]), "write https://node{1...4}.lan:9100/mnt/disk1"
            )
        hosts = group_by(endpoints, [_host_of(endpoint.origin) for endpoint in endpoints])
        sets = arrange([_nodes_in_turn(drives) for drives in hosts])
        width = len(sets[0])
        try:
            code = CodeParams.for_set(width, parity)
        except CodeRefused:
            where = f"sets of {width} drives"
            raise LayoutRefused(f"{parity} is too much parity", where, f"choose 0 to {width // 2}") from None
        ordered = tuple(endpoint for one_set in sets for endpoint in one_set)
        return cls(ordered, Layout(len(sets), width, code.m, pool))

    @classmethod
    def of_record(cls, record: PoolRecord, pool: int) -> "PoolPlan":
        """That of a pool of the topology."""
        endpoints = tuple(parse_endpoint(text) for text in record.endpoints)
        return cls(endpoints, Layout(record.set_count, record.set_width, record.parity, pool))

    def as_pool(self, pool: int) -> "PoolPlan":
        """The same drives as the `pool`-th of their store."""
        return replace(self, layout=replace(self.layout, pool=pool))

    def to_record(self) -> PoolRecord:
        texts = tuple(map(str, self.endpoints))
        return PoolRecord(set_width=self.layout.set_width, parity=self.layout.parity, endpoints=texts)

    @cached_property
    def origins(self) -> tuple[str, ...]:
        """The nodes, each once, in the order of their first drives."""
        return tuple(dict.fromkeys(endpoint.origin for endpoint in self.endpoints))

    @cached_property
    def hosts(self) -> tuple[tuple[str, ...], ...]:
        """The nodes of each host, in the order of their first drives."""
        return tuple(map(tuple, group_by(self.origins, list(map(_host_of, self.origins)))))

    def origins_of_set(self, set_index: int) -> tuple[str, ...]:
        """The nodes on which drives of a set are, each once."""
        width = self.layout.set_width
        drives = self.endpoints[set_index * width : (set_index + 1) * width]
        return tuple(dict.fromkeys(endpoint.origin for endpoint in drives))

    @property
    def first_origin(self) -> str:
        """The node that leads the first format."""
        return self.endpoints[0].origin

    def drives_of(self, origin: str) -> Mapping[int, str]:
        """The folders of a node's drives, by the drives' numbers."""
        return {number: endpoint.path for number, endpoint in enumerate(self.endpoints) if endpoint.origin == origin}

    def origin_of_host(self, host: str, own_names: Callable[[], Iterable[str]] = tuple) -> str:
        """The one node of `origins_of_host`. Raises LayoutRefused."""
        named = self.origins_of_host(host, own_names)
        if len(named) == 1:
            return named[0]
        where = host or _host_of(named[0])
        raise LayoutRefused("the host has several nodes", where, f"name one of {', '.join(self._choices())}")

    def origins_of_host(self, host: str, own_names: Callable[[], Iterable[str]] = tuple) -> tuple[str, ...]:
        """The nodes on the host that `host` names ("node1.lan"; with a port: that one of its nodes). Without a host:
        those of the only host there is, or of the one that bears one of `own_names`, which are looked up only then:
        that may ask the network. Raises LayoutRefused."""
        if not host:
            return self._find_own(own_names)
        if named := tuple(origin for origin in self.origins if host.lower() in _names_of(origin)):
            return named
        raise LayoutRefused("no drive is on this host", host, f"name one of {', '.join(self._choices())}")

    def _find_own(self, own_names: Callable[[], Iterable[str]]) -> tuple[str, ...]:
        if len(self.hosts) == 1:
            return self.origins
        own = {name.lower() for name in own_names()}
        named = [nodes for nodes in self.hosts if _host_of(nodes[0]) in own]
        if len(named) == 1:
            return named[0]
        raise LayoutRefused(
            "which of the nodes this is does not show",
            ", ".join(sorted(own)),
            f"say --node-host, one of {', '.join(self._choices())}",
        )

    def _choices(self) -> list[str]:
        return [urlsplit(origin).netloc for origin in self.origins]


def topology_of(plan: PoolPlan, deployment_id: DeploymentId) -> TopologyRecord:
    """The topology of a store whose first and only pool this is."""
    return TopologyRecord.of_one_pool(deployment_id, plan.to_record())


def target_of(deployment_id: DeploymentId, layout: Layout, number: int) -> DriveId:
    """What calls to the `number`-th drive of a pool name on the wire: its place, not the drive, so that one that was
    replaced is reached as well. What was promised to its predecessor is safe: a commit names the generation."""
    set_index, slot = layout.place_of(number)
    return DriveId(f"{deployment_id}/{layout.pool}/{set_index}/{slot}")


def _nodes_in_turn(drives: Sequence[Endpoint]) -> list[Endpoint]:
    """The drives of one host, so that neighbours are on different ones of its nodes."""
    nodes = group_by(drives, [drive.origin for drive in drives])
    return [drive for turn in zip_longest(*nodes) for drive in turn if drive is not None]


def _host_of(origin: str) -> str:
    """The name of its machine: nodes at several ports of one are lost together."""
    return urlsplit(origin).hostname or ""


def _names_of(origin: str) -> set[str]:
    parts = urlsplit(origin)
    return {parts.netloc, parts.hostname or ""}
