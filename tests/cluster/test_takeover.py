"""Clients of a cluster hardly notice a node that is killed or hangs, or a drive that is slow."""

import pytest
from tests.cluster.takeover import Seen, run

from liteio_drives.remote.limits import LEASE_SECONDS

LONGEST_SECONDS = 2.5  # a second of grace, and a machine that does other work as well
BACK_SECONDS = 4.0


@pytest.fixture(scope="module")
def seen() -> Seen:
    found = run(seconds=8.0, tries=1)
    print(found)
    return found


@pytest.mark.timeout(240)
def test_what_is_gone_hung_or_slow_is_taken_over_from_within_seconds(seen: Seen) -> None:
    for phase in seen.phases:
        assert phase.figures.failed == 0, phase
        assert phase.figures.longest < LONGEST_SECONDS, phase
        assert phase.back_after_seconds is not None, phase
        assert phase.back_after_seconds < BACK_SECONDS, phase


@pytest.mark.timeout(240)
def test_a_dead_holder_of_a_lock_keeps_its_key_for_no_longer_than_a_lease(seen: Seen) -> None:
    for seconds in seen.held_seconds:
        assert seconds > 1, "the key was not held: the test proves nothing"
        assert seconds < LEASE_SECONDS + 1.0
