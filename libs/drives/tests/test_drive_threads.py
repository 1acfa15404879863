"""Which calls share a batch, and who waits for whom."""

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from liteio_base.clock import SystemClock
from liteio_base.deadline import Deadline
from liteio_drives.drive_threads import Answer, Job, JobThreads

CLOCK = SystemClock()
PATIENCE_SECONDS = 5.0  # far longer than any of these tests should take


class Batches:
    """A handler that notes how many jobs came together, and works on them only while `go` is set."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.go = threading.Event()
        self.go.set()

    def handle(self, jobs: list[Job], _: Answer) -> bool:
        self.sizes.append(len(jobs))
        self.go.wait(PATIENCE_SECONDS)
        return False


@pytest.fixture
def batches() -> Batches:
    return Batches()


def threads_over(batches: Batches, gather_seconds: float) -> JobThreads:
    return JobThreads(
        "test",
        batches.handle,
        clock=CLOCK,
        batch_max=100,
        gather_seconds=gather_seconds,
        hung_after=5.0,
    )


@pytest.fixture
async def threads(batches: Batches) -> AsyncIterator[JobThreads]:
    opened = threads_over(batches, PATIENCE_SECONDS)
    yield opened
    await opened.close(5.0)


def call(threads: JobThreads, *, is_lazy: bool = False) -> "asyncio.Future[None]":
    return threads.call(lambda _: None, Deadline.after(30, CLOCK), is_lazy=is_lazy)


async def test_a_caller_alone_never_waits_for_company(threads: JobThreads, batches: Batches) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS / 2):
        for _ in range(3):
            await call(threads)
    assert batches.sizes == [1, 1, 1]


async def test_the_first_of_many_waits_for_as_many_as_came_before(threads: JobThreads, batches: Batches) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS / 2):
        await asyncio.gather(*(call(threads) for _ in range(3)))
        first = call(threads)
        await asyncio.sleep(0.05)
        assert not first.done(), "it waits"
        await asyncio.gather(first, call(threads), call(threads))
    assert batches.sizes == [3, 3]


async def test_who_waits_for_the_thread_then_waits_for_those_it_was_busy_with(
    threads: JobThreads, batches: Batches
) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS / 2):
        batches.go.clear()
        first = call(threads)
        await asyncio.sleep(0.01)
        others = [call(threads) for _ in range(2)]
        await asyncio.sleep(0.01)
        batches.go.set()
        await first
        await asyncio.gather(call(threads), *others)
    assert batches.sizes == [1, 3]


async def test_callers_who_gave_up_while_the_thread_was_busy_hold_nobody_up(batches: Batches) -> None:
    threads = threads_over(batches, 0.01)
    batches.go.clear()
    calls = [call(threads)]
    await asyncio.sleep(0.01)
    calls += [call(threads) for _ in range(2)]
    for given_up in calls:
        given_up.cancel()
    last = call(threads)
    batches.go.set()
    async with asyncio.timeout(PATIENCE_SECONDS / 2):
        await last
        await call(threads)
    await threads.close(5.0)


async def test_nobody_waits_longer_than_the_time_to_gather(batches: Batches) -> None:
    threads = threads_over(batches, 0.01)
    await asyncio.gather(*(call(threads) for _ in range(3)))
    for _ in range(3):
        await call(threads)
    assert batches.sizes == [3, 1, 1, 1]
    await threads.close(5.0)


async def test_lazy_calls_are_no_company(threads: JobThreads, batches: Batches) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS / 2):
        await asyncio.gather(call(threads), *(call(threads, is_lazy=True) for _ in range(5)))
        await call(threads)
    assert batches.sizes == [6, 1]


async def test_what_waits_for_company_is_done_when_the_threads_are_closed(
    threads: JobThreads, batches: Batches
) -> None:
    await asyncio.gather(*(call(threads) for _ in range(3)))
    waiting = call(threads)
    await threads.close(5.0)
    await waiting
    assert batches.sizes == [3, 1]
