"""The outbox drain over the real object layer and drives in memory: which events come, and that none is lost."""

import asyncio
import json

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_base.ids import NO_TIME, NULL_VERSION, BucketId, HybridTime
from liteio_bus.connection import Bus, BusUnavailable
from liteio_bus.events import EventOrigin
from liteio_bus.outbox_drain import OutboxDrain
from liteio_bus.outbox_verdict import Verdict, judge
from liteio_bus.publishing import EventPublisher
from liteio_bus.streams import EVENTS_STREAM
from liteio_contracts.messages import (
    HealReason,
    HealTask,
    ObjectChange,
    decode_outbox_row,
    encode_outbox_row,
    object_change,
)
from liteio_contracts.object_layer import BucketChange, DeleteObject
from liteio_contracts.storage import Commit, KeyName, RowCommit, VersionRef
from liteio_formats.record import Kind, Record, Space, encode_record
from liteio_testkit.polling import until
from liteio_testkit.real_nats import RealNats
from liteio_testkit.store_bench import StoreBench


class RecordingPublisher(EventPublisher):
    """Keeps what it is given; can be away."""

    def __init__(self) -> None:
        self.events: list[ObjectChange] = []
        self.tasks: list[HealTask] = []
        self.is_away = False

    @property
    def is_ready(self) -> bool:
        return not self.is_away

    async def publish(self, change: ObjectChange) -> None:
        if self.is_away:
            raise BusUnavailable("away")
        self.events.append(change)

    async def publish_heal_task(self, task: HealTask) -> None:
        self.tasks.append(task)


async def store_with_events() -> StoreBench:
    bench = StoreBench.of(4)
    await bench.make_bucket()
    await bench.store.change_bucket("photos", BucketChange(has_events=True), deadline=bench.deadline)
    return bench


def drain_of(bench: StoreBench, publisher: EventPublisher) -> OutboxDrain:
    return OutboxDrain(lambda: bench.drives, publisher, SystemClock())


async def rows_left(bench: StoreBench) -> int:
    now_ns = bench.clock.now_ns()
    return sum([len(await drive.outbox(now_ns, 1000, deadline=bench.deadline)) for drive in bench.drives])


async def until_drained(bench: StoreBench) -> None:
    async def is_empty() -> bool:
        return await rows_left(bench) == 0

    await until(is_empty, 20)


async def test_each_change_is_published_once_though_several_drives_hold_it() -> None:
    bench, publisher = await store_with_events(), RecordingPublisher()
    await bench.put("a", b"1")
    await bench.store.delete(DeleteObject("photos", "a"), deadline=bench.deadline)
    await bench.settle()
    assert await rows_left(bench) > 2  # several drives hold copies
    drain = drain_of(bench, publisher)
    await drain.drain_once()
    assert sorted((one.event_name, one.key) for one in publisher.events) == [
        ("s3:ObjectCreated:Put", b"a"),
        ("s3:ObjectRemoved:Delete", b"a"),
    ]
    assert await rows_left(bench) == 0
    assert await drain.drain_once() == 0


async def test_a_bucket_without_events_has_none() -> None:
    bench, publisher = StoreBench.of(4), RecordingPublisher()
    await bench.make_bucket()
    await bench.put("a", b"1")
    await bench.settle()
    await drain_of(bench, publisher).drain_once()
    assert publisher.events == []


async def test_while_the_bus_is_away_rows_stay() -> None:
    bench, publisher = await store_with_events(), RecordingPublisher()
    publisher.is_away = True
    await bench.put("a", b"1")
    await bench.settle()
    drain = drain_of(bench, publisher)
    assert await drain.drain_once() == 0
    assert await rows_left(bench) == 3
    publisher.is_away = False
    await drain.drain_once()
    assert len(publisher.events) == 1
    assert await rows_left(bench) == 0


async def test_events_of_replaced_objects_and_of_a_removed_bucket_still_come() -> None:
    bench, publisher = await store_with_events(), RecordingPublisher()
    await bench.put("a", b"1")
    await bench.put("a", b"2")
    await bench.store.delete(DeleteObject("photos", "a"), deadline=bench.deadline)
    await bench.settle()
    await bench.store.delete_bucket("photos", deadline=bench.deadline)
    await bench.settle()
    await drain_of(bench, publisher).drain_once()
    assert len({one.event_id for one in publisher.events}) == len(publisher.events) == 3


