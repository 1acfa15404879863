"""A request that ends at any of its awaits, by cancellation or because its client left. Over the real object layer:
nothing half done is seen, no lock is held, no task, shard file or upload stays behind, and the next request goes on.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final

import pytest
from pydantic import SecretStr
from services.gateway.tests.memory_layer import MemoryLayer
from services.gateway.tests.raw_client import ACCESS_KEY, SECRET_KEY, Answer, RawClient, pieces_of

from liteio_base.deadline import Deadline
from liteio_erasure.code import CodeParams
from liteio_gateway.app import build_app
from liteio_gateway.asgi import BrokenAnswer
from liteio_gateway.settings import GatewaySettings
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.store_map import StoreMap
from liteio_s3.credentials import RootCredentials
from liteio_testkit.intercepted_drive import Answer as DriveAnswer
from liteio_testkit.intercepted_drive import Call, InterceptedDrive
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.memory_locks import MemoryLocks
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.store_bench import DEPLOYMENT

OLD: Final = b"old" * 60_000  # in shard files
NEW: Final = b"new!" * 60_000
SMALL: Final = b"small"  # within the record
TURNS_MAX: Final = 2_000


class HesitantDrive(InterceptedDrive):
    """Lets the loop turn before and after each call, so that every call can be cut off on either side of its effect."""

    async def intercept(self, operation: str, call: Call[DriveAnswer], deadline: Deadline) -> DriveAnswer:
        await asyncio.sleep(0)
        answer = await call(deadline)
        await asyncio.sleep(0)
        return answer


class Rig:
    """A gateway over a store over four drives in memory, with an object that was there before."""

    def __init__(self) -> None:
        clock = MemoryLayer().clock
        randomness = SeededRandomness("cancelled")
        self.drives = [
            MemoryDrive(slot, clock, randomness.fork(f"drive {slot}"), garbage_grace_seconds=0) for slot in range(4)
        ]
        self.locks = MemoryLocks()
        drive_set = DriveSet(tuple(map(HesitantDrive, self.drives)), CodeParams.for_set(4), 0)
        self.store = Store(StoreMap(DEPLOYMENT, [drive_set]), clock, randomness, self.locks)
        settings = GatewaySettings(access_key=ACCESS_KEY, secret_key=SecretStr(SECRET_KEY))
        app = build_app(self.store, settings, RootCredentials(ACCESS_KEY, SECRET_KEY), clock)
        self.client = RawClient(app, MemoryLayer(clock))

    async def prepare(self) -> None:
        await self.client.send("PUT", "/bucket")
        await self.put(OLD)

    async def put(self, body: bytes) -> Answer:
        pieces = [piece async for piece in pieces_of(body, 50_000)]
        answer = await self.client.send("PUT", "/bucket/k", pieces=pieces)
        assert answer.status == 200, answer.body
        return answer

    async def get(self) -> bytes | None:
        got = await self.client.send("GET", "/bucket/k")
        assert got.status in (200, 404), got.body
        return got.body if got.status == 200 else None

    async def assert_nothing_is_left(self, *, files_per_drive: int) -> None:
        await self.store.engine.tasks.drain(5)
        assert self.locks.held_count == 0
        assert [drive._writers for drive in self.drives] == [[], [], [], []]
        assert asyncio.all_tasks() == {asyncio.current_task()}
        for drive in self.drives:
            await drive.collect_garbage(deadline=Deadline.after(5, self.store.engine.clock))
            assert len(drive.shard_files) == files_per_drive, drive.shard_files
        uploads = await self.client.send("GET", "/bucket", query="uploads")
        assert uploads.texts("UploadId") == []


async def cut_off(work: Awaitable[Any], turns: int) -> bool:
    """Cancel `work` after so many turns of the loop; True when it had ended by then."""
    task = asyncio.ensure_future(work)
    for _ in range(turns):
        await asyncio.sleep(0)
    has_ended = task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return has_ended


async def at_every_turn(attempt: Callable[[int], Awaitable[bool]]) -> None:
    """`attempt` with a cut after 0, 1, 2 … turns, until one is as long as the whole request."""
    for turns in range(TURNS_MAX):
        if await attempt(turns):
            assert turns > 10, "the request has few awaits to be cut at"
            return
    raise AssertionError("the request never ended")


@pytest.mark.parametrize("body", [NEW, SMALL], ids=["in files", "in the record"])
async def test_a_put_cut_off_at_any_await(body: bytes) -> None:
    rig = Rig()
    await rig.prepare()

    async def attempt(turns: int) -> bool:
        has_ended = await cut_off(rig.put(body), turns)
        await rig.store.engine.tasks.drain(5)
        seen = await rig.get()
        assert seen == body if has_ended else seen in (OLD, body)
        await rig.put(OLD)
        await rig.assert_nothing_is_left(files_per_drive=1)
        return has_ended

    await at_every_turn(attempt)


async def test_a_get_cut_off_at_any_await() -> None:
    rig = Rig()
    await rig.prepare()

    async def attempt(turns: int) -> bool:
        has_ended = await cut_off(rig.get(), turns)
        await rig.assert_nothing_is_left(files_per_drive=1)
        return has_ended

    await at_every_turn(attempt)


async def test_a_delete_cut_off_at_any_await() -> None:
    rig = Rig()
    await rig.prepare()

    async def attempt(turns: int) -> bool:
        has_ended = await cut_off(rig.client.send("DELETE", "/bucket/k"), turns)
        await rig.store.engine.tasks.drain(5)
        seen = await rig.get()
        assert seen is None if has_ended else seen in (OLD, None)
        await rig.put(OLD)
        await rig.assert_nothing_is_left(files_per_drive=1)
        return has_ended

    await at_every_turn(attempt)


async def test_a_copy_cut_off_at_any_await() -> None:
    rig = Rig()
    await rig.prepare()
    await rig.client.send("PUT", "/bucket/source", body=NEW)

    async def attempt(turns: int) -> bool:
        headers = {"x-amz-copy-source": "/bucket/source", "x-amz-checksum-algorithm": "CRC32"}
        has_ended = await cut_off(rig.client.send("PUT", "/bucket/k", headers=headers), turns)
        await rig.store.engine.tasks.drain(5)
        seen = await rig.get()
        assert seen == NEW if has_ended else seen in (OLD, NEW)
        await rig.put(OLD)
        await rig.assert_nothing_is_left(files_per_drive=2)
        return has_ended

    await at_every_turn(attempt)


async def test_a_part_and_a_completion_cut_off_at_any_await() -> None:
    rig = Rig()
    await rig.prepare()

    async def attempt(turns: int) -> bool:
        client = rig.client
        upload = (await client.send("POST", "/bucket/k", query="uploads")).text("UploadId")
        part = client.send("PUT", "/bucket/k", query=f"partNumber=1&uploadId={upload}", body=NEW)
        part_has_ended = await cut_off(part, turns)
        assert await rig.get() == OLD
        stored = await client.send("PUT", "/bucket/k", query=f"partNumber=1&uploadId={upload}", body=NEW)
        part_xml = f"<Part><PartNumber>1</PartNumber><ETag>{stored.headers['etag']}</ETag></Part>"
        document = f"<CompleteMultipartUpload>{part_xml}</CompleteMultipartUpload>".encode()

        def complete() -> Awaitable[Answer]:
            return client.send("POST", "/bucket/k", query=f"uploadId={upload}", body=document)

        has_ended = await cut_off(complete(), turns)
        await rig.store.engine.tasks.drain(5)
        assert await rig.get() in ((NEW,) if has_ended else (OLD, NEW))
        again = await complete()
        assert again.status == 200, again.body
        assert await rig.get() == NEW
        await rig.put(OLD)
        await rig.assert_nothing_is_left(files_per_drive=1)
        return has_ended and part_has_ended

    await at_every_turn(attempt)


async def test_a_client_that_leaves_at_any_piece_of_its_body_stores_nothing() -> None:
    rig = Rig()
    await rig.prepare()
    created = await rig.client.send("POST", "/bucket/k", query="uploads")
    upload = f"uploadId={created.text('UploadId')}"
    pieces = [piece async for piece in pieces_of(NEW, 30_000)]
    for query in ("", f"partNumber=1&{upload}"):
        for count in range(len(pieces)):
            gone = await rig.client.send(
                "PUT",
                "/bucket/k",
                query=query,
                pieces=pieces[:count] or [b""],
                headers={"content-length": str(len(NEW))},
                payload="UNSIGNED-PAYLOAD",
                hangs_up=True,
            )
            assert gone.status == 0
            assert await rig.get() == OLD
    assert (await rig.client.send("GET", "/bucket/k", query=upload)).texts("PartNumber") == []
    await rig.client.send("DELETE", "/bucket/k", query=upload)
    await rig.assert_nothing_is_left(files_per_drive=1)


async def test_a_client_that_leaves_while_it_reads_leaves_nothing_open() -> None:
    rig = Rig()
    await rig.prepare()
    large = b"0123456789abcdef" * (3 << 16)
    await rig.put(large)
    for count in range(1, 4):
        with pytest.raises(BrokenAnswer):
            await rig.client.send("GET", "/bucket/k", leaves_after=count)
        await rig.assert_nothing_is_left(files_per_drive=1)
    assert await rig.get() == large
