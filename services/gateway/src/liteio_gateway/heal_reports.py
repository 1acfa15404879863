"""Keys that need a repair, told to the heal queue on the bus: whoever consumes it repairs them, not this process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from liteio_bus.connection import Bus
from liteio_bus.publishing import HealQueue
from liteio_cluster.opening import Report
from liteio_contracts.messages import HealReason, HealTask
from liteio_contracts.storage import KeyName
from liteio_gateway.settings import GatewaySettings
from liteio_objects.drive_set import DriveSet


@asynccontextmanager
async def heal_reports(settings: GatewaySettings) -> AsyncIterator[Report]:
    """A `report` for the store. Without a bus, or while it is away, the process is left to repair what it finds."""
    if not settings.nats_url:
        yield lambda drive_set, name: False
        return
    name = f"liteio gateway {settings.worker_index}"
    async with Bus(settings.nats_url, name=name, stream_replicas=settings.nats_replicas) as bus:
        queue = HealQueue(bus)
        publishing = asyncio.ensure_future(queue.run())

        def report(drive_set: DriveSet, name: KeyName) -> bool:
            if not bus.is_ready:
                return False
            queue.add(HealTask.for_key(drive_set.set_index, name, HealReason.MISSED_WRITE))
            return True

        try:
            yield report
        finally:
            publishing.cancel()
            await asyncio.gather(publishing, return_exceptions=True)
