"""Nodes that are slow, gone, back, or half there; and calls that travel together."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest
from live_node import connected, connection_to, serving
from tcp_proxy import TcpProxy

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_base.ids import DriveId, VersionId
from liteio_contracts.storage import Commit, DriveStatus, KeyAnswer, KeyName, KeyQuery, ListQuery
from liteio_contracts.storage_errors import (
    DriveOffline,
    DriveTimeout,
    DriveUnavailable,
    GenerationChanged,
    StorageError,
    Superseded,
)
from liteio_drives.remote import call_batching
from liteio_drives.remote.limits import BATCH_BYTES
from liteio_drives.remote.node_connection import NodeConnection
from liteio_drives.remote.remote_drive import RemoteDrive
from liteio_formats.record import Kind, Record, Space, encode_record
from liteio_storage_node.handlers import calls as calls_handler
from liteio_testkit.contract_bench import row_commit
from liteio_testkit.intercepted_drive import Answer, Call, InterceptedDrive
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.seeded_randomness import SeededRandomness

CLOCK = SystemClock()


def soon(seconds: float = 10.0) -> Deadline:
    return Deadline.after(seconds, CLOCK)


def memory_drive(slot: int = 0) -> MemoryDrive:
    return MemoryDrive(slot, ManualClock(), SeededRandomness(f"trouble {slot}"))


def remote_of(node: NodeConnection, drive: MemoryDrive) -> RemoteDrive:
    return RemoteDrive(node, drive.drive_id, drive.slot)


def query(key: bytes = b"k") -> KeyQuery:
    return KeyQuery(KeyName(Space.OBJECT, "", key))  # type: ignore[arg-type]  # the system bucket


def commit_of(key: bytes, time_: int, base: int | None = None, tags: str = "") -> Commit:
    record = Record(
        space=Space.OBJECT,
        bucket_id="",  # type: ignore[arg-type]  # the system bucket
        key=key,
        version_id=VersionId(""),
        kind=Kind.VALUE,
        created=time_,  # type: ignore[arg-type]  # a small time
        time=time_,  # type: ignore[arg-type]
        base=0,  # type: ignore[arg-type]
        generations=(),
        tags=tags,
    )
    assert encode_record(record)
    return Commit((row_commit(record, **({} if base is None else {"base": base})),))


async def until(holds: Callable[[], bool], seconds: float = 10.0) -> None:
    for _ in range(round(seconds / 0.02)):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it did not come to hold")


def is_slow(drive: RemoteDrive) -> bool:
    return drive.is_likely_slow


class CountingDrive(InterceptedDrive):
    """Counts calls, and holds those back that it is told to."""

    def __init__(self, inner: MemoryDrive) -> None:
        super().__init__(inner)
        self.counts: dict[str, int] = {}
        self.held: dict[str, asyncio.Event] = {}

    async def until_called(self, operation: str) -> None:
        await until(lambda: bool(self.counts.get(operation)))

    async def intercept(self, operation: str, call: Call[Answer], deadline: Deadline) -> Answer:
        self.counts[operation] = self.counts.get(operation, 0) + 1
        if operation in self.held:
            await self.held[operation].wait()
        return await call(deadline)


@pytest.fixture
async def proxied() -> AsyncIterator[tuple[CountingDrive, TcpProxy, NodeConnection, RemoteDrive]]:
    memory = memory_drive()
    drive = CountingDrive(memory)
    async with serving([drive]) as server, TcpProxy(server.port) as proxy, connection_to(proxy.port) as node:
        yield drive, proxy, node, remote_of(node, memory)


async def test_calls_of_one_turn_travel_as_one_request(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[int] = []
    exchange = call_batching.CallBatcher._exchange

    async def count(self: call_batching.CallBatcher, batch: list[call_batching._Waiting]) -> None:
        sent.append(len(batch))
        await exchange(self, batch)

    monkeypatch.setattr(call_batching.CallBatcher, "_exchange", count)
    drives = [memory_drive(slot) for slot in range(4)]
    async with connected(drives) as node:
        remotes = [remote_of(node, drive) for drive in drives]
        answers = await asyncio.gather(*(remote.status(deadline=soon()) for remote in remotes for _ in range(100)))
    assert sent == [256, 144]
    assert [status.slot for status in answers] == [slot for slot in range(4) for _ in range(100)]


async def test_one_slow_drive_does_not_hold_back_the_others_of_its_request() -> None:
    quick, slow = memory_drive(0), memory_drive(1)
    held = CountingDrive(slow)
    held.held["status"] = asyncio.Event()
    async with connected([quick, held]) as node:
        waiting = asyncio.create_task(remote_of(node, slow).status(deadline=soon()))
        status: DriveStatus = await remote_of(node, quick).status(deadline=soon())
        assert status.slot == 0
        assert not waiting.done()
        held.held["status"].set()
        assert (await waiting).slot == 1


@pytest.mark.parametrize("limit_bytes", [BATCH_BYTES, 1])
async def test_an_answer_that_can_not_be_packed_spoils_no_other(
    monkeypatch: pytest.MonkeyPatch, limit_bytes: int
) -> None:
    """Whether the answers of one turn leave together, or are too large for that."""
    monkeypatch.setattr(calls_handler, "BATCH_BYTES", limit_bytes)
    drives = [memory_drive(0), memory_drive(1)]

    async def status(*, deadline: Deadline) -> object:
        return object()

    monkeypatch.setattr(drives[1], "status", status)
    async with connected(drives) as node:
        remotes = [remote_of(node, drive) for drive in drives for _ in range(3)]
        answers = await asyncio.gather(*(remote.status(deadline=soon()) for remote in remotes), return_exceptions=True)
    assert [type(answer) for answer in answers] == [DriveStatus] * 3 + [DriveUnavailable] * 3


async def test_a_call_ends_at_its_deadline() -> None:
    memory = memory_drive()
    drive = CountingDrive(memory)
    drive.held["read_key"] = asyncio.Event()
    async with connected([drive]) as node:
        remote = remote_of(node, memory)
        started = time.monotonic()
        with pytest.raises(DriveTimeout):
            await remote.read_key(query(), deadline=soon(0.2))
        assert time.monotonic() - started < 1.0
        await remote.status(deadline=soon())
        with pytest.raises(DriveTimeout):
            await remote.status(deadline=soon(0))


async def test_a_drive_that_the_node_does_not_have_is_offline() -> None:
    memory = memory_drive()
    async with connected([memory]) as node:
        stranger, remote = RemoteDrive(node, DriveId("f" * 32), 0), remote_of(node, memory)
        asked = [drive.read_key(query(), deadline=soon()) for drive in (remote, stranger, stranger, remote)]
        first, *offline, last = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(answer) for answer in (first, last)] == 2 * [KeyAnswer]  # What travels with the others is answered.
    assert [type(error) for error in offline] == 2 * [DriveOffline]
    assert all("this node has no such drive" in str(error) for error in offline)


async def test_refusals_come_back_as_the_very_class_with_their_fields() -> None:
    memory = memory_drive()
    async with connected([memory]) as node:
        remote = remote_of(node, memory)
        await remote.commit(commit_of(b"k", 5), deadline=soon())
        with pytest.raises(Superseded) as raised:
            await remote.commit(commit_of(b"k", 7, base=3), deadline=soon())
        assert raised.value.fields["newest"] == 5
        with pytest.raises(GenerationChanged):
            await remote.set_authoritative("0" * 16, deadline=soon())  # type: ignore[arg-type]


async def test_a_bug_in_a_drive_is_no_answer_and_the_node_lives(caplog: pytest.LogCaptureFixture) -> None:
    memory = memory_drive()

    class Broken(InterceptedDrive):
        async def intercept(self, operation: str, call: Call[Answer], deadline: Deadline) -> Answer:
            if operation == "read_key":
                raise ZeroDivisionError("planted")
            return await call(deadline)

    async with connected([Broken(memory)]) as node:
        remote = remote_of(node, memory)
        with pytest.raises(DriveUnavailable) as raised:
            await remote.read_key(query(), deadline=soon())
        assert "planted" not in str(raised.value), "what went wrong inside stays inside"
        assert "planted" in caplog.text
        await remote.status(deadline=soon())


async def test_a_read_survives_a_broken_connection(
    proxied: tuple[CountingDrive, TcpProxy, NodeConnection, RemoteDrive],
) -> None:
    _, proxy, _, remote = proxied
    await remote.status(deadline=soon())
    proxy.reset()
    assert (await remote.status(deadline=soon())).slot == 0
    assert proxy.connection_count == 2


async def test_a_commit_that_may_have_arrived_is_not_repeated(
    proxied: tuple[CountingDrive, TcpProxy, NodeConnection, RemoteDrive],
) -> None:
    drive, proxy, _, remote = proxied
    await remote.status(deadline=soon())
    drive.held["commit"] = asyncio.Event()
    committing = asyncio.ensure_future(remote.commit(commit_of(b"k", 5), deadline=soon()))
    await drive.until_called("commit")
    proxy.reset()
    with pytest.raises(DriveUnavailable):
        await committing
    drive.held["commit"].set()
    answer: KeyAnswer = await remote.read_key(query(), deadline=soon())
    assert answer.head_time == 5, "it was carried out although its client's connection is gone"
    assert drive.counts["commit"] == 1


async def test_a_read_whose_answer_was_lost_is_asked_once_more(
    proxied: tuple[CountingDrive, TcpProxy, NodeConnection, RemoteDrive],
) -> None:
    drive, proxy, _, remote = proxied
    await remote.status(deadline=soon())
    drive.held["read_key"] = asyncio.Event()
    reading = asyncio.ensure_future(remote.read_key(query(), deadline=soon()))
    await drive.until_called("read_key")
    proxy.reset()
    drive.held.pop("read_key").set()
    assert (await reading).head_time == 0
    assert drive.counts["read_key"] == 2


async def test_a_node_that_is_gone_fails_calls_at_once_and_is_found_again() -> None:
    memory = memory_drive()
    async with serving([memory]) as server:
        port = server.port
        node = connection_to(port)
        remote = remote_of(node, memory)
        await remote.status(deadline=soon())
    for _ in range(2):  # the first may still find the old connection
        with pytest.raises(DriveUnavailable):
            await remote.status(deadline=soon())
    await until(lambda: node.is_down)
    assert is_slow(remote)
    started = time.monotonic()
    with pytest.raises(DriveOffline):
        await remote.status(deadline=soon())
    assert time.monotonic() - started < 0.05
    async with serving([memory], port=port):
        await until(lambda: not node.is_down)
        assert (await remote.status(deadline=soon())).slot == 0
        await node.close()


async def test_a_restarted_node_that_forgot_the_session_is_greeted_again_even_for_a_commit() -> None:
    memory = memory_drive()
    async with serving([memory]) as server, TcpProxy(server.port) as proxy, connection_to(proxy.port) as node:
        remote = remote_of(node, memory)
        await remote.status(deadline=soon())
        async with serving([memory]) as successor:
            proxy._target_port = successor.port
            proxy.reset()
            await asyncio.sleep(0.05)
            await remote.commit(commit_of(b"k", 5), deadline=soon())
            assert (await remote.read_key(query(), deadline=soon())).head_time == 5


async def test_a_half_open_connection_is_noticed_within_five_seconds(
    proxied: tuple[CountingDrive, TcpProxy, NodeConnection, RemoteDrive],
) -> None:
    _, proxy, _, remote = proxied
    await remote.status(deadline=soon())
    proxy.is_blackhole = True
    started = time.monotonic()
    with pytest.raises(StorageError):
        await remote.commit(commit_of(b"k", 5), deadline=soon(30.0))
    assert time.monotonic() - started < 6.0


async def test_a_page_too_large_for_the_wire_comes_shorter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls_handler, "REPLY_BYTES_MAX", 20_000)
    memory = memory_drive()
    async with connected([memory]) as node:
        remote = remote_of(node, memory)
        for number in range(20):
            await remote.commit(commit_of(b"k%02d" % number, 5, tags="t" * 2000), deadline=soon())
        page = await remote.list_page(ListQuery(space=Space.OBJECT, bucket_id=""), deadline=soon())  # type: ignore[arg-type]
        assert 1 <= len(page.items) < 8
        assert page.is_truncated
