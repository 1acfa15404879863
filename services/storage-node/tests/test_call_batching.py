"""When calls leave: those that somebody waits for at the end of the loop's turn, others with company."""

import asyncio
import gc
import weakref
from collections.abc import Coroutine
from typing import Any

import pytest
from live_node import connected, connection_to, serving

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_base.ids import BucketId, DriveId
from liteio_contracts.storage import KeyAnswer, KeyName, KeyQuery
from liteio_contracts.storage_errors import DriveTimeout
from liteio_drives.remote import call_batching
from liteio_drives.remote.call_batching import _grouped, _Waiting
from liteio_drives.remote.lock_table import LockTable
from liteio_drives.remote.messages import NODE, Holder
from liteio_drives.remote.node_connection import NodeConnection
from liteio_drives.remote.remote_drive import RemoteDrive
from liteio_formats.record import Space
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.memory_drive import MemoryDrive
from liteio_testkit.seeded_randomness import SeededRandomness

OWNER = bytes(16)


def soon(seconds: float = 10.0) -> Deadline:
    return Deadline.after(seconds, SystemClock())


def release(node: NodeConnection) -> "asyncio.Future[None]":
    return node.call(NODE, "lock.release", (OWNER,), deadline=soon(), is_lazy=True)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The methods of each request."""
    batches: list[list[str]] = []
    exchange = call_batching.CallBatcher._exchange

    async def note(self: call_batching.CallBatcher, batch: list[call_batching._Waiting]) -> None:
        batches.append([waiting.method for waiting in batch])
        await exchange(self, batch)

    monkeypatch.setattr(call_batching.CallBatcher, "_exchange", note)
    return batches


async def test_a_call_that_nobody_waits_for_travels_with_the_next(sent: list[list[str]]) -> None:
    async with connected([]) as node:
        released = release(node)
        await asyncio.sleep(0)
        await node.drives(deadline=soon())
        await released
    assert sent == [["lock.release", "drives"]]


async def test_a_call_that_nobody_waits_for_leaves_soon_also_alone(sent: list[list[str]]) -> None:
    async with connected([]) as node:
        await asyncio.gather(release(node), release(node))
        await node.drives(deadline=soon())
    assert sent == [["lock.release", "lock.release"], ["drives"]]


async def test_calls_are_begun_in_the_order_they_were_made() -> None:
    """So a lock that is given back and asked for by the next in one request is granted."""
    async with (
        serving([], locks=LockTable(SystemClock(), is_first=True)) as server,
        connection_to(server.port) as node,
    ):
        assert await node.call(NODE, "lock.acquire", OWNER, (b"key",), Holder(), deadline=soon())
        released = release(node)
        assert await node.call(NODE, "lock.acquire", b"another's owner.", (b"key",), Holder(), deadline=soon())
        await released


async def test_what_is_read_in_the_request_of_a_lock_is_read_behind_its_grant() -> None:
    table = LockTable(SystemClock(), is_first=True)
    held_then: list[int] = []

    class Noting(MemoryDrive):
        def read_key(self, query: KeyQuery, *, deadline: Deadline) -> Coroutine[Any, Any, KeyAnswer]:
            held_then.append(table.held_count)  # As a drive's thread would find it, which begins at once.
            return super().read_key(query, deadline=deadline)

    drive = Noting(0, ManualClock(), SeededRandomness("noting"))
    async with serving([drive], locks=table) as server, connection_to(server.port) as node:
        remote = RemoteDrive(node, drive.drive_id, 0)
        granted = node.call(NODE, "lock.acquire", OWNER, (b"key",), Holder(), deadline=soon())
        await remote.read_key(KeyQuery(KeyName(Space.OBJECT, BucketId(""), b"key")), deadline=soon())
        assert await granted
    assert held_then == [1]


def waiting(target: str, method: str = "read_key", *, at: float = 10.0, is_background: bool = False) -> _Waiting:
    answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    return _Waiting(DriveId(target), method, b"\x90", at, answer, "", is_background)


def shown(batch: list[_Waiting]) -> list[tuple[str, str, int]]:
    return [(group[0].target, group[0].method, len(group)) for group in _grouped(batch)]


async def test_calls_of_one_method_of_a_drive_travel_as_one() -> None:
    assert shown([waiting("a"), waiting("b"), waiting("a"), waiting("b")]) == [
        ("a", "read_key", 2),
        ("b", "read_key", 2),
    ]


async def test_what_a_drive_is_asked_keeps_its_order() -> None:
    mixed = [waiting("a"), waiting("b", "commit"), waiting("a", "commit"), waiting("b", "commit"), waiting("a")]
    assert shown(mixed) == [("a", "read_key", 1), ("b", "commit", 2), ("a", "commit", 1), ("a", "read_key", 1)]


async def test_what_is_asked_after_a_lock_does_not_join_what_was_asked_before_it() -> None:
    mixed = [waiting("a"), waiting(NODE, "lock.acquire"), waiting("a"), waiting(NODE, "lock.acquire"), waiting("a")]
    lock, read = (NODE, "lock.acquire", 1), ("a", "read_key", 1)
    assert shown(mixed) == [read, lock, read, lock, read]


async def test_calls_for_nobody_and_those_of_other_deadlines_travel_apart() -> None:
    assert len(shown([waiting("a"), waiting("a", is_background=True)])) == 2
    assert len(shown([waiting("a", at=10.0), waiting("a", at=10.9)])) == 1
    assert len(shown([waiting("a", at=10.0), waiting("a", at=11.1)])) == 2


async def test_a_deadline_that_has_passed_sends_nothing(sent: list[list[str]]) -> None:
    async with connected([]) as node:
        with pytest.raises(DriveTimeout):
            await node.call(NODE, "drives", deadline=soon(0.0))
    assert not sent


async def test_closing_ends_the_calls_that_have_not_left() -> None:
    async with connected([]) as node:
        released = release(node)
    with pytest.raises(asyncio.CancelledError):
        await released


async def test_an_answer_is_not_kept_once_it_was_given() -> None:
    """Were call and deadline a cycle, pages of listings would wait for the collector, which comes seldom."""
    async with connected([]) as node:
        gc.disable()
        try:
            call = node.call(NODE, "drives", deadline=soon())
            await call
            given = weakref.ref(call)
            del call
            await asyncio.sleep(0.05)
            assert given() is None
        finally:
            gc.enable()
