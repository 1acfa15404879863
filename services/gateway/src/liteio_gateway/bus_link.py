"""What ties a gateway to the bus: keys that need a repair are told there, and whoever asks is told how the gateway is.

Nothing that a client asks for waits for the bus. Without one, or while it is away, the process is left to repair what
it finds.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Final

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_bus.connection import Bus
from liteio_bus.publishing import HealQueue
from liteio_bus.services import serve_status
from liteio_cluster.opening import OpenStore
from liteio_contracts.messages import GatewayStatus, HealReason, HealTask
from liteio_contracts.object_errors import ObjectError
from liteio_contracts.storage import KeyName
from liteio_gateway.settings import GatewaySettings
from liteio_objects.drive_set import DriveSet

_READY_SECONDS: Final = 0.5  # whoever asks for the status does not wait longer for answers


class BusLink:
    """`report` is the store's: whether somebody else will see to a key."""

    def __init__(self, bus: Bus | None, worker: int) -> None:
        self._bus, self._worker = bus, worker
        self._queue = HealQueue(bus) if bus is not None else None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        if self._queue is not None:
            self._tasks.append(asyncio.create_task(self._queue.run()))

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def report(self, drive_set: DriveSet, name: KeyName) -> bool:
        if self._bus is None or self._queue is None or not self._bus.is_ready:
            return False
        self._queue.add(HealTask.for_key(drive_set.set_index, name, HealReason.MISSED_WRITE))
        return True

    def answer_for(self, opened: OpenStore) -> None:
        """From now on, tell on the bus how this gateway is."""
        if self._bus is None:
            return
        host = socket.gethostname()

        async def status() -> bytes:
            told = GatewayStatus(
                host=host,
                pid=os.getpid(),
                release=version("liteio-gateway"),
                deployment_id=opened.deployment_id,
                worker=self._worker,
                is_ready=await _is_ready(opened),
                topology=0 if opened.nodes is None else opened.store.engine.store_map.number,
                nodes=_nodes(opened),
                repairs_waiting=len(opened.store.repairs),
            )
            return told.model_dump_json().encode()

        serving = serve_status(
            self._bus,
            "gateway",
            status,
            version=version("liteio-gateway"),
            description="liteio: serves S3",
            metadata={"host": host, "pid": str(os.getpid()), "deployment_id": opened.deployment_id},
        )
        self._tasks.append(asyncio.create_task(serving))


@asynccontextmanager
async def bus_link(settings: GatewaySettings) -> AsyncIterator[BusLink]:
    """Tied to the bus that the settings name, if any."""
    if not settings.nats_url:
        yield BusLink(None, settings.worker_index)
        return
    name = f"liteio gateway {settings.worker_index}"
    async with Bus(settings.nats_url, name=name, stream_replicas=settings.nats_replicas) as bus:
        link = BusLink(bus, settings.worker_index)
        link.start()
        try:
            yield link
        finally:
            await link.close()


async def _is_ready(opened: OpenStore) -> bool:
    try:
        return await opened.store.drives_ready(deadline=Deadline.after(_READY_SECONDS, SystemClock()))
    except ObjectError:
        return False


def _nodes(opened: OpenStore) -> dict[str, str]:
    if opened.nodes is None:
        return {}
    return {url: "down" if node.is_down else "up" for url, node in sorted(opened.nodes.connections.items())}
