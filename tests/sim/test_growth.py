"""A store that grows under load, over some seeds; and bugs that these seeds must see."""

from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import pytest

from liteio_contracts.storage import StoredTopology
from liteio_formats.topology import encode_topology
from liteio_objects import map_keeping
from liteio_objects.homes import Homes

from .growth import run_growth

SEEDS: Final = range(1, 41)
Plant = Callable[[pytest.MonkeyPatch], None]


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


def counts_no_holders(monkeypatch: pytest.MonkeyPatch) -> None:
    """A topology is acted on as soon as it was sent, whoever keeps it."""

    async def give(self: map_keeping.MapKeeper, store_map: Any, deadline: Any) -> None:
        stored = StoredTopology(store_map.number, encode_topology(store_map.record))
        await map_keeping._write(store_map.sets, stored, deadline)

    monkeypatch.setattr(map_keeping.MapKeeper, "_give", give)


@pytest.mark.parametrize("plant", [always_newest, counts_no_holders])
def test_a_planted_bug_is_seen(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    for seed in range(1, 2 * len(SEEDS)):
        try:
            run_growth(seed)
        except AssertionError:
            return
    pytest.fail("no seed has seen it")
