"""`Nodes`: the connections of this process to storage nodes, one a node, and what the nodes tell of the store."""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from liteio_base.clock import Clock, Randomness
from liteio_base.deadline import Deadline
from liteio_cluster.access import ClusterAccess
from liteio_contracts.storage_errors import StorageError
from liteio_drives.format_rules import FormatRefused
from liteio_drives.remote.messages import NODE
from liteio_drives.remote.node_connection import NodeConnection
from liteio_formats.checked_json import FormatError
from liteio_formats.topology import TopologyRecord, decode_topology

_log = logging.getLogger(__name__)

_ASK_SECONDS: Final = 5.0
_PAUSES_SECONDS: Final = (0.05, 0.1, 0.2, 0.5, 1.0)  # the last again and again
_SAY_SO_EVERY: Final = 10  # waits


class Nodes:
    """Connections by origin, opened when they are first asked for. Close it when done."""

    def __init__(self, access: ClusterAccess, clock: Clock, randomness: Randomness) -> None:
        """Raises WeakSecret, OSError when a secret or certificate can not be read."""
        self._secret, self._tls = access.read_secret(), access.read_tls()
        self.clock: Final = clock
        self._randomness = randomness
        self._connections: dict[str, NodeConnection] = {}

    async def close(self) -> None:
        for connection in self._connections.values():
            await connection.close()
        self._connections.clear()

    def get(self, origin: str) -> NodeConnection:
        """The connection to the node at "https://host:port"."""
        connection = self._connections.get(origin)
        if connection is None:
            connection = NodeConnection(origin, self._secret, self.clock, self._randomness, tls=self._tls)
            self._connections[origin] = connection
        return connection

    def of(self, origins: Iterable[str]) -> Sequence[NodeConnection]:
        return [self.get(origin) for origin in origins]

    @property
    def connections(self) -> Mapping[str, NodeConnection]:
        return self._connections

    async def topology(self, origin: str) -> TopologyRecord | None:
        """The newest that a node knows; None while it knows none, or does not answer."""
        deadline = Deadline.after(_ASK_SECONDS, self.clock)
        try:
            encoded = await self.get(origin).call(NODE, "topology", deadline=deadline)
            return None if encoded is None else decode_topology(encoded)
        except (StorageError, FormatError) as trouble:
            _log.debug("node %s does not tell the topology: %s", origin, trouble)
            return None

    async def wait_for_topology(self, origins: Sequence[str]) -> TopologyRecord:
        """The newest that any of `origins` tells, as soon as one does. Raises FormatRefused when they are nodes of
        different stores."""
        attempt = 0
        while True:
            told = await asyncio.gather(*map(self.topology, origins))
            found = [topology for topology in told if topology is not None]
            if len({topology.deployment_id for topology in found}) > 1:
                raise FormatRefused(f"the nodes {', '.join(origins)} belong to different stores: name those of one")
            if found:
                return max(found, key=lambda topology: topology.number)
            attempt += 1
            if attempt % _SAY_SO_EVERY == 0:
                _log.warning("no storage node of %s tells of a store yet; waiting", ", ".join(origins))
            await self.clock.sleep(_PAUSES_SECONDS[min(attempt, len(_PAUSES_SECONDS) - 1)])
