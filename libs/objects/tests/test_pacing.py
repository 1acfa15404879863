"""Yielding to clients: full speed when nobody is there, a share of the time otherwise, by what drives count."""

import asyncio

import pytest

from liteio_base.background import IS_BACKGROUND
from liteio_base.ids import DriveId
from liteio_objects.drive_watch import DriveWatch
from liteio_objects.pacing import SHARE_MIN, Pacer, share_at
from liteio_testkit.manual_clock import ManualClock
from liteio_testkit.store_bench import StoreBench

A, B = DriveId("a"), DriveId("b")


def test_the_share_falls_with_what_clients_ask_for_and_has_a_floor() -> None:
    assert [share_at(calls) for calls in (0.0, 5.0)] == [1.0, 1.0]
    assert share_at(50.0) == pytest.approx(0.5)
    assert share_at(1e6) == SHARE_MIN
    shares = [share_at(calls) for calls in range(0, 2000, 7)]
    assert shares == sorted(shares, reverse=True)


def test_the_busiest_drive_counts_and_a_drive_that_began_anew_does_not() -> None:
    clock = ManualClock()
    pacer = Pacer(clock)
    pacer.note({A: 1_000_000, B: 0})
    assert not pacer.is_yielding, "a first count says nothing"
    clock.advance(2)
    pacer.note({A: 1_000_000, B: 400})
    assert (pacer.calls_a_second, pacer.is_yielding) == (200.0, True)
    clock.advance(4)
    pacer.note({A: 5, B: 400})
    clock.advance(4)
    pacer.note({A: 5, B: 400})
    assert (pacer.calls_a_second, pacer.share) == (0.0, 1.0)


def test_counts_that_come_once_a_second_do_not_look_like_pauses() -> None:
    clock = ManualClock()
    pacer = Pacer(clock)
    shares = []
    for tenth in range(100):
        clock.advance(0.9)
        pacer.note({A: int(clock.monotonic() / 1.1) * 100})  # added to less often than it is looked at
        shares.append(pacer.share)
        assert tenth < 3 or pacer.share < 0.5, shares
    for _ in range(5):
        clock.advance(0.9)
        pacer.note({A: int(99 / 1.1 * 0.9) * 100})
    assert pacer.share == 1.0


async def test_while_yielding_pieces_come_one_by_one_with_rests() -> None:
    class Clock(ManualClock):
        rested = 0.0

        async def sleep(self, seconds: float) -> None:
            self.rested += seconds
            await asyncio.sleep(0)

    clock = Clock()
    pacer = Pacer(clock)
    at_once = most = 0

    async def piece() -> None:
        nonlocal at_once, most
        async with pacer.turn():
            at_once += 1
            most = max(most, at_once)
            await asyncio.sleep(0)
            clock.advance(1)
            at_once -= 1

    await asyncio.gather(*(piece() for _ in range(4)))
    assert (most, clock.rested) == (4, 0.0)
    pacer.share, most = 0.5, 0
    await asyncio.gather(*(piece() for _ in range(4)))
    assert most == 1
    assert clock.rested == pytest.approx(4.0)


async def test_clients_are_noticed_and_healing_is_not_taken_for_them() -> None:
    bench = StoreBench.of()
    await bench.make_bucket()
    healer = bench.store.healer
    watch = DriveWatch(bench.store.engine, healer.pacer)
    await watch.look()
    for number in range(200):
        await bench.put(f"k{number}", b"x")
    await watch.look()
    assert healer.pacer.is_yielding
    before = healer.pacer.calls_a_second
    token = IS_BACKGROUND.set(True)
    try:
        await watch.look()
        [drive_set] = bench.store.engine.store_map.sets
        await healer.scan(drive_set, verify=True)
        await watch.look()
        assert healer.pacer.calls_a_second < before
    finally:
        IS_BACKGROUND.reset(token)


async def test_each_drives_state_and_reason_are_seen() -> None:
    bench = StoreBench.of()
    watch = DriveWatch(bench.store.engine, bench.store.healer.pacer)
    bench.drives[1].set_offline()
    bench.drives[2].set_full()
    await watch.look()
    assert [sight.state for _, sight in sorted(watch.sights.items())] == ["online", "offline", "full", "online"]
    assert watch.sights[0, 1].reason
