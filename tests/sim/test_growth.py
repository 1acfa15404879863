"""A store that grows under load, over some seeds; and a bug that these seeds must see."""

from collections import Counter
from typing import Any, Final

import pytest

from liteio_objects.homes import Homes

from .growth import run_growth

SEEDS: Final = range(1, 41)


def test_keys_keep_their_promises_while_pools_come_and_go() -> None:
    told: Counter[str] = Counter()
    for seed in SEEDS:
        told.update(run_growth(seed))
    for what in ("put", "put-if-absent", "delete", "read"):  # A run in which nothing succeeds proves nothing.
        assert told[f"{what} done"] > 2 * len(SEEDS), told
    assert told["topology changed"] > len(SEEDS), told


def always_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    """New versions of old keys go to the newest epoch's place."""
    find = Homes._find

    async def first(self: Homes, *arguments: Any) -> Any:
        return self._maps.current.places(*arguments[:2])[:1] or await find(self, *arguments)

    monkeypatch.setattr(Homes, "_find", first)


def test_a_planted_bug_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    always_newest(monkeypatch)
    for seed in SEEDS:
        try:
            run_growth(seed)
        except AssertionError:
            return
    pytest.fail("no seed has seen it")
