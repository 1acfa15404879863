"""What a healer does on the bus: it publishes what the outboxes hold, and repairs what gateways report."""

import asyncio

from liteio_base.clock import SystemClock
from liteio_bus.connection import Bus
from liteio_bus.consuming import consume_heal_tasks
from liteio_bus.events import EventOrigin
from liteio_bus.outbox_drain import OutboxDrain
from liteio_bus.publishing import EventPublisher
from liteio_cluster.opening import OpenStore
from liteio_contracts.messages import HealTask
from liteio_healer.settings import HealerSettings


async def serve_bus(opened: OpenStore, settings: HealerSettings) -> None:
    """Until cancelled. The bus may come and go."""

    async def heal(task: HealTask) -> bool:
        drive_set = opened.store.engine.store_map.sets[task.set_index]
        return (await opened.store.healer.heal_key(drive_set, task.name)).is_whole

    origin = EventOrigin(settings.region, opened.deployment_id)
    async with Bus(settings.nats_url, name="liteio healer") as bus, asyncio.TaskGroup() as group:
        group.create_task(OutboxDrain(opened.drives, EventPublisher(bus, origin), SystemClock()).run())
        group.create_task(consume_heal_tasks(bus, heal))
