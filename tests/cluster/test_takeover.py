"""Clients of a cluster hardly notice a node that is killed or hangs, or a drive that is slow."""

import pytest
from tests.cluster.takeover import Seen, run

from liteio_drives.remote.limits import LEASE_SECONDS

# How quick the takeover is, `python -m tests.cluster.takeover` measures. Here nothing may fail, and nothing may wait as
# long as a time-out, of which calls have 4 s at least: a takeover costs a second of grace, and the machine does other
# work as well.
LONGEST_SECONDS = 4.0
LATE_SECONDS = LEASE_SECONDS / 2  # until a dead holder's lease is over, on such a machine


@pytest.fixture(scope="module")
def seen() -> Seen:
    found = run(seconds=8.0, tries=1)
    print(found)
    return found


@pytest.mark.timeout(240)
def test_no_operation_fails_or_waits_for_what_is_gone_hung_or_slow(seen: Seen) -> None:
    for phase in seen.phases:
        assert phase.figures.failed == 0, phase
        assert phase.figures.longest < LONGEST_SECONDS, phase


@pytest.mark.timeout(240)
def test_a_dead_holder_of_a_lock_keeps_its_key_for_no_longer_than_a_lease(seen: Seen) -> None:
    for seconds in seen.held_seconds:
        assert seconds > 1, "the key was not held: the test proves nothing"
        assert seconds < LEASE_SECONDS + LATE_SECONDS
