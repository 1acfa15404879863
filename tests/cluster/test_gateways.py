"""Three gateways over the same nodes: what one of them does, the others know at once."""

import asyncio
from collections.abc import Iterator

import pytest
from nats.aio.msg import Msg
from tests.support.cluster import CLUSTER_SECRET
from tests.support.rig import Rig, running_rig
from tests.support.s3_client import Answer, S3Client

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_bus.connection import Bus
from liteio_bus.subjects import events_of
from liteio_cluster.opening import open_store
from liteio_cluster.settings import StoreSettings
from liteio_contracts.object_layer import BucketChange
from liteio_testkit.polling import until

ROUNDS = 8
pytestmark = pytest.mark.timeout(180)


@pytest.fixture(scope="module")
def rig(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rig]:
    with running_rig(tmp_path_factory.mktemp("gateways"), gateway_count=3) as rig:
        yield rig


@pytest.fixture(scope="module")
def gateways(rig: Rig) -> list[S3Client]:
    return [rig.client(number) for number in range(3)]


def ok(answer: Answer) -> Answer:
    assert answer.is_success, (answer.status, answer.body[:300])
    return answer


def set_versioning(s3: S3Client, bucket: str, status: str) -> None:
    document = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>".encode()
    ok(s3.send("PUT", f"/{bucket}", query="versioning=", body=document))


def test_a_bucket_is_there_at_once_and_gone_at_once(gateways: list[S3Client]) -> None:
    for number in range(ROUNDS):
        one, two, three = gateways[number % 3 :] + gateways[: number % 3]
        one.create_bucket("comes-and-goes")
        ok(two.put("comes-and-goes", "key", b"content"))
        assert ok(three.get("comes-and-goes", "key")).body == b"content"
        assert set(three.list_keys("comes-and-goes")) == {"key"}
        ok(three.delete("comes-and-goes", "key"))
        ok(two.send("DELETE", "/comes-and-goes"))
        for s3 in (one, two, three):
            assert s3.put("comes-and-goes", "key", b"late").code == "NoSuchBucket"
            assert s3.get("comes-and-goes", "key").code == "NoSuchBucket"
            assert s3.send("GET", "/comes-and-goes", query="list-type=2").code == "NoSuchBucket"


def test_a_bucket_made_again_holds_nothing_of_the_old_one(gateways: list[S3Client]) -> None:
    one, two, three = gateways
    for number in range(ROUNDS):
        one.create_bucket("again")
        ok(two.put("again", f"of-{number}", b"content"))
        ok(three.get("again", f"of-{number}"))
        ok(one.delete("again", f"of-{number}"))
        ok(two.send("DELETE", "/again"))
        three.create_bucket("again")
        ok(one.put("again", "new", b"new"))
        for s3 in gateways:
            assert ok(s3.get("again", "new")).body == b"new"
            assert set(s3.list_keys("again")) == {"new"}
        ok(two.delete("again", "new"))
        ok(three.send("DELETE", "/again"))


def test_versioning_switched_on_one_is_on_at_once(gateways: list[S3Client]) -> None:
    gateways[0].create_bucket("versions")
    for number in range(ROUNDS):
        one, two, three = gateways[number % 3 :] + gateways[: number % 3]
        set_versioning(one, "versions", "Enabled")
        kept = ok(two.put("versions", "key", b"first")).headers["x-amz-version-id"]
        newer = ok(three.put("versions", "key", b"second")).headers["x-amz-version-id"]
        assert len({kept, newer, "null"}) == 3
        set_versioning(three, "versions", "Suspended")
        assert ok(two.put("versions", "key", b"null")).headers.get("x-amz-version-id", "null") == "null"
        assert ok(one.put("versions", "key", b"null again")).headers.get("x-amz-version-id", "null") == "null"
        assert ok(two.get("versions", "key")).body == b"null again"
        assert ok(one.get("versions", "key", version_id=kept)).body == b"first"


def test_what_one_overwrites_or_removes_none_shows_any_more(gateways: list[S3Client]) -> None:
    gateways[0].create_bucket("objects")
    for number in range(6 * ROUNDS):
        writer = gateways[number % 3]
        body = f"value {number} ".encode() * (1, 500, 40_000)[number % 3]
        etag = ok(writer.put("objects", "key", body)).headers["etag"]
        for s3 in gateways:
            assert ok(s3.get("objects", "key")).body == body
            assert ok(s3.head("objects", "key")).headers["etag"] == etag
            assert s3.list_keys("objects")["key"] == (len(body), etag)
        if number % 4 == 0:
            ok(writer.delete("objects", "key"))
            for s3 in gateways:
                assert s3.get("objects", "key").status == 404
                assert "key" not in s3.list_keys("objects")


async def test_events_switched_on_and_off_by_one_process_are_so_in_all(rig: Rig, gateways: list[S3Client]) -> None:
    assert rig.nats is not None
    gateways[0].create_bucket("events")
    for number, s3 in enumerate(gateways):
        ok(s3.put("events", f"before-{number}", b"x"))  # each has the bucket's configuration in memory
    came: list[bytes] = []

    async def note(message: Msg) -> None:
        came.append(message.data)

    settings = StoreSettings.model_validate({"peers": rig.cluster.peers, "cluster_secret": CLUSTER_SECRET})
    async with (
        open_store(settings, SystemClock(), SystemRandomness()) as opened,
        Bus(rig.nats.url, name="a test") as bus,
    ):
        await bus.wait_until_ready()
        await bus.subscribe(events_of("events"), note)
        await opened.store.change_bucket("events", BucketChange(has_events=True), deadline=soon())
        for number, s3 in enumerate(gateways):
            ok(await asyncio.to_thread(s3.put, "events", f"on-{number}", b"x"))
        await opened.store.change_bucket("events", BucketChange(has_events=False), deadline=soon())
        for number, s3 in enumerate(gateways):
            ok(await asyncio.to_thread(s3.put, "events", f"off-{number}", b"x"))
        await until(lambda: all(any(f"on-{number}".encode() in data for data in came) for number in range(3)))
        await asyncio.sleep(1)
    assert not [data for data in came if b"off-" in data or b"before-" in data]


def soon() -> Deadline:
    return Deadline.after(20, SystemClock())
