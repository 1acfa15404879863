"""Fixtures of tests that speak to a bus: a real nats-server, and a `Bus` that is connected to it. A conftest imports
them by name."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from liteio_bus.connection import Bus
from liteio_testkit.real_nats import RealNats


@pytest.fixture
async def nats_server(tmp_path: Path) -> AsyncIterator[RealNats]:
    server = RealNats(tmp_path / "jetstream")
    await server.start()
    yield server
    server.stop()


@pytest.fixture
async def bus(nats_server: RealNats) -> AsyncIterator[Bus]:
    async with Bus(nats_server.url, name="test") as bus:
        async with asyncio.timeout(20):
            await bus.wait_until_ready()
        yield bus
