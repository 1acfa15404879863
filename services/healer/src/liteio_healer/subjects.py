"""What a healer does on the bus: it publishes what the outboxes hold, repairs what gateways report, tells how the
drives are, and answers for what it does."""

import asyncio
import os
from typing import Final

from liteio_bus.connection import Bus
from liteio_bus.consuming import HealConsumer
from liteio_bus.dead_letters import DeadLetters
from liteio_bus.events import EventOrigin
from liteio_bus.outbox_drain import OutboxDrain
from liteio_bus.publishing import EventPublisher, announce
from liteio_bus.services import serve_status
from liteio_cluster.opening import OpenStore
from liteio_contracts.messages import DriveStateChanged, HealTask
from liteio_contracts.object_layer import HealResult
from liteio_healer.reporting import RELEASE, Reporter
from liteio_healer.settings import HealerSettings
from liteio_objects.drive_watch import DriveSight, DriveWatch
from liteio_objects.maintenance import Upkeep

TELL_EVERY_SECONDS: Final = 5.0
_LOOK_EVERY_SECONDS: Final = 0.5


async def serve_bus(opened: OpenStore, upkeep: Upkeep, watch: DriveWatch, settings: HealerSettings) -> None:
    """Until cancelled. The bus may come and go."""
    engine, healer = opened.store.engine, opened.store.healer

    async def heal(task: HealTask) -> HealResult:
        sets = engine.store_map.sets
        if task.set_index >= len(sets):
            problem = f"the store has no set {task.set_index}"
            return HealResult(is_whole=False, shards_total=0, shards_good=0, rewritten=0, problems=(problem,))
        async with healer.pacer.turn():
            return await healer.heal_key(sets[task.set_index], task.name)

    origin = EventOrigin(settings.region, opened.deployment_id)
    bus = Bus(settings.nats_url, name="liteio healer", stream_replicas=settings.nats_replicas)
    consumer = HealConsumer(bus, heal, workers=settings.heal_workers)
    reporter = Reporter(healer, upkeep.duties, opened.deployment_id, engine.clock, consumer, DeadLetters(bus))

    async def status() -> bytes:
        return (await reporter.status()).model_dump_json().encode()

    serving = serve_status(
        bus,
        "healer",
        status,
        version=RELEASE,
        description="liteio: heals, scans and tidies the drives",
        metadata={"host": reporter.host, "pid": str(os.getpid()), "deployment_id": opened.deployment_id},
    )
    async with bus, asyncio.TaskGroup() as group:
        drain = OutboxDrain(lambda: opened.drives, EventPublisher(bus, origin), engine.clock)
        group.create_task(upkeep.duties.keep("outbox", drain.run))
        group.create_task(upkeep.duties.keep("drive states", lambda: _tell_drive_states(watch, bus)))
        group.create_task(consumer.run())
        group.create_task(serving)
        group.create_task(_tell_status(reporter, bus))


async def _tell_status(reporter: Reporter, bus: Bus) -> None:
    """Every few seconds, and at once when something begins or ends."""
    told, told_at = reporter.gist, 0.0
    loop = asyncio.get_running_loop()
    while True:
        if reporter.gist != told or loop.time() - told_at >= TELL_EVERY_SECONDS:
            told, told_at = reporter.gist, loop.time()
            await announce(bus, await reporter.status())
        await asyncio.sleep(_LOOK_EVERY_SECONDS)


async def _tell_drive_states(watch: DriveWatch, bus: Bus) -> None:
    """The state of each drive at first, then when it is another one. One healer of a store does this."""
    told: dict[tuple[int, int], tuple[str, str]] = {}
    while True:
        for place, sight in sorted(watch.sights.items()):
            if told.get(place) != (sight.drive_id, sight.state) and bus.client.is_connected:
                told[place] = (sight.drive_id, sight.state)
                await announce(bus, _message_of(sight))
        await asyncio.sleep(_LOOK_EVERY_SECONDS)


def _message_of(sight: DriveSight) -> DriveStateChanged:
    return DriveStateChanged(drive_id=sight.drive_id, slot=sight.slot, state=sight.state.value, reason=sight.reason)
