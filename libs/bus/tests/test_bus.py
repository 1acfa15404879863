"""The bus against a real nats-server: streams, repeats, a server that goes away, comes back, or forgets."""

import asyncio
import json
import time

import pytest
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError

from liteio_base.ids import BucketId, HybridTime, VersionId
from liteio_bus.connection import Bus, BusUnavailable
from liteio_bus.consuming import consume_heal_tasks
from liteio_bus.events import EventOrigin
from liteio_bus.publishing import EventPublisher, HealQueue, announce
from liteio_bus.streams import EVENTS_STREAM, HEAL_STREAM, ensure_streams
from liteio_bus.subjects import ALL_BUCKET_CHANGES, events_of
from liteio_contracts.messages import BucketChanged, HealReason, HealTask, ObjectChange
from liteio_contracts.storage import KeyName
from liteio_formats.record import Space
from liteio_testkit.polling import until
from liteio_testkit.real_nats import RealNats


def change(number: int = 1) -> ObjectChange:
    return ObjectChange(
        event_name="s3:ObjectCreated:Put",
        bucket="my.photos",
        bucket_id=BucketId("b"),
        key=f"key {number}".encode(),
        version_id=VersionId(""),
        time=HybridTime(number),
        modified_ns=1,
    )


def task(number: int = 1, reason: HealReason = HealReason.MISSED_WRITE) -> HealTask:
    return HealTask.for_key(0, KeyName(Space.OBJECT, BucketId("b"), f"{number}".encode()), reason)


async def count(bus: Bus, stream: str) -> int:
    return (await bus.jetstream.stream_info(stream)).state.messages


async def until_count(bus: Bus, stream: str, wanted: int) -> None:
    async def is_reached() -> bool:
        return await count(bus, stream) == wanted

    await until(is_reached)


async def test_an_event_is_kept_and_can_be_read_by_bucket(bus: Bus) -> None:
    await EventPublisher(bus, EventOrigin("us-east-1")).publish(change())
    subscription = await bus.jetstream.pull_subscribe(events_of("my.photos"), stream=EVENTS_STREAM)
    (message,) = await subscription.fetch(1, timeout=5)
    assert json.loads(message.data)["Key"] == "my.photos/key 1"
    assert message.headers is not None
    assert message.headers["ce-specversion"] == "1.0"


async def test_a_second_copy_of_an_event_is_dropped(bus: Bus) -> None:
    publisher = EventPublisher(bus, EventOrigin("us-east-1"))
    await asyncio.gather(*(publisher.publish(change(number)) for number in (1, 2, 1, 2, 1)))
    assert await count(bus, EVENTS_STREAM) == 2


async def test_one_task_an_object_waits_and_is_gone_once_done(bus: Bus) -> None:
    queue = HealQueue(bus)
    running = asyncio.create_task(queue.run())
    for one in (task(1), task(1, HealReason.BAD_SHARD), task(2)):
        queue.add(one)
    await until_count(bus, HEAL_STREAM, 2)
    await asyncio.sleep(0.05)
    assert (len(queue), await count(bus, HEAL_STREAM)) == (0, 2)

    healed: list[HealTask] = []

    async def heal(one: HealTask) -> bool:
        healed.append(one)
        return True

    healing = asyncio.create_task(consume_heal_tasks(bus, heal))
    await until_count(bus, HEAL_STREAM, 0)
    assert sorted(one.name.key for one in healed) == [b"1", b"2"]
    for background in (running, healing):
        background.cancel()
    await asyncio.gather(running, healing, return_exceptions=True)


async def test_a_repair_that_fails_comes_back(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liteio_bus.consuming._RETRY_SECONDS", (0.05, 0.05))
    attempts: list[int] = []

    async def heal(_: HealTask) -> bool:
        attempts.append(1)
        if len(attempts) == 1:
            raise RuntimeError("a drive went away")
        return len(attempts) == 3

    await EventPublisher(bus, EventOrigin("r")).publish_heal_task(task())
    healing = asyncio.create_task(consume_heal_tasks(bus, heal, workers=1))
    await until_count(bus, HEAL_STREAM, 0)
    assert len(attempts) == 3
    healing.cancel()
    await asyncio.gather(healing, return_exceptions=True)


async def test_news_reach_those_who_listen(bus: Bus) -> None:
    heard: asyncio.Queue[bytes] = asyncio.Queue(10)

    async def hear(message: Msg) -> None:
        await heard.put(message.data)

    await bus.subscribe(ALL_BUCKET_CHANGES, hear)
    told = BucketChanged(bucket="my.photos", bucket_id=BucketId("b"), number=3)
    await announce(bus, told)
    async with asyncio.timeout(5):
        assert BucketChanged.model_validate_json(await heard.get()) == told


async def test_streams_can_be_made_twice_and_are_brought_up_to_date(bus: Bus) -> None:
    config = (await bus.jetstream.stream_info(EVENTS_STREAM)).config
    config.max_age = 3600.0
    await bus.jetstream.update_stream(config)
    await ensure_streams(bus.jetstream)
    assert (await bus.jetstream.stream_info(EVENTS_STREAM)).config.max_age == 3 * 86_400


async def test_a_bus_that_was_never_there_refuses_at_once_and_is_found_later(
    nats_server: RealNats,
) -> None:
    nats_server.stop()
    async with Bus(nats_server.url, name="test") as bus:
        began = time.monotonic()
        with pytest.raises(BusUnavailable):
            await bus.publish("liteio.v1.events.b.x", b"")
        await announce(bus, BucketChanged(bucket="b", bucket_id=BucketId("b"), number=1))
        assert time.monotonic() - began < 0.5
        await nats_server.start()
        async with asyncio.timeout(20):
            await bus.wait_until_ready()
        assert await bus.publish("liteio.v1.events.b.x", b"")


async def test_down_and_up_again_keeps_what_was_acknowledged(nats_server: RealNats, bus: Bus) -> None:
    publisher = EventPublisher(bus, EventOrigin("r"))
    await publisher.publish(change(1))
    nats_server.stop()
    await until(lambda: not publisher.is_ready)
    with pytest.raises(BusUnavailable):
        await publisher.publish(change(2))
    await nats_server.start()
    await _publish_until_taken(publisher, change(2))
    assert await count(bus, EVENTS_STREAM) == 2


async def test_a_server_that_lost_its_files_gets_its_streams_again(bus: Bus) -> None:
    await bus.jetstream.delete_stream(EVENTS_STREAM)
    with pytest.raises(NotFoundError):
        await bus.jetstream.stream_info(EVENTS_STREAM)
    await _publish_until_taken(EventPublisher(bus, EventOrigin("r")), change())
    assert await count(bus, EVENTS_STREAM) == 1


async def test_what_is_no_task_is_dropped_and_the_next_is_done(bus: Bus) -> None:
    await bus.publish("liteio.v1.mrf.0.abc", b"no json")
    await EventPublisher(bus, EventOrigin("r")).publish_heal_task(task())
    done = asyncio.Event()

    async def heal(_: HealTask) -> bool:
        done.set()
        return True

    healing = asyncio.create_task(consume_heal_tasks(bus, heal, workers=1))
    async with asyncio.timeout(10):
        await done.wait()
    await until_count(bus, HEAL_STREAM, 0)
    healing.cancel()
    await asyncio.gather(healing, return_exceptions=True)


async def _publish_until_taken(publisher: EventPublisher, one: ObjectChange) -> None:
    async with asyncio.timeout(20):
        while True:
            try:
                return await publisher.publish(one)
            except BusUnavailable:
                await asyncio.sleep(0.05)
