"""Discovery: every process of a kind is found and answers, comes back with the bus, and is gone when it ends."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from liteio_bus.connection import Bus, BusUnavailable
from liteio_bus.services import ask_statuses, serve_status
from liteio_testkit.polling import until
from liteio_testkit.real_nats import RealNats
from liteio_testkit.running import running


@asynccontextmanager
async def process(url: str, name: str) -> AsyncIterator[Bus]:
    async def status() -> bytes:
        return json.dumps({"name": name}).encode()

    async with Bus(url, name=name) as bus:
        serving = serve_status(bus, "tester", status, version="0.1.0", description="a test", metadata={"name": name})
        async with running(serving):
            yield bus


async def names(bus: Bus) -> list[str]:
    return sorted(json.loads(answer)["name"] for answer in await ask_statuses(bus, "tester", seconds=0.3))


async def test_every_process_of_the_kind_answers(nats_server: RealNats, bus: Bus) -> None:
    async with process(nats_server.url, "one"):
        async with process(nats_server.url, "two"):

            async def both() -> bool:
                return await names(bus) == ["one", "two"]

            await until(both)
        assert await names(bus) == ["one"]


async def test_standard_tools_find_them(nats_server: RealNats, bus: Bus) -> None:
    async with process(nats_server.url, "one"):
        await until(lambda: _is_found(bus))
        answer = await bus.client.request("$SRV.INFO.liteio-tester", timeout=2)
    info = json.loads(answer.data)
    assert (info["version"], info["metadata"]["name"]) == ("0.1.0", "one")
    assert [endpoint["subject"] for endpoint in info["endpoints"]] == ["liteio.v1.ctl.tester.status"]


async def test_they_are_there_again_when_the_bus_is(nats_server: RealNats, bus: Bus) -> None:
    async with process(nats_server.url, "one"):
        await until(lambda: _is_found(bus))
        nats_server.stop()
        await nats_server.start()
        await until(lambda: _is_found(bus), 20)


async def test_nobody_is_no_answer(bus: Bus) -> None:
    assert await names(bus) == []


async def test_without_a_bus_the_question_fails() -> None:
    async with Bus("nats://127.0.0.1:1", name="nobody") as bus:
        with pytest.raises(BusUnavailable):
            await ask_statuses(bus, "tester", seconds=0.1)


async def _is_found(bus: Bus) -> bool:
    try:
        return await names(bus) == ["one"]
    except BusUnavailable:
        return False