async def test_a_drive_in_trouble_does_not_hold_up_the_others() -> None:
    bench, publisher = await store_with_events(), RecordingPublisher()
    await bench.put("a", b"1")
    await bench.settle()
    drain = drain_of(bench, publisher)
    for drive in bench.drives[:2]:
        drive.set_offline()
    await drain.drain_once()
    assert len(publisher.events) == 1
    for drive in bench.drives[:2]:
        drive.set_offline(False)
    await drain.drain_once()
    assert len(publisher.events) == 1  # its other copies are known to be published
    assert await rows_left(bench) == 0


async def test_a_row_that_can_not_be_read_makes_way() -> None:
    bench, publisher = await store_with_events(), RecordingPublisher()
    await commit_lone(bench, b"\xffnonsense")
    assert await rows_left(bench) == 1
    await bench.put("a", b"1")
    await bench.settle()
    await drain_of(bench, publisher).drain_once()
    assert len(publisher.events) == 1
    assert await rows_left(bench) == 0


async def test_heal_tasks_in_the_outbox_are_published_too() -> None:
    bench, publisher = await store_with_events(), RecordingPublisher()
    task = HealTask.for_key(0, KeyName(Space.OBJECT, BucketId("b"), b"k"), HealReason.BAD_SHARD)
    await commit_lone(bench, encode_outbox_row(task))
    await drain_of(bench, publisher).drain_once()
    assert publisher.tasks == [task]


async def test_a_change_waits_while_undecided_and_goes_when_it_was_rolled_back() -> None:
    bench = await store_with_events()
    lone = bench.drives[0]
    change = await commit_lone(bench)
    deadline = Deadline.after(5, bench.clock)
    assert await judge(lone, change, now_ns=bench.clock.now_ns(), deadline=deadline) is Verdict.WAIT
    publisher = RecordingPublisher()
    drain = drain_of(bench, publisher)
    assert await drain.drain_once() == 0
    await lone.roll_back(VersionRef(change.key_name, change.version_id, change.time), deadline=deadline)
    assert await judge(lone, change, now_ns=bench.clock.now_ns(), deadline=deadline) is Verdict.DROP
    assert await drain.drain_once() == 1
    assert publisher.events == []


async def commit_lone(bench: StoreBench, event: bytes | None = None) -> ObjectChange:
    """What a gateway leaves that dies after its commit reached one drive; `event` in place of the right one."""
    now = HybridTime(bench.clock.now_ns())
    bucket = await bench.store.bucket("photos", deadline=bench.deadline)
    record = Record(
        space=Space.OBJECT,
        bucket_id=bucket.bucket_id,
        key=b"lone",
        version_id=NULL_VERSION,
        kind=Kind.DELETE_MARKER,
        created=now,
        time=now,
        base=NO_TIME,
        generations=tuple(drive.generation for drive in bench.drives),
    )
    change = object_change(
        record, event_name="s3:ObjectRemoved:DeleteMarkerCreated", bucket="photos", has_versions=True, facts={}
    )
    commit = Commit(
        (RowCommit(encode_record(record)),), events=(encode_outbox_row(change) if event is None else event,)
    )
    await bench.drives[0].commit(commit, deadline=bench.deadline)
    return change


async def test_over_a_real_bus_nothing_is_lost_while_it_is_away(nats_server: RealNats) -> None:
    bench = await store_with_events()
    async with Bus(nats_server.url, name="drain") as bus:
        publisher = EventPublisher(bus, EventOrigin("us-east-1"))
        draining = asyncio.create_task(drain_of(bench, publisher).run())
        async with asyncio.timeout(30):
            await bus.wait_until_ready()
            await bench.put("before", b"1")
            await until_drained(bench)
            nats_server.stop()
            await bench.put("during", b"2")
            await bench.settle()
            assert await rows_left(bench) == 3
            await nats_server.start()
            await until_drained(bench)
            subscription = await bus.jetstream.pull_subscribe("liteio.v1.events.>", stream=EVENTS_STREAM)
            messages = await subscription.fetch(10, timeout=1)
        assert [json.loads(message.data)["Key"] for message in messages] == ["photos/before", "photos/during"]
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)


def test_rows_are_what_the_object_layer_writes() -> None:
    async def payloads() -> list[bytes]:
        bench = await store_with_events()
        await bench.put("a", b"1")
        rows = await bench.drives[0].outbox(bench.clock.now_ns(), 10, deadline=bench.deadline)
        return [row.payload for row in rows]

    for payload in asyncio.run(payloads()):
        assert isinstance(decode_outbox_row(payload), ObjectChange)
