"""Alarms: each rings once at its time, whoever else set or dropped one."""

import asyncio

import pytest

from liteio_objects.alarms import Alarms


class Sleeper:
    def __init__(self, name: str, rung: list[str]) -> None:
        self.name, self.rung = name, rung

    def ring(self) -> None:
        self.rung.append(self.name)


class Snoozer(Sleeper):
    """Sets its alarm once more when it rings."""

    def __init__(self, name: str, rung: list[str], alarms: Alarms) -> None:
        super().__init__(name, rung)
        self.alarms = alarms

    def ring(self) -> None:
        super().ring()
        if self.rung.count(self.name) == 1:
            loop = asyncio.get_running_loop()
            self.alarms.set(self, loop.time() + 0.01, loop)


@pytest.fixture
def rung() -> list[str]:
    return []


async def test_alarms_ring_in_the_order_of_their_times(rung: list[str]) -> None:
    alarms, loop = Alarms(), asyncio.get_running_loop()
    for name, seconds in (("third", 0.06), ("first", 0.02), ("second", 0.04)):
        alarms.set(Sleeper(name, rung), loop.time() + seconds, loop)
    await asyncio.sleep(0.03)
    assert rung == ["first"]
    await asyncio.sleep(0.06)
    assert rung == ["first", "second", "third"]


async def test_an_alarm_that_was_dropped_or_moved_does_not_ring_at_its_old_time(rung: list[str]) -> None:
    alarms, loop = Alarms(), asyncio.get_running_loop()
    dropped, moved = Sleeper("dropped", rung), Sleeper("moved", rung)
    alarms.set(dropped, loop.time() + 0.01, loop)
    alarms.set(moved, loop.time() + 0.01, loop)
    alarms.drop(dropped)
    alarms.set(moved, loop.time() + 0.05, loop)
    await asyncio.sleep(0.03)
    assert rung == []
    await asyncio.sleep(0.05)
    assert rung == ["moved"]


async def test_a_sleeper_may_set_its_alarm_anew_while_others_wait(rung: list[str]) -> None:
    alarms, loop = Alarms(), asyncio.get_running_loop()
    alarms.set(Snoozer("snoozer", rung, alarms), loop.time() + 0.01, loop)
    alarms.set(Sleeper("late", rung), loop.time() + 0.06, loop)
    for _ in range(500):
        if len(rung) == 3:
            break
        await asyncio.sleep(0.01)
    assert rung == ["snoozer", "snoozer", "late"]


def test_alarms_serve_one_loop_after_the_other(rung: list[str]) -> None:
    alarms = Alarms()

    async def leave_one_behind() -> None:
        loop = asyncio.get_running_loop()
        sleeper = Sleeper("left behind", rung)
        alarms.set(sleeper, loop.time() + 0.01, loop)
        alarms.drop(sleeper)

    async def wait_for_one() -> None:
        loop = asyncio.get_running_loop()
        alarms.set(Sleeper("never", rung), loop.time() + 60, loop)
        alarms.set(Sleeper("rings", rung), loop.time() + 0.02, loop)
        await asyncio.sleep(0.04)

    asyncio.run(leave_one_behind())
    asyncio.run(wait_for_one())
    assert rung == ["rings"]
