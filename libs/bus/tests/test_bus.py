"""The bus against a real nats-server: streams, repeats, a server that goes away, comes back, or forgets."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from nats.aio.msg import Msg
from nats.js.errors import NotFoundError

from liteio_base.ids import BucketId, HybridTime, VersionId
from liteio_bus.connection import Bus, BusUnavailable
from liteio_bus.consuming import ATTEMPTS_MAX, Heal, HealConsumer
from liteio_bus.dead_letters import DeadLetters
from liteio_bus.events import EventOrigin
from liteio_bus.publishing import EventPublisher, HealQueue, announce
from liteio_bus.streams import EVENTS_STREAM, HEAL_STREAM, ensure_streams
from liteio_bus.subjects import ALL_BUCKET_CHANGES, events_of
from liteio_contracts.messages import BucketChanged, HealReason, HealTask, ObjectChange
from liteio_contracts.object_layer import HealResult
from liteio_contracts.storage import KeyName
from liteio_formats.record import Space
from liteio_testkit.polling import until
from liteio_testkit.real_nats import RealNats
from liteio_testkit.running import running

WHOLE = HealResult(is_whole=True, shards_total=4, shards_good=4, rewritten=1)
NOT_WHOLE = HealResult(is_whole=False, shards_total=4, shards_good=1, rewritten=0, problems=("3 shards are gone",))
WAITING = HealResult(is_whole=False, shards_total=4, shards_good=3, rewritten=0, waits_for_drives=True)


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


@asynccontextmanager
async def consuming(bus: Bus, heal: Heal, *, workers: int = 1) -> AsyncIterator[HealConsumer]:
    """A healer's end of the queue; leaving is its death."""
    consumer = HealConsumer(bus, heal, workers=workers)
    async with running(consumer.run()):
        yield consumer


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

    async def heal(one: HealTask) -> HealResult:
        healed.append(one)
        return WHOLE

    healing = asyncio.create_task(HealConsumer(bus, heal).run())
    await until_count(bus, HEAL_STREAM, 0)
    assert sorted(one.name.key for one in healed) == [b"1", b"2"]
    for background in (running, healing):
        background.cancel()
    await asyncio.gather(running, healing, return_exceptions=True)


async def test_damage_told_of_during_a_repair_is_repaired_after_it(bus: Bus) -> None:
    """The repair under way may have looked at the object before."""
    publisher, attempts = EventPublisher(bus, EventOrigin("r")), 0

    async def heal(one: HealTask) -> HealResult:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            await publisher.publish_heal_task(task(1, HealReason.BAD_SHARD))
        return WHOLE

    await publisher.publish_heal_task(task(1))
    async with consuming(bus, heal):
        await until_count(bus, HEAL_STREAM, 0)
    assert attempts == 2


