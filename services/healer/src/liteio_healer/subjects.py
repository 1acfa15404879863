"""What a healer does on the bus: it publishes what the outboxes hold, and repairs what gateways report."""

import asyncio

from liteio_bus.connection import Bus
from liteio_bus.consuming import HealConsumer
from liteio_bus.events import EventOrigin
from liteio_bus.outbox_drain import OutboxDrain
from liteio_bus.publishing import EventPublisher
from liteio_cluster.opening import OpenStore
from liteio_contracts.messages import HealTask
from liteio_contracts.object_layer import HealResult
from liteio_healer.settings import HealerSettings
from liteio_objects.duties import Duties


async def serve_bus(opened: OpenStore, settings: HealerSettings, duties: Duties) -> None:
    """Until cancelled. The bus may come and go."""
    engine, healer = opened.store.engine, opened.store.healer

    async def heal(task: HealTask) -> HealResult:
        sets = engine.store_map.sets
        if task.set_index >= len(sets):
            problem = f"the store has no set {task.set_index}"
            return HealResult(is_whole=False, shards_total=0, shards_good=0, rewritten=0, problems=(problem,))
        return await healer.heal_key(sets[task.set_index], task.name)

    origin = EventOrigin(settings.region, opened.deployment_id)
    bus = Bus(settings.nats_url, name="liteio healer", stream_replicas=settings.nats_replicas)
    async with bus, asyncio.TaskGroup() as group:
        drain = OutboxDrain(lambda: opened.drives, EventPublisher(bus, origin), engine.clock)
        group.create_task(duties.keep("outbox", drain.run))
        group.create_task(HealConsumer(bus, heal, workers=settings.heal_workers).run())
