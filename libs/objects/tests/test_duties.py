"""Duties: one process has each at a time, whoever lives keeps it, and whoever ends gives it up."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from liteio_base.clock import SystemClock
from liteio_objects import duties
from liteio_objects.duties import Duties
from liteio_testkit.memory_locks import MemoryLocks
from liteio_testkit.polling import until
from liteio_testkit.seeded_randomness import SeededRandomness


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("TRY_SECONDS", "TRY_EVERY_SECONDS", "TRY_EVERY_SECONDS_A_DUTY", "LOOK_EVERY_SECONDS"):
        monkeypatch.setattr(duties, name, 0.01)


class Healer:
    """A process with duties: how often each piece of work began here, and which run now."""

    def __init__(self, locks: MemoryLocks, seed: str) -> None:
        self.duties = Duties(locks, SystemClock(), SeededRandomness(seed))
        self.begun: dict[str, int] = {}
        self.running: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []

    async def work(self, name: str) -> None:
        self.begun[name] = self.begun.get(name, 0) + 1
        self.running.add(name)
        try:
            await asyncio.sleep(1000)
        finally:
            self.running.discard(name)

    def start(self, names: tuple[str, ...]) -> None:
        for name in names:
            self._tasks.append(asyncio.ensure_future(self.duties.keep(name, lambda name=name: self.work(name))))  # type: ignore[misc]  # a default binds the name of this round

    async def kill(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextmanager
def never_both(first: Healer, second: Healer) -> Iterator[None]:
    yield
    assert not first.running & second.running


async def test_each_duty_is_done_once_and_taken_over_when_its_holder_ends() -> None:
    locks, names = MemoryLocks(), ("settle 0", "scan 0", "scan 1")
    first, second = Healer(locks, "a"), Healer(locks, "b")
    first.start(names)
    second.start(names)
    await until(lambda: len(first.running | second.running) == len(names))
    with never_both(first, second):
        await asyncio.sleep(0.2)  # many tries
    assert set(first.duties.held) == first.running
    assert sum(first.begun.values()) + sum(second.begun.values()) == len(names)  # who lives keeps them
    await first.kill()
    await until(lambda: len(second.running) == len(names))
    assert first.duties.held == {}
    await second.kill()
    assert locks.held_count == 0


async def test_work_ends_when_its_lock_is_lost_and_begins_again_when_it_is_had() -> None:
    locks = MemoryLocks()
    healer = Healer(locks, "a")
    healer.start(("scan 0",))
    await until(lambda: "scan 0" in healer.running)
    locks.break_leases()
    await until(lambda: healer.begun["scan 0"] == 2)
    assert healer.running == {"scan 0"}
    await healer.kill()


async def test_an_error_of_the_work_is_not_swallowed() -> None:
    async def fail() -> None:
        raise ValueError("a bug")

    locks = MemoryLocks()
    with pytest.raises(ValueError, match="a bug"):
        await Duties(locks, SystemClock(), SeededRandomness("a")).keep("scan 0", fail)
    assert locks.held_count == 0
