"""When a drive counts as slow or late, for how long, and when another is asked in its place."""

from random import Random

import pytest

from liteio_contracts.storage_errors import DriveFull, DriveOffline, DriveTimeout, Superseded
from liteio_objects.pace import (
    HEDGE_SECONDS_MAX,
    HEDGE_SECONDS_MIN,
    MEMORY_SECONDS,
    PROBE_SECONDS,
    SLOW_SECONDS_MIN,
    SLOW_TIMES,
    Pace,
    Paces,
)

WIDTH, PARITY = 4, 2


class Drives:
    """Four drives that answer one after the other, and the time that passes meanwhile."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.paces = Paces(WIDTH, PARITY)

    @property
    def slow(self) -> list[int]:
        return sorted(self.paces.slow(self.now))

    @property
    def late(self) -> list[int]:
        return sorted(self.paces.late(self.now))

    def answer(self, *seconds: float, times: int = 1, pace: Pace | None = None) -> None:
        """All four are asked at once, so many times; each takes so long."""
        for _ in range(times):
            began = self.now
            for slot, one in enumerate(seconds):
                (pace or self.paces.reads).saw_answer(slot, began, began + one)
            self.now = began + max(seconds)

    def wait(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def drives() -> Drives:
    """Healthy ones, seen often."""
    drives = Drives()
    for pace in (drives.paces.reads, drives.paces.commits):
        drives.answer(0.002, 0.002, 0.002, 0.002, times=100, pace=pace)
    assert drives.paces.is_calm
    return drives


# --- slow by answers


def test_one_that_takes_much_longer_than_its_siblings_three_times_in_a_row_is_slow(drives: Drives) -> None:
    drives.answer(0.002, 0.002, 0.2, 0.002, times=2)
    assert drives.slow == []
    drives.answer(0.002, 0.002, 0.2, 0.002)
    assert drives.slow == [2]
    assert not drives.paces.is_calm


def test_one_long_answer_is_not_enough_however_long(drives: Drives) -> None:
    drives.answer(0.002, 0.002, 60.0, 0.002)
    assert drives.slow == []


def test_a_disk_that_stalls_now_and_then_is_not_slow(drives: Drives) -> None:
    """A sync of 100 ms or a checkpoint of a second, every few commits."""
    for number in range(200):
        stall = (0.1, 1.0)[number % 2] if number % 5 == 0 else 0.002
        drives.answer(0.002, stall, 0.002, 0.002, pace=drives.paces.commits)
        assert drives.slow == []


def test_a_batch_that_comes_back_late_together_counts_once(drives: Drives) -> None:
    began = drives.now
    for step in range(32):
        drives.paces.commits.saw_answer(1, began + step * 0.01, began + 1.0 + step * 0.0001)
    drives.now += 1.1
    assert drives.slow == []


def test_none_is_slow_when_all_take_long(drives: Drives) -> None:
    drives.answer(0.1, 0.15, 0.2, 0.3, times=100)
    assert drives.slow == []


def test_below_some_milliseconds_nothing_is_slow(drives: Drives) -> None:
    drives.answer(0.002, 0.002, SLOW_SECONDS_MIN * 0.9, 0.002, times=50)
    assert drives.slow == []


def test_what_is_usual_goes_with_the_kind_of_call(drives: Drives) -> None:
    """Listings take half a second everywhere: that says nothing of a read that does."""
    drives.answer(0.5, 0.5, 0.5, 0.5, times=50, pace=drives.paces.listings)
    assert drives.slow == []
    drives.answer(0.002, 0.5, 0.002, 0.002, times=3)
    assert drives.slow == [1]


def test_on_a_busy_machine_it_takes_several_times_the_usual(drives: Drives) -> None:
    drives.answer(0.1, 0.1, 0.1, 0.1, times=200)
    drives.answer(0.1, 0.1, 0.1, 0.1 * SLOW_TIMES * 0.8, times=20)
    assert drives.slow == []
    drives.answer(0.1, 0.1, 0.1, 0.1 * SLOW_TIMES * 1.5, times=5)
    assert drives.slow == [3]


def test_no_more_than_m_are_slow_the_worst(drives: Drives) -> None:
    for slot, ago in ((0, 1.0), (1, 3.0), (2, 2.0)):
        drives.paces.commits.begin_waiting(f"call {slot}", slot, drives.now - ago)
    assert drives.slow == [1, 2]
    drives.paces.reads.saw_error(3, DriveOffline("gone"), drives.now, drives.now)
    assert drives.slow == [1, 3]


def test_half_of_the_drives_may_be_slow(drives: Drives) -> None:
    drives.answer(0.002, 0.2, 0.002, 0.3, times=50)
    assert drives.slow == [1, 3]


def test_a_set_without_parity_has_no_slow_drive() -> None:
    paces = Paces(1, 0)
    for number in range(20):
        paces.reads.saw_answer(0, float(number), number + 0.9)
    assert list(paces.slow(20.0)) == []


# --- getting well


def test_a_slow_one_is_well_after_a_few_quick_answers_and_not_after_two(drives: Drives) -> None:
    drives.answer(0.002, 0.002, 0.3, 0.002, times=4)
    drives.answer(0.002, 0.002, 0.002, 0.002, times=2)
    assert drives.slow == [2]
    drives.answer(0.002, 0.002, 0.002, 0.002, times=6)
    assert drives.slow == []


def test_one_that_is_quick_every_other_time_stays_slow(drives: Drives) -> None:
    drives.answer(0.002, 0.002, 0.2, 0.002, times=4)
    for _ in range(20):
        drives.answer(0.002, 0.002, 0.002, 0.002)
        assert drives.slow == [2]
        drives.answer(0.002, 0.002, 0.2, 0.002)


def test_nobody_stays_slow_whom_nobody_asks(drives: Drives) -> None:
    drives.answer(0.002, 0.002, 0.2, 0.002, times=4)
    drives.wait(MEMORY_SECONDS * 0.9)
    assert drives.slow == [2]
    drives.wait(MEMORY_SECONDS * 0.2)
    assert drives.slow == []
    assert drives.paces.is_calm


def test_a_slow_drive_is_due_for_a_probe_now_and_then_one_at_a_time(drives: Drives) -> None:
    drives.answer(0.002, 0.002, 0.2, 0.002, times=4)
    assert drives.paces.due_for_probe(drives.now) is None
    drives.wait(PROBE_SECONDS)
    assert drives.paces.due_for_probe(drives.now) == 2
    drives.paces.reads.begin_waiting("probe", 2, drives.now)
    drives.wait(3.0)
    assert drives.paces.due_for_probe(drives.now) is None
    drives.paces.reads.end_waiting(2, "probe")
    assert drives.paces.due_for_probe(drives.now) == 2
    drives.paces.reads.saw_answer(2, drives.now, drives.now + 0.001)
    assert drives.paces.due_for_probe(drives.now) is None


# --- waiting and failing


def test_one_that_does_not_answer_is_slow_before_any_call_has_ended(drives: Drives) -> None:
    drives.paces.commits.begin_waiting("call", 0, drives.now)
    drives.wait(0.2)
    assert drives.slow == []
    drives.wait(0.1)
    assert drives.slow == [0]
    drives.wait(60.0)
    assert drives.slow == [0]
    drives.paces.commits.end_waiting(0, "call")
    assert drives.slow == []
    assert drives.paces.is_calm


def test_one_that_keeps_a_read_waiting_is_late_until_it_answers(drives: Drives) -> None:
    hedge = drives.paces.reads.hedge_seconds(drives.now)
    drives.paces.reads.begin_waiting("call", 1, drives.now)
    assert drives.late == []
    drives.wait(hedge * 1.01)
    assert (drives.late, drives.slow) == ([1], [])
    drives.paces.reads.end_waiting(1, "call")
    assert drives.late == []


def test_a_failure_is_remembered_until_an_answer_or_for_a_while(drives: Drives) -> None:
    for trouble in (DriveOffline("gone"), DriveTimeout("late")):
        drives.paces.reads.saw_error(0, trouble, drives.now, drives.now + 0.001)
        assert drives.slow == [0]
        drives.answer(0.002, 0.002, 0.002, 0.002)
        assert drives.slow == []
    drives.paces.reads.saw_error(0, DriveOffline("gone"), drives.now, drives.now)
    drives.wait(MEMORY_SECONDS * 1.01)
    assert drives.slow == []


def test_a_refusal_is_an_answer_and_a_full_drive_is_not_slow(drives: Drives) -> None:
    drives.paces.commits.saw_error(0, DriveFull("full"), drives.now, drives.now + 9.0)
    assert drives.slow == []
    for _ in range(3):
        drives.paces.commits.saw_error(1, Superseded("newer"), drives.now, drives.now + 0.3)
        drives.wait(0.3)
    assert drives.slow == [1]


def test_calls_given_up_again_and_again_make_a_drive_slow(drives: Drives) -> None:
    """Readers of shards turn to another drive after a moment and cancel: they see no answer."""
    drives.answer(0.002, 0.002, 0.002, 0.002, times=100, pace=drives.paces.opens)
    for _ in range(10):
        drives.paces.opens.saw_end_of_patience(3, drives.now, drives.now + 0.005)  # sooner than an answer is due
        drives.wait(0.005)
    assert drives.slow == []
    for _ in range(8):
        drives.paces.opens.saw_end_of_patience(3, drives.now, drives.now + 0.02)
        drives.wait(0.02)
    assert drives.slow == [3]


def test_the_reason_tells_what_takes_how_long(drives: Drives) -> None:
    assert drives.paces.reason(2, drives.now) == ""
    drives.answer(0.002, 0.002, 0.2, 0.002, times=30)
    assert drives.paces.reason(2, drives.now) == "it takes 200 ms to read a key, others of its set 2 ms"
    drives.paces.commits.begin_waiting("call", 0, drives.now)
    drives.wait(1.5)
    assert drives.paces.reason(0, drives.now) == "it was asked to commit 1.5 s ago and has not answered"
    drives.paces.commits.saw_error(3, DriveOffline("gone"), drives.now, drives.now)
    assert drives.paces.reason(3, drives.now) == "it did not answer a call just now"


# --- hedges


def test_before_anything_was_seen_a_hedge_takes_its_time() -> None:
    drives = Drives()
    assert drives.paces.reads.hedge_seconds(drives.now) == HEDGE_SECONDS_MAX
    drives.answer(0.001, 0.001, 0.001, 0.001, times=10)
    drives.wait(1.0)
    assert drives.paces.reads.hedge_seconds(drives.now) == HEDGE_SECONDS_MAX


def test_among_quick_drives_a_hedge_comes_soon_and_not_at_once(drives: Drives) -> None:
    drives.wait(1.0)
    assert drives.paces.reads.hedge_seconds(drives.now) == HEDGE_SECONDS_MIN


def test_a_hedge_comes_later_where_answers_take_longer_or_vary(drives: Drives) -> None:
    chance = Random(24)
    before = drives.paces.reads.hedges
    hedged = total = 0
    for _ in range(3000):
        seconds = [chance.expovariate(1 / 0.006) for _ in range(WIDTH)]
        hedge = drives.paces.reads.hedge_seconds(drives.now)
        total += WIDTH
        hedged += sum(one > hedge for one in seconds[:WIDTH]) if total > 400 else 0
        drives.answer(*seconds)
    assert 0.03 < drives.paces.reads.hedge_seconds(drives.now) < 0.08
    assert hedged < total * 0.005
    assert drives.paces.reads.hedges == before


def test_a_slow_drive_does_not_put_off_hedges_nor_what_is_usual(drives: Drives) -> None:
    drives.answer(0.002, 0.002, 0.2, 0.3, times=200)
    assert drives.paces.reads.hedge_seconds(drives.now) == HEDGE_SECONDS_MIN
    assert drives.paces.reads.usual == pytest.approx(0.002)


def test_a_hedge_is_never_put_off_for_ever(drives: Drives) -> None:
    drives.answer(1.0, 2.0, 1.5, 1.0, times=100)
    assert drives.paces.reads.hedge_seconds(drives.now) == HEDGE_SECONDS_MAX
