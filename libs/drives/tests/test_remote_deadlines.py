"""Many deadlines on one timer."""

import asyncio

import pytest
import uvloop

from liteio_drives.remote.deadlines import Deadlines


async def test_each_expires_at_its_own_time_whatever_the_order_they_were_set_in() -> None:
    deadlines = Deadlines()
    expired: list[str] = []
    deadlines.add(0.06, lambda: expired.append("last"))
    deadlines.add(0.02, lambda: expired.append("first"))
    dropped = deadlines.add(0.03, lambda: expired.append("dropped"))
    deadlines.add(0.04, lambda: expired.append("second"))
    deadlines.drop(dropped)
    await asyncio.sleep(0.1)
    assert expired == ["first", "second", "last"]


async def test_one_can_be_set_while_another_expires() -> None:
    deadlines = Deadlines()
    is_over = asyncio.Event()
    deadlines.add(0.01, lambda: deadlines.add(0.01, is_over.set))
    await asyncio.wait_for(is_over.wait(), 1.0)


def test_one_that_has_passed_already_expires_at_once_under_uvloop() -> None:
    """Its timers of a time that has passed are no timers."""

    async def set_two() -> list[str]:
        deadlines, expired = Deadlines(), list[str]()
        deadlines.add(-1.0, lambda: expired.append("passed"))
        deadlines.add(5.0, lambda: expired.append("later"))
        await asyncio.sleep(0.02)
        deadlines.close()
        return expired

    assert uvloop.run(set_two()) == ["passed"]


async def test_nothing_expires_after_close() -> None:
    deadlines = Deadlines()
    expired: list[str] = []
    deadlines.add(0.01, lambda: expired.append("late"))
    deadlines.close()
    await asyncio.sleep(0.03)
    assert not expired


async def test_a_bounded_wait_ends_in_a_timeout_and_the_task_goes_on() -> None:
    deadlines = Deadlines()
    with pytest.raises(TimeoutError):
        await deadlines.bound(0.01, asyncio.Event().wait())
    await asyncio.sleep(0)
    assert await deadlines.bound(1.0, asyncio.sleep(0, "soon enough")) == "soon enough"


async def test_cancelling_a_bounded_wait_is_no_timeout() -> None:
    waiting = asyncio.create_task(Deadlines().bound(10.0, asyncio.Event().wait()))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


async def test_cancelling_in_the_moment_of_the_timeout_is_not_swallowed() -> None:
    deadlines = Deadlines()
    waiting = asyncio.create_task(deadlines.bound(0.01, asyncio.Event().wait()))
    await asyncio.sleep(0)
    deadlines.add(0.01, waiting.cancel)
    with pytest.raises(asyncio.CancelledError):
        await waiting
