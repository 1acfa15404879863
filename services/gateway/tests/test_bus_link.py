"""A gateway on the bus: whoever asks is told how it is."""

import asyncio
from pathlib import Path

from pydantic import SecretStr

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_bus.connection import Bus
from liteio_bus.services import ask_statuses
from liteio_cluster.opening import open_store
from liteio_contracts.messages import GatewayStatus
from liteio_gateway.bus_link import bus_link
from liteio_gateway.settings import GatewaySettings
from liteio_testkit.polling import until
from liteio_testkit.real_nats import RealNats


async def test_a_gateway_tells_that_it_is_ready(tmp_path: Path) -> None:
    server = RealNats(tmp_path / "jetstream")
    await server.start()
    drives = tuple(str(tmp_path / f"d{number}") for number in range(4))
    settings = GatewaySettings(
        access_key="root", secret_key=SecretStr("a-long-secret"), drives=drives, nats_url=server.url, worker_index=3
    )
    found: list[bytes] = []
    try:
        async with (
            Bus(server.url, name="asks") as bus,
            bus_link(settings) as link,
            open_store(settings, SystemClock(), SystemRandomness(), link.report) as opened,
        ):
            link.answer_for(opened)
            async with asyncio.timeout(20):
                await bus.wait_until_connected()

            async def is_found() -> bool:
                found[:] = await ask_statuses(bus, "gateway", seconds=0.3)
                return bool(found)

            await until(is_found)
            status = GatewayStatus.model_validate_json(found[0])
            assert (status.worker, status.is_ready, status.nodes) == (3, True, {})
            assert status.deployment_id == opened.deployment_id
    finally:
        server.stop()
