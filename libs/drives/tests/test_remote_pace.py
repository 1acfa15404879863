"""When a drive counts as slow: by what its siblings take, by calls that wait, by failures."""

import pytest

from liteio_drives.remote.pace import Pace, Paces
from liteio_testkit.manual_clock import ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def drives(clock: ManualClock) -> list[Pace]:
    paces = Paces(clock)
    return [paces.new() for _ in range(4)]


def is_slow(pace: Pace) -> bool:
    """Now: a type checker holds a property to what it was before."""
    return pace.is_slow


def answer(pace: Pace, seconds: float, times: int = 20) -> None:
    for _ in range(times):
        pace.saw_answer(seconds)


def test_one_that_takes_much_longer_than_its_siblings_is_slow(clock: ManualClock, drives: list[Pace]) -> None:
    for drive in drives[:3]:
        answer(drive, 0.01)
    answer(drives[3], 0.2)
    assert [is_slow(drive) for drive in drives] == [False, False, False, True]
    clock.advance(6)  # nobody asked it since: somebody must, to find out
    assert not is_slow(drives[3])


def test_none_is_slow_when_all_take_long(drives: list[Pace]) -> None:
    for drive, seconds in zip(drives, (0.1, 0.15, 0.2, 0.3), strict=True):
        answer(drive, seconds)
    assert not any(is_slow(drive) for drive in drives)


def test_half_a_second_is_slow_and_a_few_milliseconds_never_are(drives: list[Pace]) -> None:
    for drive in drives[:3]:
        answer(drive, 0.001)
    answer(drives[3], 0.03)
    assert not is_slow(drives[3])
    for drive in drives:
        answer(drive, 0.6)
    assert all(is_slow(drive) for drive in drives)


def test_one_that_does_not_answer_is_slow_before_any_call_has_ended(clock: ManualClock, drives: list[Pace]) -> None:
    for drive in drives:
        answer(drive, 0.01)
    number = drives[0].begin()
    clock.advance(0.2)
    assert not is_slow(drives[0])
    clock.advance(0.1)
    assert is_slow(drives[0])
    assert drives[0].end(number) == pytest.approx(0.3)
    assert not is_slow(drives[0])


def test_calls_that_nobody_waited_for_to_the_end_make_it_slow(clock: ManualClock, drives: list[Pace]) -> None:
    """Readers turn to another drive after a moment, and cancel."""
    for drive in drives:
        answer(drive, 0.01)
    for _ in range(3):
        drives[0].saw_patience_end(0.15)
    assert is_slow(drives[0])
    before = drives[1].seconds
    drives[1].saw_patience_end(0.001)  # says nothing
    assert drives[1].seconds == before


def test_a_failure_is_remembered_until_an_answer_or_five_seconds(clock: ManualClock, drives: list[Pace]) -> None:
    drives[0].saw_failure()
    assert is_slow(drives[0])
    answer(drives[0], 0.001, times=1)
    assert not is_slow(drives[0])
    drives[0].saw_failure()
    clock.advance(5.1)
    assert not is_slow(drives[0])


def test_one_that_hung_is_well_again_after_a_few_answers(drives: list[Pace]) -> None:
    for drive in drives:
        answer(drive, 0.01)
    answer(drives[0], 30.0)
    assert is_slow(drives[0])
    answer(drives[0], 0.01, times=15)
    assert not is_slow(drives[0])


def test_a_drive_without_siblings_is_slow_by_itself(clock: ManualClock) -> None:
    alone = Pace(clock)
    answer(alone, 0.3)
    assert not is_slow(alone)
    answer(alone, 0.9)
    assert is_slow(alone)
