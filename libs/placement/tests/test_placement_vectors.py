"""Where names live today they must live tomorrow: what fails here makes every stored object unfindable."""

import json
from pathlib import Path
from typing import Any

import pytest

from liteio_base.ids import BucketId, DeploymentId
from liteio_placement import Epoch, Pool, Topology, choose_pool, drive_order, placement_name, set_index

VECTORS = json.loads((Path(__file__).parent / "vectors" / "placement.json").read_text())
DEPLOYMENT = DeploymentId(VECTORS["deployment_id"])


def name_of(vector: dict[str, Any]) -> bytes:
    return placement_name(BucketId(vector["bucket"]), bytes.fromhex(vector["key"]))


@pytest.mark.parametrize("vector", VECTORS["names"], ids=lambda vector: vector["key"] or "empty")
def test_sets_and_orders_stay(vector: dict[str, Any]) -> None:
    name = name_of(vector)
    assert [set_index(name, DEPLOYMENT, sets) for sets in VECTORS["set_counts"]] == vector["sets"]
    orders = [list(drive_order(name, 3, width, DEPLOYMENT)) for width in VECTORS["widths"]]
    assert orders == vector["orders"]


@pytest.mark.parametrize("vector", VECTORS["names"], ids=lambda vector: vector["key"] or "empty")
def test_pools_stay(vector: dict[str, Any]) -> None:
    epoch = Epoch(1, tuple(enumerate(VECTORS["weights"])))
    assert choose_pool(name_of(vector), epoch) == vector["pool"]


@pytest.mark.parametrize("vector", VECTORS["names"], ids=lambda vector: vector["key"] or "empty")
def test_locations_stay(vector: dict[str, Any]) -> None:
    epochs = (Epoch(1, ((0, 1),)), Epoch(2, tuple(enumerate(VECTORS["weights"]))))
    topology = Topology(1, DEPLOYMENT, (Pool(4, 8, 4), Pool(2, 16, 4), Pool(1, 4, 2)), epochs)
    places = [[place.epoch, place.pool, place.set_index] for place in topology.locate(name_of(vector))]
    assert places == vector["locations"]
