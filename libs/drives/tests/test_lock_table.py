"""The lock table of one node."""

import pytest

from liteio_contracts.storage_errors import DriveUnavailable
from liteio_drives.remote import lock_table
from liteio_drives.remote.limits import KEPT_SECONDS, LOCK_NAMES_SHOWN
from liteio_drives.remote.lock_table import LockTable
from liteio_drives.remote.messages import HeldLock, Holder, LockPage
from liteio_testkit.manual_clock import ManualClock

A, B, C = b"a" * 16, b"b" * 16, b"c" * 16
LEASE = 10.0


def table() -> tuple[LockTable, ManualClock]:
    clock = ManualClock()
    return LockTable(clock, lease_seconds=LEASE, is_first=True), clock


def test_one_owner_at_a_time() -> None:
    locks, _ = table()
    assert locks.acquire(A, [b"x"])
    assert not locks.acquire(B, [b"x"])
    locks.release(A)
    assert locks.acquire(B, [b"x"])


def test_all_names_or_none() -> None:
    locks, _ = table()
    assert locks.acquire(A, [b"x"])
    assert not locks.acquire(B, [b"w", b"x"])
    assert locks.acquire(A, [b"w"]), "nothing was left behind by the refused one"


def test_a_lease_ends_unless_it_is_renewed() -> None:
    locks, clock = table()
    locks.acquire(A, [b"x"])
    clock.advance(LEASE - 1)
    assert locks.renew(A)
    clock.advance(LEASE - 1)
    assert not locks.acquire(B, [b"x"])
    clock.advance(1)
    assert locks.acquire(B, [b"x"])
    assert not locks.renew(A)
    locks.release(A)
    assert not locks.acquire(A, [b"x"]), "the late holder does not give back what is another's now"


def test_a_lease_that_is_over_is_not_renewed_even_when_nobody_else_came() -> None:
    locks, clock = table()
    locks.acquire(A, [b"x"])
    clock.advance(LEASE)
    assert not locks.renew(A)


def test_a_restarted_table_grants_nothing_for_one_lease() -> None:
    clock = ManualClock()
    locks = LockTable(clock, lease_seconds=LEASE)
    assert not locks.acquire(A, [b"x"])
    assert not locks.renew(A)
    clock.advance(LEASE - 0.1)
    assert not locks.acquire(A, [b"x"])
    clock.advance(0.1)
    assert locks.acquire(A, [b"x"])


def test_dead_callers_are_forgotten() -> None:
    locks, clock = table()
    locks.acquire(A, [b"x", b"y"])
    clock.advance(LEASE / 2)
    locks.acquire(B, [b"z"])
    clock.advance(LEASE / 2)
    assert locks.expire() == 1
    assert locks.held_count == 1


def test_the_names_of_dead_callers_do_not_pile_up() -> None:
    locks, clock = table()
    for number in range(100):
        locks.acquire(number.to_bytes(16, "big"), [b"name-%d" % number])
        clock.advance(1)
    assert locks.held_count <= 2 * LEASE


def test_a_table_that_turns_out_to_be_the_first_grants_at_once() -> None:
    clock = ManualClock()
    locks = LockTable(clock, lease_seconds=LEASE)
    assert not locks.acquire(A, [b"x"])
    assert locks.page(10).opens_seconds == LEASE
    locks.open_now()
    assert locks.acquire(A, [b"x"])
    assert locks.page(10).opens_seconds == 0


class Told:
    """Who was told, in order."""

    def __init__(self, locks: LockTable) -> None:
        self.owners: list[bytes] = []
        self._locks = locks

    def wait(self, owner: bytes, names: list[bytes], waited_seconds: float = 0.0) -> bool:
        return self._locks.wait(owner, names, waited_seconds, lambda: self.owners.append(owner))


def test_the_longest_waiting_is_told_and_the_name_is_kept_for_it_a_moment() -> None:
    locks, clock = table()
    told = Told(locks)
    locks.acquire(A, [b"x"])
    assert told.wait(B, [b"x"], 1.0)
    assert told.wait(C, [b"x"], 2.0)
    locks.release(A)
    assert told.owners == [C]
    assert not locks.acquire(A, [b"x"]), "who just had it comes after who waited"
    assert locks.acquire(C, [b"x"])
    locks.release(C)
    assert told.owners == [C, B]
    clock.advance(KEPT_SECONDS)
    assert locks.acquire(A, [b"x"]), "it is kept no longer for one that does not come"


def test_there_is_nothing_to_wait_for_where_nothing_is_taken() -> None:
    locks, _ = table()
    told = Told(locks)
    assert not told.wait(A, [b"x"])
    locks.acquire(A, [b"x"])
    assert not told.wait(A, [b"x"])
    assert not told.wait(B, [b"y"])


def test_who_stops_waiting_or_gets_it_is_not_told_any_more() -> None:
    locks, _ = table()
    told = Told(locks)
    locks.acquire(A, [b"x"])
    told.wait(B, [b"x"])
    locks.stop_waiting(B)
    told.wait(C, [b"x"])
    locks.acquire(C, [b"x"])  # asks again on its own, and is refused
    locks.release(A)
    assert told.owners == []
    assert locks.acquire(B, [b"x"]), "it is kept for nobody"
    assert locks.page(10).waiting == 0


def test_a_waiter_is_told_when_a_dead_holders_lease_is_seen_to_be_over() -> None:
    locks, clock = table()
    told = Told(locks)
    locks.acquire(A, [b"x"])
    told.wait(B, [b"x"])
    clock.advance(LEASE)
    assert locks.expire() == 1
    assert told.owners == [B]


def test_waiters_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_table, "LOCK_WAITERS_MAX", 1)
    locks, _ = table()
    told = Told(locks)
    locks.acquire(A, [b"x"])
    told.wait(B, [b"x"])
    with pytest.raises(DriveUnavailable):
        told.wait(C, [b"x"])


def test_a_page_tells_what_is_held_by_whom_and_how_long() -> None:
    locks, clock = table()
    gateway, healer = Holder("host1", "liteio_gateway", 7), Holder("host2", "liteio_healer", 8)
    locks.acquire(A, [b"n%d" % number for number in range(50)], gateway)
    clock.advance(4.0)
    locks.renew(A)
    locks.acquire(B, [b"y"], healer)
    clock.advance(1.0)
    page = locks.page(10)
    assert page.held == (
        HeldLock(
            owner=A,
            holder=gateway,
            names=tuple(b"n%d" % number for number in range(LOCK_NAMES_SHOWN)),
            name_count=50,
            held_seconds=5.0,
            left_seconds=LEASE - 1,
        ),
        HeldLock(owner=B, holder=healer, names=(b"y",), name_count=1, held_seconds=1.0, left_seconds=LEASE - 1),
    )
    assert page == LockPage(page.held, 2, 0, 0.0)
    assert locks.page(1) == LockPage(page.held[:1], 2, 0, 0.0)
    clock.advance(LEASE)
    assert locks.page(10) == LockPage((), 0, 0, 0.0)
