"""What an operation of the object layer asks of each node, request by request, where drives and locks are far away."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import msgspec
import pytest
from live_node import connection_to, serving
from spies import open_table

from liteio_base.clock import SystemClock, SystemRandomness
from liteio_base.deadline import Deadline
from liteio_contracts.lock_names import object_lock_name
from liteio_contracts.object_errors import ObjectMissing, OperationTimeout, PreconditionFailed
from liteio_contracts.object_layer import BucketInfo, CreateBucket, DeleteObject, PutObject, ReadObject, WriteCondition
from liteio_contracts.storage import KeyQuery
from liteio_drives.remote import call_batching
from liteio_drives.remote.remote_drive import RemoteDrive
from liteio_drives.remote.remote_locks import RemoteLocks
from liteio_erasure.code import CodeParams
from liteio_formats.record import Space
from liteio_objects.drive_set import DriveSet
from liteio_objects.layer import Store
from liteio_objects.store_map import StoreMap
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.seeded_randomness import SeededRandomness
from liteio_testkit.store_bench import DEPLOYMENT, PlainBody

CLOCK = SystemClock()
CODE = CodeParams(2, 2)
NOBODY_WAITS_FOR = {"lock.release", "confirm"}


@dataclass(slots=True)
class Rig:
    """A gateway's store over four nodes with a drive each; `requests`: of each node's those with calls that somebody
    waits for, in order."""

    store: Store
    locks: RemoteLocks
    requests: dict[str, list[list[str]]]

    async def put(self, key: str, condition: WriteCondition | None = None) -> None:
        wanted = PutObject("photos", key) if condition is None else PutObject("photos", key, condition=condition)
        await self.store.put(wanted, PlainBody(b"content"), deadline=soon())

    async def delete(self, key: str) -> None:
        await self.store.delete(DeleteObject("photos", key), deadline=soon())

    async def etag(self, key: str) -> str:
        return (await self.store.head(ReadObject("photos", key), deadline=soon())).etag

    async def quiet(self) -> None:
        """Until confirms and releases have left; then forget what was asked."""
        await asyncio.sleep(0.1)
        for requests in self.requests.values():
            requests.clear()

    def seen(self) -> list[list[str]]:
        """What every node was asked, one like the other."""
        first, *others = self.requests.values()
        assert others == [first] * (CODE.width - 1)
        return first


def is_of_the_key(call: call_batching._Waiting) -> bool:
    """Not one that nobody waits for, and not of the bucket, whose configuration is read anew every now and then."""
    if call.method == "read_key":
        (query,) = msgspec.msgpack.decode(call.arguments, type=tuple[KeyQuery])
        return query.name.space is not Space.BUCKET
    return call.method not in NOBODY_WAITS_FOR


def soon() -> Deadline:
    return Deadline.after(10.0, CLOCK)


@asynccontextmanager
async def gateway(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Rig]:
    drives = [MemoryDrive(slot, CLOCK, SeededRandomness(f"drive {slot}")) for slot in range(CODE.width)]
    requests: dict[str, list[list[str]]] = {}
    exchange = call_batching.CallBatcher._exchange

    async def note(self: call_batching.CallBatcher, batch: list[call_batching._Waiting]) -> None:
        waited_for = [waiting.method for waiting in batch if is_of_the_key(waiting)]
        if waited_for:
            requests.setdefault(batch[0].node, []).append(waited_for)
        await exchange(self, batch)

    monkeypatch.setattr(call_batching.CallBatcher, "_exchange", note)
    async with AsyncExitStack() as opened:
        servers = [await opened.enter_async_context(serving([drive], locks=open_table())) for drive in drives]
        nodes = [await opened.enter_async_context(connection_to(server.port)) for server in servers]
        locks = await opened.enter_async_context(RemoteLocks(nodes, CLOCK, SystemRandomness()))
        remotes = tuple(
            RemoteDrive(node, drive.drive_id, drive.slot) for node, drive in zip(nodes, drives, strict=True)
        )
        store = Store(StoreMap(DEPLOYMENT, [DriveSet(remotes, CODE, 0)]), CLOCK, SystemRandomness(), locks)
        opened.push_async_callback(store.close)
        await store.create_bucket(CreateBucket("photos", "root"), deadline=soon())
        rig = Rig(store, locks, requests)
        await rig.quiet()
        yield rig


async def test_every_write_takes_two_round_trips(monkeypatch: pytest.MonkeyPatch) -> None:
    """Lock, read and precondition in the first, the commit in the second. Of a key that is likely new, or likely
    there to be removed, nothing is read; where nothing is to be done the first is the only one."""
    async with gateway(monkeypatch) as rig:
        read_first = [["lock.acquire", "read_key"], ["commit"]]

        await rig.put("first of its bucket")
        assert rig.seen() == read_first
        await rig.quiet()
        await rig.put("new")
        assert rig.seen() == [["lock.acquire"], ["commit"]]
        await rig.quiet()
        await rig.put("new")  # The guess that it is new is refused, and costs a round trip each time it is wrong.
        assert rig.seen() == [["lock.acquire"], ["commit"], ["read_key"], ["commit"]]
        await rig.quiet()
        await rig.put("new")
        assert rig.seen() == read_first
        await rig.quiet()
        await rig.put("created", WriteCondition(if_absent=True))
        assert rig.seen() == read_first
        await rig.quiet()
        etag = await rig.etag("new")
        await rig.quiet()
        await rig.put("new", WriteCondition(if_etag=etag))
        assert rig.seen() == read_first
        await rig.quiet()
        with pytest.raises(PreconditionFailed):
            await rig.put("new", WriteCondition(if_absent=True))
        assert rig.seen() == read_first[:1]
        await rig.quiet()
        await rig.delete("new")
        assert rig.seen() == [["lock.acquire"], ["commit"]]
        with pytest.raises(ObjectMissing):
            await rig.etag("new")


async def test_who_had_to_wait_reads_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read with a request that was refused is older than the lock."""
    async with gateway(monkeypatch) as rig, AsyncExitStack() as other:
        await rig.put("key")
        etag = await rig.etag("key")
        holders = RemoteLocks(rig.locks.nodes, CLOCK, SystemRandomness())
        await other.enter_async_context(holders)
        name = lock_of(await rig.store.bucket("photos", deadline=soon()), b"key")
        await rig.quiet()
        async with holders.lock([name], deadline=soon()):
            await rig.quiet()
            writing = asyncio.create_task(rig.put("key", WriteCondition(if_etag=etag)))
            await asyncio.sleep(0.1)
            assert rig.seen() == [["lock.acquire", "read_key"], ["lock.wait"]]
        await writing
        assert rig.seen() == [["lock.acquire", "read_key"], ["lock.wait"], ["lock.acquire", "read_key"], ["commit"]]


async def test_a_holder_whose_lease_is_over_begins_no_commit(monkeypatch: pytest.MonkeyPatch) -> None:
    async with gateway(monkeypatch) as rig:
        await rig.put("key")
        await rig.quiet()
        given = rig.locks._held  # A lease is over as soon as it is given.
        is_held = property(lambda lease: lease not in given)
        monkeypatch.setattr("liteio_drives.remote.remote_locks.RemoteLease.is_held", is_held)
        with pytest.raises(OperationTimeout, match="lock was lost"):
            await rig.put("key", WriteCondition(if_etag="*"))
        assert rig.seen() == [["lock.acquire", "read_key"]]


def lock_of(info: BucketInfo, key: bytes) -> bytes:
    return object_lock_name(info.bucket_id, key)
