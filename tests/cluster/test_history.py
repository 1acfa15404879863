"""One run of `tests.cluster.history`, and that it finds a bug that is planted. LITEIO_SEED=n repeats its choices."""

import os

import pytest
from tests.cluster.history import NotHeld, run

SEED = int(os.environ.get("LITEIO_SEED") or int.from_bytes(os.urandom(3)))


@pytest.mark.timeout(400)
def test_what_clients_see_of_a_broken_cluster_has_an_order() -> None:
    print(run(SEED, 30.0))


@pytest.mark.timeout(400)
def test_locks_that_grant_everything_lose_nothing() -> None:
    print(run(SEED, 10.0, plant="locks grant everything"))


@pytest.mark.timeout(400)
def test_drives_that_take_any_commit_are_found() -> None:
    """Without locks, and without compare-and-set in the drives, rivals overwrite one another."""
    with pytest.raises(NotHeld, match="not linearizable"):
        run(SEED, 10.0, plant="locks grant everything, drives take any commit")
