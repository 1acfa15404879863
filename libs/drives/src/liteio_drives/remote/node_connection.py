"""`NodeConnection`: everything this process shares towards one node; its drives and its lock table hang on it."""

import asyncio
from collections.abc import Sequence
from typing import Any, Self

from liteio_base.clock import Clock, Randomness
from liteio_base.deadline import Deadline
from liteio_base.ids import DriveId
from liteio_drives.remote.call_batching import CallBatcher
from liteio_drives.remote.messages import NODE, DriveInfo
from liteio_drives.remote.node_client import NodeClient, NodeTLS


class NodeConnection:
    """One HTTP/2 connection, one session, one queue of calls. Opened lazily; nothing is sent before the first call.

    async with NodeConnection("http://10.0.0.2:9100", secret, clock, randomness) as node:
        drives = [RemoteDrive(node, info.drive_id, info.slot) for info in await node.drives(deadline=soon)]
    """

    def __init__(
        self, url: str, secret: bytes, clock: Clock, randomness: Randomness, *, tls: NodeTLS | None = None
    ) -> None:
        """Raises WeakSecret: there is no talking to a node without the cluster's secret."""
        self.clock = clock
        self.client = NodeClient(url, secret, clock, randomness, tls=tls)
        self._batcher = CallBatcher(self.client)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._batcher.close()
        await self.client.close()

    @property
    def url(self) -> str:
        return self.client.url

    @property
    def is_down(self) -> bool:
        """True while the node can not be reached; calls fail at once, and it is looked for in the background."""
        return self.client.is_down

    def call(
        self, target: DriveId, method: str, *arguments: Any, deadline: Deadline, is_lazy: bool = False
    ) -> asyncio.Future[Any]:
        """Ask a drive of the node, or the node itself (target NODE); fails with StorageError. is_lazy: nobody waits for
        the answer, so the call may wait a moment for others to travel with."""
        return self._batcher.call(target, method, arguments, deadline, is_lazy=is_lazy)

    async def drives(self, *, deadline: Deadline) -> Sequence[DriveInfo]:
        """The drives that the node serves. Raises DriveUnavailable."""
        found: tuple[DriveInfo, ...] = await self.call(NODE, "drives", deadline=deadline)
        return found