async def test_a_repair_that_fails_comes_back(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("liteio_bus.consuming.RETRY_SECONDS", (0.05, 0.05, 0.05))
    attempts: list[int] = []

    async def heal(_: HealTask) -> HealResult:
        attempts.append(1)
        if len(attempts) == 1:
            raise RuntimeError("a drive went away")
        return WHOLE if len(attempts) == 3 else NOT_WHOLE

    await EventPublisher(bus, EventOrigin("r")).publish_heal_task(task())
    healing = asyncio.create_task(HealConsumer(bus, heal, workers=1).run())
    await until_count(bus, HEAL_STREAM, 0)
    assert len(attempts) == 3
    healing.cancel()
    await asyncio.gather(healing, return_exceptions=True)


async def test_what_can_not_be_repaired_is_given_up_with_a_letter_and_can_be_queued_again(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liteio_bus.consuming.RETRY_SECONDS", (0.05, 0.05, 0.05))
    attempts: list[bytes] = []
    is_mended = False

    async def heal(one: HealTask) -> HealResult:
        attempts.append(one.name.key)
        return WHOLE if is_mended or one.name.key == b"2" else NOT_WHOLE

    publisher, letters = EventPublisher(bus, EventOrigin("r")), DeadLetters(bus)
    for number in (1, 2):
        await publisher.publish_heal_task(task(number))
    async with consuming(bus, heal) as consumer:
        await until_count(bus, HEAL_STREAM, 0)
        assert (attempts.count(b"1"), attempts.count(b"2")) == (ATTEMPTS_MAX, 1)
        [letter] = await letters.list()
        assert (letter.task, letter.attempts, letter.problems) == (task(1), ATTEMPTS_MAX, ("3 shards are gone",))
        assert (consumer.given_up, await letters.count()) == (1, 1)
        is_mended = True
        assert await letters.requeue() == 1
        await until_count(bus, HEAL_STREAM, 0)
        assert (attempts.count(b"1"), await letters.count()) == (ATTEMPTS_MAX + 1, 0)


async def test_a_task_that_waits_for_a_drive_leaves_the_queue_without_a_letter(
    bus: Bus, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liteio_bus.consuming.RETRY_SECONDS", (0.05, 0.05, 0.05))

    async def heal(_: HealTask) -> HealResult:
        return WAITING

    await EventPublisher(bus, EventOrigin("r")).publish_heal_task(task())
    async with consuming(bus, heal) as consumer:
        await until_count(bus, HEAL_STREAM, 0)
        assert (consumer.left_for_scan, await DeadLetters(bus).count()) == (1, 0)


async def test_a_task_that_ends_whoever_takes_it_is_given_up(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each healer is killed over it: nothing is acknowledged, and the task comes to the next one after the wait."""
    monkeypatch.setattr("liteio_bus.consuming.ACK_WAIT_SECONDS", 0.2)
    killed = 0

    async def heal(_: HealTask) -> HealResult:
        nonlocal killed
        killed += 1
        await asyncio.sleep(1000)  # until it is cancelled: nobody answers
        return WHOLE

    await EventPublisher(bus, EventOrigin("r")).publish_heal_task(task())
    for number in range(1, ATTEMPTS_MAX + 1):
        async with consuming(bus, heal):
            await until(lambda: killed >= number)  # noqa: B023  # awaited in this very round
    async with consuming(bus, heal):
        await until_count(bus, HEAL_STREAM, 0)
    assert killed == ATTEMPTS_MAX
    [letter] = await DeadLetters(bus).list()
    assert letter.problems == ("no attempt came to its end",)


async def test_two_healers_share_the_tasks_and_one_takes_over_what_the_other_left(
    bus: Bus, nats_server: RealNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("liteio_bus.consuming.ACK_WAIT_SECONDS", 0.5)
    monkeypatch.setattr("liteio_bus.consuming._HEARTBEAT_SECONDS", 0.1)
    healed: dict[str, list[bytes]] = {"a": [], "b": []}
    at_work: set[bytes] = set()

    def healer(name: str, is_hanging: bool) -> Heal:
        async def heal(one: HealTask) -> HealResult:
            assert one.name.key not in at_work, "nothing is done twice at once"
            at_work.add(one.name.key)
            try:
                await asyncio.sleep(1000 if is_hanging else 0.01)
                healed[name].append(one.name.key)
                return WHOLE
            finally:
                at_work.discard(one.name.key)

        return heal

    publisher = EventPublisher(bus, EventOrigin("r"))
    await asyncio.gather(*(publisher.publish_heal_task(task(number)) for number in range(20)))
    async with Bus(nats_server.url, name="other") as other:
        async with consuming(bus, healer("a", True)), consuming(other, healer("b", False), workers=2):
            await until_count(bus, HEAL_STREAM, 1)  # the heartbeat keeps the one that hangs with its healer
            await asyncio.sleep(1.0)
            assert await count(bus, HEAL_STREAM) == 1
        async with consuming(other, healer("b", False)):
            await until_count(bus, HEAL_STREAM, 0)
    assert (healed["a"], sorted(healed["b"])) == ([], sorted(b"%d" % number for number in range(20)))


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

    async def heal(_: HealTask) -> HealResult:
        done.set()
        return WHOLE

    healing = asyncio.create_task(HealConsumer(bus, heal, workers=1).run())
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
