"""The lock table of one node."""

from liteio_drives.remote.lock_table import LockTable
from liteio_testkit.manual_clock import ManualClock

A, B = b"a" * 16, b"b" * 16
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
