"""The healer process: load settings, open the store, look after it, in reading order."""

import asyncio
import logging
import os
import signal
import sys

from liteio_base.background import IS_BACKGROUND
from liteio_base.clock import SystemClock, SystemRandomness
from liteio_cluster.opening import OpenStore, open_store, prepare_drives
from liteio_drives.format_rules import FormatRefused
from liteio_healer.settings import HealerSettings, load_settings
from liteio_healer.subjects import serve_bus
from liteio_objects.drive_watch import DriveWatch
from liteio_objects.maintenance import Upkeep, UpkeepTimes
from liteio_runtime.leash import watch_pipe
from liteio_runtime.process import CONFIG_EXIT_CODE
from liteio_runtime.service_settings import report_settings_problem


def main() -> int:
    """`python -m liteio_healer`. Exit code 2 for settings that can not be used."""
    watch_pipe()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        settings = load_settings(os.environ)
        prepare_drives(settings)
    except FormatRefused as problem:
        print(f"liteio healer: {problem}", file=sys.stderr)
        return CONFIG_EXIT_CODE
    except ValueError as problem:
        report_settings_problem("healer", problem)
        return CONFIG_EXIT_CODE
    asyncio.run(run(settings))
    return 0


async def run(settings: HealerSettings) -> None:
    """Look after the store until SIGTERM or SIGINT."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    work, stopping = asyncio.ensure_future(_serve(settings)), asyncio.ensure_future(stopped.wait())
    await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if work.done():
        work.result()  # It ends only by an error: the supervisor starts the process again.
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def _serve(settings: HealerSettings) -> None:
    """Opening may take as long as the storage nodes do, and can be told to stop."""
    IS_BACKGROUND.set(True)  # for all that follows: no client waits for it
    async with open_store(settings, SystemClock(), SystemRandomness()) as opened:
        await _look_after(opened, settings)


async def _look_after(opened: OpenStore, settings: HealerSettings) -> None:
    times = UpkeepTimes(
        scan_every=settings.scan_hours * 3600,
        deep_scan_bytes=settings.deep_scan_bytes_per_second,
        deep_scan_every=settings.deep_scan_days * 86_400,
    )
    upkeep = Upkeep(opened.store, times)
    watch = DriveWatch(opened.store.engine, opened.store.healer.pacer)
    async with asyncio.TaskGroup() as group:
        group.create_task(watch.run())
        group.create_task(upkeep.run())
        if settings.nats_url:
            group.create_task(serve_bus(opened, upkeep, watch, settings))
