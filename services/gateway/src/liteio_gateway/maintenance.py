"""The process that looks after the drives of one machine: settling, rebuilding, garbage, expiry, and the outboxes.

`python -m liteio_gateway.maintenance`, with the settings of a gateway. It answers no client.
"""

import asyncio
import logging
import os
import signal
import sys

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_bus.connection import Bus
from liteio_bus.consuming import consume_heal_tasks
from liteio_bus.events import EventOrigin
from liteio_bus.outbox_drain import OutboxDrain
from liteio_bus.publishing import EventPublisher
from liteio_cluster.opening import OpenStore, open_store, prepare_drives
from liteio_contracts.messages import HealTask
from liteio_drives.format_rules import FormatRefused
from liteio_gateway.main import CONFIG_EXIT_CODE, report_settings_problem
from liteio_gateway.settings import GatewaySettings, load_settings
from liteio_objects.maintenance import Upkeep
from liteio_runtime.leash import watch_pipe

log = logging.getLogger("liteio.maintenance")


def main() -> int:
    """Exit code 2 for settings that can not be used."""
    watch_pipe()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = load_settings(os.environ)
    except ValueError as problem:
        report_settings_problem(problem)
        return CONFIG_EXIT_CODE
    try:
        prepare_drives(settings)
    except FormatRefused as problem:
        print(f"liteio maintenance: {problem}", file=sys.stderr)
        return CONFIG_EXIT_CODE
    asyncio.run(run(settings))
    return 0


async def run(settings: GatewaySettings) -> None:
    """Look after the store until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    async with open_store(settings, SystemClock(), SystemRandomness()) as opened:
        work = asyncio.ensure_future(_look_after(opened, settings))
        stopping = asyncio.ensure_future(stopped.wait())
        await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if work.done():
            work.result()  # It ends only by an error: the supervisor starts the process again.
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)


async def _look_after(opened: OpenStore, settings: GatewaySettings) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(Upkeep(opened.store).run())
        if settings.nats_url:
            group.create_task(_serve_bus(opened, settings))


async def _serve_bus(opened: OpenStore, settings: GatewaySettings) -> None:
    """Publish what the outboxes hold, and repair what gateways report."""

    async def heal(task: HealTask) -> bool:
        drive_set = opened.store.engine.store_map.sets[task.set_index]
        return (await opened.store.healer.heal_key(drive_set, task.name)).is_whole

    origin = EventOrigin(settings.region, opened.deployment_id)
    async with Bus(settings.nats_url, name="liteio maintenance") as bus, asyncio.TaskGroup() as group:
        group.create_task(OutboxDrain(opened.drives, EventPublisher(bus, origin), SystemClock()).run())
        group.create_task(consume_heal_tasks(bus, heal))


if __name__ == "__main__":
    sys.exit(main())
